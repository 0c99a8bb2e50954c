"""Whatever ends a synthesis, and whenever: it goes on to the end that it would have had."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_synthesis import PLAN, REQUIREMENTS, SETTINGS, Watch, digits_task, traced, untrained

from edgesynth.devices import open_device
from edgesynth.runs import Run
from edgesynth.synthesis.api import synthesize
from edgesynth.synthesis.prototypes import train_prototype

pytestmark = pytest.mark.slow

BUDGET = replace(SETTINGS, cycles=3, epochs=4)
TRAINING = replace(PLAN, epochs=2)


class Killer(Watch):
    """Ends its process by SIGKILL at one step of one phase, or after one note.

    Args:
        phase: Part of the phase's name; empty for none.
        step: At which step of it, from 1.
        note: After how many notes; one is said when a cycle has become visible. 0 for none.
    """

    def __init__(self, phase: str = "", step: int = 1, note: int = 0) -> None:
        super().__init__()
        self.wanted, self.at, self.after = phase, step, note

    def step(self) -> None:
        super().step()
        if self.wanted and self.wanted in self.phases[-1] and self.steps == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self, text: str) -> None:
        super().note(text)
        if len(self.notes) == self.after:
            os.kill(os.getpid(), signal.SIGKILL)


def work(folder: Path, killer: Killer | None = None) -> None:
    """The whole path: train the prototype, learn the generator, draw networks."""
    torch.set_num_threads(1)
    watch = killer or Watch()
    task = digits_task()
    module = untrained()
    folder.mkdir(parents=True, exist_ok=True)
    train_prototype(module, task, TRAINING, folder, watch)
    with open_device("jetson-tx2", link="simulated") as device:
        synthesize(
            traced(module), task, REQUIREMENTS, device, run_dir=folder, settings=BUDGET, progress=watch
        )


def die_inside_commit(folder: Path, table: str, count: int) -> None:
    """Do the work, but die by SIGKILL inside a transaction, when a row has just been written to a table."""
    connect = sqlite3.connect
    left = count

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)

        def on_statement(statement: str) -> None:
            nonlocal left
            if table in statement and statement.lstrip().upper().startswith(("INSERT", "REPLACE")):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        connection.set_trace_callback(on_statement)
        return connection

    sqlite3.connect = watched  # type: ignore[assignment]
    work(folder)


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    # The fork server imports torch once; each child is then a cheap, real process to kill.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "sklearn.datasets", "edgesynth.synthesis.api"])
    return context


def ended(processes: ForkServerContext, target: Callable[..., None], *arguments: object) -> int | None:
    """Run a function in a process of its own and give the exit code."""
    process = processes.Process(target=target, args=arguments)
    process.start()
    process.join(300)
    return process.exitcode


def timeless(record: Any) -> dict[str, Any]:
    """A record without wall time, which no two runs share."""
    return {key: value for key, value in record.to_json().items() if key != "seconds"}


def story(folder: Path) -> dict[str, Any]:
    """Everything a run says, exactly: records, weights, recipes, checkpoints."""
    with Run.open(folder) as run:
        assert run.status == "finished"
        latest = run.latest_checkpoint()
        assert latest is not None
        networks = run.networks()
        told = {
            "networks": [timeless(record) for record in networks],
            "cycles": [timeless(record) for record in run.cycles()],
            "kept": run.checkpoint_cycles(),
            "state": latest.state,
        }
        tensors = {f"checkpoint {name}": tensor for name, tensor in latest.tensors.items()}
    for record in networks:
        for kind, path in record.files.items():
            told[f"{record.key} {kind}"] = (folder / path).read_bytes()
        if "weights" in record.files:
            loaded = load_file(folder / record.files["weights"])
            tensors |= {f"{record.key} {name}": tensor for name, tensor in loaded.items()}
    tensors |= {f"prototype {n}": t for n, t in load_file(folder / "prototype.safetensors").items()}
    return {**told, "tensors": tensors}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name != "tensors":
            assert found[name] == value, name
    assert found["tensors"].keys() == expected["tensors"].keys()
    for name, tensor in expected["tensors"].items():
        assert torch.equal(found["tensors"][name], tensor), name


@pytest.fixture(scope="module")
def undisturbed(
    processes: ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert ended(processes, work, folder) == 0
    yield story(folder)


MOMENTS = {
    "in the training of the prototype": {"phase": "training", "step": 17},
    "in the first training": {"phase": "cycle 1/3: train", "step": 9},
    "in a later training, in the middle of an epoch": {"phase": "cycle 2/3: train", "step": 3},
    "in an evaluation": {"phase": "cycle 3/3: evaluate", "step": 1},
    "between two cycles": {"note": 1},
    "after the last cycle": {"note": 3},
    "when the first network is drawn": {"phase": "draw networks", "step": 1},
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_ends_as_an_undisturbed_one(
    processes: ForkServerContext, undisturbed: dict[str, Any], tmp_path: Path, moment: str
) -> None:
    folder = tmp_path / "run"
    assert ended(processes, work, folder, Killer(**MOMENTS[moment])) == -signal.SIGKILL
    if Run.exists(folder):
        with Run.open(folder) as run:
            assert run.status == "interrupted"
    assert ended(processes, work, folder) == 0
    assert_same(story(folder), undisturbed)


@pytest.mark.parametrize(("table", "count"), [("networks", 3), ("cycles", 2), ("checkpoints", 3)])
def test_a_run_killed_inside_a_transaction_ends_as_an_undisturbed_one(
    processes: ForkServerContext, undisturbed: dict[str, Any], tmp_path: Path, table: str, count: int
) -> None:
    folder = tmp_path / "run"
    assert ended(processes, die_inside_commit, folder, table, count) == -signal.SIGKILL
    assert ended(processes, work, folder) == 0
    assert_same(story(folder), undisturbed)


def test_a_run_killed_again_and_again_ends_as_an_undisturbed_one(
    processes: ForkServerContext, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    # Notes are counted anew by every process: the last one sees the third cycle alone.
    again_and_again = [*list(MOMENTS.values())[:4], {"note": 1}, MOMENTS["when the first network is drawn"]]
    for moment in again_and_again:
        assert ended(processes, work, folder, Killer(**moment)) == -signal.SIGKILL
    assert ended(processes, work, folder) == 0
    assert_same(story(folder), undisturbed)


def test_a_finished_run_worked_on_again_says_the_same(
    processes: ForkServerContext, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert ended(processes, work, folder) == 0
    # Any training at all would end the second process.
    assert ended(processes, work, folder, Killer("train")) == 0
    assert_same(story(folder), undisturbed)
