"""The run folder: records, checkpoints, resume."""

from __future__ import annotations

from edgesynth.runs.atomic import write_atomic, write_json_atomic
from edgesynth.runs.checkpoint import Checkpoint
from edgesynth.runs.records import CycleRecord, LayerRecord, LayerTimeRecord, NetworkRecord, Role, Status
from edgesynth.runs.run import Run, RunStatus

__all__ = [
    "Checkpoint",
    "CycleRecord",
    "LayerRecord",
    "LayerTimeRecord",
    "NetworkRecord",
    "Role",
    "Run",
    "RunStatus",
    "Status",
    "write_atomic",
    "write_json_atomic",
]
