"""One class per pixel: the task, its samples and their variation, and a reader of the user's own.

Trained by cross-entropy, judged by mean intersection over union. Pictures and masks come in memory, or from a
folder in one of the known layouts, with a legend of what its values or colours mean.
"""

from __future__ import annotations

from edgesynth.tasks.segmentation.answer import MaskAnswer
from edgesynth.tasks.segmentation.augmentation import PairedAugmentation
from edgesynth.tasks.segmentation.folder import load_mask_folder
from edgesynth.tasks.segmentation.samples import MaskedSamples, MaskedTensors
from edgesynth.tasks.segmentation.task import SegmentationTask

__all__ = [
    "MaskAnswer",
    "MaskedSamples",
    "MaskedTensors",
    "PairedAugmentation",
    "SegmentationTask",
    "load_mask_folder",
]
