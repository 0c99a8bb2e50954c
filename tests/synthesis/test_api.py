"""From a prototype to a generator in one call, and from a run folder back to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_synthesis import (
    BOUND,
    REQUIREMENTS,
    SETTINGS,
    ReadLog,
    SmallNet,
    Watch,
    digits_task,
    traced,
    untrained,
)
from torch import nn

import edgesynth
from edgesynth.devices import Device, open_device
from edgesynth.errors import RequirementError, RunError
from edgesynth.graph import Prototype
from edgesynth.runs import Run
from edgesynth.synthesis.api import (
    check_obtainable,
    check_satisfiable,
    load_generator,
    synthesize,
)
from edgesynth.synthesis.requirements import Requirements
from edgesynth.tasks import ClassificationTask, load_task

ROOT = Path(edgesynth.__file__).parents[1]
TINY = replace(SETTINGS, cycles=1, epochs=0.3, networks=1, polish_epochs=0.0, validation_limit=50)


# --- what is refused ---


def test_energy_without_a_counter_is_refused(task: ClassificationTask) -> None:
    with open_device("host-cpu") as device:
        assert not device.has_energy
        with pytest.raises(RequirementError, match=r"inferences_per_joule needs a power counter.*host-cpu"):
            check_obtainable(["inferences_per_joule"], task, device)


def test_a_device_metric_without_a_device_is_refused(task: ClassificationTask) -> None:
    with pytest.raises(RequirementError, match=r"latency_ms needs a device .*name one in \[device\]"):
        check_obtainable(["latency_ms"], task, None)


def test_a_metric_of_another_task_is_refused(task: ClassificationTask) -> None:
    with pytest.raises(RequirementError, match=r"miou is not about a metric of this task.* accuracy"):
        check_obtainable(["macs", "miou"], task, None)
    check_obtainable(["macs", "accuracy", "netscore"], task, None)


@pytest.mark.parametrize("metric", ["macs", "parameters", "bytes"])
def test_a_ceiling_below_the_smallest_network_is_refused_with_the_closest_value(
    prototype: Prototype, metric: str
) -> None:
    closest = getattr(prototype.cost(prototype.smallest()), metric)
    with pytest.raises(RequirementError, match=rf"'{metric} <= 10' cannot be met: .*{metric} = {closest}"):
        check_satisfiable(prototype, Requirements({metric: "<= 10"}))
    check_satisfiable(prototype, Requirements({metric: f"<= {closest}"}))


@pytest.mark.parametrize("metric", ["macs", "parameters"])
def test_a_floor_above_the_largest_network_is_refused_with_the_closest_value(
    prototype: Prototype, metric: str
) -> None:
    closest = getattr(prototype.cost(), metric)
    with pytest.raises(RequirementError, match=rf"cannot be met: the most .*{metric} = {closest}; lower it"):
        check_satisfiable(prototype, Requirements({metric: ">= 100G"}))
    check_satisfiable(prototype, Requirements({metric: f">= {closest}"}))


def test_what_is_refused_leaves_no_folder(
    prototype: Prototype, task: ClassificationTask, tmp_path: Path
) -> None:
    with pytest.raises(RequirementError):
        synthesize(prototype, task, Requirements({"macs": "<= 10"}), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_job_is_refused_and_left_alone(
    finished,
    fresh: Callable[[], Prototype],
    task: ClassificationTask,
    board: Device,
) -> None:
    other = Requirements({"macs": f"<= {BOUND // 2}"})
    with pytest.raises(RunError, match=r"holds another job \(different requirements, settings\)"):
        synthesize(fresh(), task, other, board, run_dir=finished.folder, settings=replace(SETTINGS, seed=1))
    with finished.open() as run:
        assert run.status == "finished"
        assert run.manifest["settings"] == SETTINGS.to_json()


def test_data_of_another_size_are_refused_where_figures_are_compared(
    finished, fresh: Callable[[], Prototype], board: Device
) -> None:
    more = load_task("digits", train_size=700)
    with pytest.raises(RunError, match="have changed: train had 600 samples and has 700; restore them"):
        synthesize(fresh(), more, REQUIREMENTS, board, run_dir=finished.folder, settings=SETTINGS)
    with pytest.raises(RunError, match="have changed: train had 600 samples and has 700"):
        load_generator(finished.folder, fresh(), more, board)
    with finished.open() as run:
        assert run.status == "finished"


# --- what is left ---


def test_the_result_is_what_the_run_recorded(finished) -> None:
    result = finished.result
    assert result.met
    assert result.shortfall == ""
    assert len(result.networks) == SETTINGS.networks
    with finished.open() as run:
        assert run.networks("generated") == result.networks
        assert run.networks("prototype") == (result.prototype_record,)
    for record in (*result.networks, result.prototype_record):
        assert str(record.metrics["latency_ms"].provenance) == "simulated"
        assert str(record.test_metrics["accuracy"].provenance) == "measured"
    for record in result.networks:
        assert set(record.verdicts.values()) <= {"satisfied", "satisfied (simulated)"}
        assert all((finished.folder / path).is_file() for path in record.files.values())
    assert len({record.key for record in result.networks}) == SETTINGS.networks


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every artefact with when it was written and what it holds; the store is its own affair."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("run.")
    }


def test_a_finished_run_opened_again_is_only_read(
    finished,
    fresh: Callable[[], Prototype],
    task: ClassificationTask,
    board: Device,
) -> None:
    before = contents(finished.folder)
    log, watch = ReadLog(task), Watch()
    again = synthesize(
        fresh(), log, REQUIREMENTS, board, run_dir=finished.folder, settings=SETTINGS, progress=watch
    )
    assert again.networks == finished.result.networks
    assert again.prototype_record == finished.result.prototype_record
    assert again.met
    assert watch.phases == []
    # A few samples of every split tell that the data are the same.
    assert log.reads[:3] == [("before", split) for split in ("train", "validation", "test")]
    assert all(split == "train" for _, split in log.reads[3:])
    assert contents(finished.folder) == before
    seeds = range(30)
    assert [again.generator.architecture(s) for s in seeds] == [
        finished.result.generator.architecture(s) for s in seeds
    ]


def test_too_few_networks_are_explained_now_and_later(
    fresh: Callable[[], Prototype], task: ClassificationTask, tmp_path: Path
) -> None:
    strict = Requirements({"accuracy": ">= 0.999", "macs": f"<= {BOUND}"})
    first = synthesize(fresh(), task, strict, run_dir=tmp_path / "run", settings=TINY)
    assert not first.met
    assert first.networks == ()
    assert "accuracy >= 0.999 is violated" in first.shortfall
    again = synthesize(fresh(), task, strict, run_dir=tmp_path / "run", settings=TINY)
    assert again.shortfall == first.shortfall
    with Run.open(tmp_path / "run") as run:
        assert [text for _, text in run.events()] == [first.shortfall]


class _Asking(Watch):
    """Looks at the run while it is written."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.seen = folder, set[str]()

    def began(self, name: str) -> None:
        with Run.open(self.folder) as run:
            self.seen.add(run.status)


class _Interrupting(Watch):
    """Ctrl-C in the middle of a phase."""

    def __init__(self, phase: str) -> None:
        super().__init__()
        self.wanted = phase

    def step(self) -> None:
        super().step()
        if self.wanted in self.phases[-1]:
            raise KeyboardInterrupt


@pytest.mark.parametrize("phase", [pytest.param("cycle 2/3: train", marks=pytest.mark.slow), "draw networks"])
def test_an_interrupted_run_says_so_and_goes_on_to_the_same_end(
    finished,
    fresh: Callable[[], Prototype],
    task: ClassificationTask,
    board: Device,
    tmp_path: Path,
    phase: str,
) -> None:
    folder = tmp_path / "run"
    arguments = (task, REQUIREMENTS, board)
    with pytest.raises(KeyboardInterrupt):
        synthesize(fresh(), *arguments, run_dir=folder, settings=SETTINGS, progress=_Interrupting(phase))
    with Run.open(folder) as run:
        assert run.status == "interrupted"
    watch = _Asking(folder)
    resumed = synthesize(fresh(), *arguments, run_dir=folder, settings=SETTINGS, progress=watch)
    assert watch.seen == {"running"}
    assert resumed.networks == finished.result.networks
    with Run.open(folder) as run:
        assert run.status == "finished"


# --- load_generator ---

FRESH_PROCESS = """
import json, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from small_synthesis import digits_task, traced, untrained
from edgesynth import load_generator
generator = load_generator(sys.argv[2], traced(untrained()), digits_task())
found = []
for seed in range(1000, 1003):
    network = generator.generate(seed)
    weights = {name: tensor.double().sum().item() for name, tensor in network.module.state_dict().items()}
    found.append([network.key, network.measurements["accuracy"].value, weights])
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_fresh_process_generates_the_same_networks(
    finished,
    fresh: Callable[[], Prototype],
    task: ClassificationTask,
) -> None:
    here = load_generator(finished.folder, fresh(), task)
    there = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, str(Path(__file__).parent), str(finished.folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert there.returncode == 0, there.stderr
    expected = []
    for seed in range(1000, 1003):
        network = here.generate(seed)
        sums = {name: tensor.double().sum().item() for name, tensor in network.module.state_dict().items()}
        expected.append([network.key, network.measurements["accuracy"].value, sums])
    assert json.loads(there.stdout) == expected


def test_loading_takes_the_prototypes_weights_from_the_run(
    finished,
    trained: Callable[[], SmallNet],
) -> None:
    generator = load_generator(finished.folder, traced(untrained()), digits_task())
    state = trained().state_dict()
    found = generator.prototype.module.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in state.items())


def test_loading_with_another_prototype_is_refused(finished, task: ClassificationTask) -> None:
    other = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    with pytest.raises(RunError, match="learned for another prototype"):
        load_generator(finished.folder, traced(other), task)


def test_loading_what_is_no_run_is_refused(
    prototype: Prototype, task: ClassificationTask, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        load_generator(tmp_path, prototype, task)


def test_loading_before_the_first_cycle_has_ended_is_refused(
    fresh: Callable[[], Prototype], task: ClassificationTask, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        synthesize(
            fresh(),
            task,
            REQUIREMENTS,
            run_dir=tmp_path / "run",
            settings=SETTINGS,
            progress=_Interrupting("cycle 1/3: train"),
        )
    with pytest.raises(RunError, match="has no finished cycle yet"):
        load_generator(tmp_path / "run", fresh(), task)
