"""A prototype is trained once, and its weights are read ever after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small_synthesis import PLAN, ReadLog, untrained
from torch import Tensor, nn

from edgesynth.errors import InputError, RunError
from edgesynth.progress import NullProgress
from edgesynth.runs.lock import LOCK, WriterLock
from edgesynth.synthesis.prototypes import save_weights, train_prototype
from edgesynth.tasks import Batch, ClassificationTask, Split


def test_a_prototype_is_trained_once(task: ClassificationTask, tmp_path: Path) -> None:
    short = replace(PLAN, epochs=0.5)
    first, second = untrained(), untrained()
    train_prototype(first, task, short, tmp_path, NullProgress())
    log = ReadLog(task)
    train_prototype(second, log, short, tmp_path, NullProgress())
    # What is read tells that the data are the same.
    assert log.reads == [("before", split) for split in ("train", "validation", "test")]
    state = first.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in second.state_dict().items())


def test_a_prototype_is_not_trained_where_another_process_does(
    task: ClassificationTask, tmp_path: Path
) -> None:
    lock = WriterLock(tmp_path / LOCK)
    with pytest.raises(RunError, match="is being written by process"):
        train_prototype(untrained(), task, PLAN, tmp_path, NullProgress())
    lock.release()
    assert not (tmp_path / "prototype.safetensors").exists()


@pytest.mark.parametrize("damage", ["truncated", "other network", "no tensors"])
def test_damaged_prototype_weights_are_refused(task: ClassificationTask, tmp_path: Path, damage: str) -> None:
    module: nn.Module = untrained()
    train_prototype(module, task, replace(PLAN, epochs=0.1), tmp_path, NullProgress())
    path = tmp_path / "prototype.safetensors"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "no tensors":
        path.write_bytes(b"not safetensors at all")
    else:
        module = nn.Linear(64, 10)
    with pytest.raises(RunError, match=r"prototype\.safetensors cannot be loaded"):
        train_prototype(module, task, PLAN, tmp_path, NullProgress())


class Interrupting(NullProgress):
    """Ctrl-C after so many steps; keeps what it is told."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.notes: list[str] = []

    def phase(self, name: str, total: float | None = None) -> Interrupting:  # type: ignore[override]
        return self

    def __enter__(self) -> Interrupting:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, steps: float = 1, **figures: float) -> None:
        self.left -= int(steps)
        if self.left == 0:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        self.notes.append(text)


def interrupt(task: ClassificationTask, folder: Path, steps: int, origin: str = "") -> None:
    with pytest.raises(KeyboardInterrupt):
        train_prototype(untrained(), task, SHORT, folder, Interrupting(steps), origin=origin)
    assert sorted(path.name for path in folder.iterdir()) == ["prototype.unfinished.safetensors", "run.lock"]


def held(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """What a file says of itself, and its tensors."""
    with safe_open(path, "pt") as file:
        return file.metadata(), load_file(path)


# 600 samples make 19 steps an epoch.
SHORT = replace(PLAN, epochs=3)


@pytest.mark.parametrize("steps", [20, 19 * 2 + 18])
def test_an_interrupted_training_goes_on_to_the_weights_of_one_without_a_stop(
    task: ClassificationTask, tmp_path: Path, steps: int
) -> None:
    train_prototype(untrained(), task, SHORT, tmp_path / "whole", NullProgress(), origin="one")
    interrupt(task, tmp_path / "stopped", steps, "one")
    module, told, log = untrained(), Interrupting(-1), ReadLog(task)
    train_prototype(module, log, SHORT, tmp_path / "stopped", told, origin="one")
    assert told.notes == [f"the training of the prototype goes on after epoch {(steps - 1) // 19}"]
    whole, stopped = (held(tmp_path / name / "prototype.safetensors") for name in ("whole", "stopped"))
    assert whole[0] == stopped[0]
    assert whole[1].keys() == stopped[1].keys()
    assert all(torch.equal(tensor, stopped[1][name]) for name, tensor in whole[1].items())
    assert not (tmp_path / "stopped" / "prototype.unfinished.safetensors").exists()


class Relabelled(ReadLog):
    """The same digits under other labels."""

    def batches(self, split: Split, **options: Any) -> Iterator[Batch]:
        for batch in super().batches(split, **options):
            yield replace(batch, targets=9 - batch.targets)


@pytest.mark.parametrize("left", ["prototype.unfinished.safetensors", "prototype.safetensors"])
def test_what_was_trained_on_other_data_is_not_gone_on_with(
    task: ClassificationTask, tmp_path: Path, left: str
) -> None:
    if "unfinished" in left:
        interrupt(task, tmp_path, 30)
    else:
        train_prototype(untrained(), task, replace(PLAN, epochs=0.1), tmp_path, NullProgress())
    before = (tmp_path / left).read_bytes()
    said = rf"{left} were trained on other data than those now given in train, validation, test; restore them"
    with pytest.raises(RunError, match=said):
        train_prototype(untrained(), Relabelled(task), SHORT, tmp_path, NullProgress())
    assert (tmp_path / left).read_bytes() == before


def test_weights_that_do_not_say_on_what_they_were_trained_are_taken(
    task: ClassificationTask, tmp_path: Path
) -> None:
    save_weights(untrained(), tmp_path / "prototype.safetensors")
    train_prototype(untrained(), Relabelled(task), PLAN, tmp_path, NullProgress())


def test_what_a_power_cut_left_of_a_finished_training_goes(task: ClassificationTask, tmp_path: Path) -> None:
    interrupt(task, tmp_path, 30)
    left = (tmp_path / "prototype.unfinished.safetensors").read_bytes()
    train_prototype(untrained(), task, SHORT, tmp_path, NullProgress())
    (tmp_path / "prototype.unfinished.safetensors").write_bytes(left)
    train_prototype(untrained(), task, SHORT, tmp_path, NullProgress())
    assert not (tmp_path / "prototype.unfinished.safetensors").exists()


def test_another_job_does_not_take_an_unfinished_training(task: ClassificationTask, tmp_path: Path) -> None:
    interrupt(task, tmp_path, 30, "one")
    path = tmp_path / "prototype.unfinished.safetensors"
    before = path.read_bytes()
    with pytest.raises(RunError, match=r"unfinished\.safetensors is for another job; remove the file"):
        train_prototype(untrained(), task, SHORT, tmp_path, NullProgress(), origin="two")
    with pytest.raises(InputError, match=r"began otherwise .different: epochs"):
        train_prototype(untrained(), task, replace(SHORT, epochs=2), tmp_path, NullProgress(), origin="one")
    assert path.read_bytes() == before
    path.write_bytes(before[:-100])
    with pytest.raises(RunError, match=r"unfinished\.safetensors cannot be read: .*; remove the file"):
        train_prototype(untrained(), task, SHORT, tmp_path, NullProgress(), origin="one")
    assert not (tmp_path / "prototype.safetensors").exists()
