"""A prototype is trained once, and its weights are read ever after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_synthesis import PLAN, ReadLog, untrained
from torch import nn

from edgesynth.errors import RunError
from edgesynth.progress import NullProgress
from edgesynth.runs.lock import LOCK, WriterLock
from edgesynth.synthesis.prototypes import train_prototype
from edgesynth.tasks import ClassificationTask


def test_a_prototype_is_trained_once(task: ClassificationTask, tmp_path: Path) -> None:
    short = replace(PLAN, epochs=0.5)
    first, second = untrained(), untrained()
    train_prototype(first, task, short, tmp_path, NullProgress())
    log = ReadLog(task)
    train_prototype(second, log, short, tmp_path, NullProgress())
    assert log.reads == []
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
