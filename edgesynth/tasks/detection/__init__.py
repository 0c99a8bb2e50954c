"""Boxes with classes: the task, its samples and their variation, and a reader of the user's own.

A head says what the outputs of a detector mean, losses train it, and mean average precision judges it. Images
with boxes come in memory, or from a folder in one of the annotation formats.
"""

from __future__ import annotations

from edgesynth.tasks.detection.answer import BoxesAnswer
from edgesynth.tasks.detection.augmentation import BoxAugmentation
from edgesynth.tasks.detection.boxes import Detections
from edgesynth.tasks.detection.export import DetectionExport
from edgesynth.tasks.detection.folder import BoxedFileSamples, load_boxes
from edgesynth.tasks.detection.heads import HeadName
from edgesynth.tasks.detection.judge import DetectionJudge
from edgesynth.tasks.detection.losses import DetectionDistillation
from edgesynth.tasks.detection.samples import BoxedSamples, BoxedTensorSamples, BoxMark
from edgesynth.tasks.detection.task import DetectionTask

__all__ = [
    "BoxAugmentation",
    "BoxMark",
    "BoxedFileSamples",
    "BoxedSamples",
    "BoxedTensorSamples",
    "BoxesAnswer",
    "DetectionDistillation",
    "DetectionExport",
    "DetectionJudge",
    "DetectionTask",
    "Detections",
    "HeadName",
    "load_boxes",
]
