"""How a network learns a task: one recipe for all that are compared.

A plan says how long and how hard, the loop follows it, a teacher may be listened to, batch-norm statistics
are estimated afresh at the end, and convolutions run channels-last where that is faster.
"""

from __future__ import annotations

from edgesynth.tasks.training.loop import fit
from edgesynth.tasks.training.memory_format import as_channels_last, channels_last_kernels, has_images
from edgesynth.tasks.training.plan import EpochRecord, TrainingPlan, TrainingRecord, passes
from edgesynth.tasks.training.recalibration import recalibrate_
from edgesynth.tasks.training.state import TrainingState
from edgesynth.tasks.training.teacher import TeacherCache, taught_loss

__all__ = [
    "EpochRecord",
    "TeacherCache",
    "TrainingPlan",
    "TrainingRecord",
    "TrainingState",
    "as_channels_last",
    "channels_last_kernels",
    "fit",
    "has_images",
    "passes",
    "recalibrate_",
    "taught_loss",
]
