"""Which of the three kinds a task is: what a prototype must be made for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from edgesynth.tasks.protocol import Task

__all__ = ["TaskKind", "task_kind"]

TaskKind = Literal["classification", "segmentation", "detection"]
"""What a network's outputs are for."""

_BY_METRIC: Final[Mapping[str, TaskKind]] = MappingProxyType(
    {
        "accuracy": "classification",
        "miou": "segmentation",
        "pixel_accuracy": "segmentation",
        "map50": "detection",
        "map": "detection",
    }
)


def task_kind(task: Task) -> TaskKind | None:
    """The kind of a task by its metric; ``None`` where that says nothing, as with a user's own."""
    return _BY_METRIC.get(task.metric)
