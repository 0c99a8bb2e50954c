"""One label per sample: the task, its samples and their variation, and readers of the user's own.

Trained by cross-entropy, judged by top-1 accuracy. Samples come in memory, from a torch data set, or from a
folder with one directory per class.
"""

from __future__ import annotations

from edgesynth.tasks.classification.answer import ClassAnswer
from edgesynth.tasks.classification.augmentation import Augmentation
from edgesynth.tasks.classification.folder import load_image_folder
from edgesynth.tasks.classification.samples import DatasetSamples, LabelledSamples, TensorSamples
from edgesynth.tasks.classification.task import ClassificationTask
from edgesynth.tasks.classification.torchdata import from_datasets

__all__ = [
    "Augmentation",
    "ClassAnswer",
    "ClassificationTask",
    "DatasetSamples",
    "LabelledSamples",
    "TensorSamples",
    "from_datasets",
    "load_image_folder",
]
