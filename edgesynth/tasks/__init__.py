"""What a network is trained for: data, loss, metric, training."""

from edgesynth.tasks.answers import ClassAnswer, pictures
from edgesynth.tasks.augmentation import Augmentation
from edgesynth.tasks.classification import ClassificationTask, Distillation
from edgesynth.tasks.datasets import dataset_names, load_task
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.folder import load_image_folder
from edgesynth.tasks.images import ImageFormat
from edgesynth.tasks.mask_answer import MaskAnswer
from edgesynth.tasks.mask_folder import load_mask_folder
from edgesynth.tasks.masks import MaskedSamples, MaskedTensors
from edgesynth.tasks.memory_format import as_channels_last, channels_last_kernels, has_images
from edgesynth.tasks.normalization import Normalization
from edgesynth.tasks.paired import PairedAugmentation
from edgesynth.tasks.plan import EpochRecord, TrainingPlan, TrainingRecord
from edgesynth.tasks.protocol import (
    Answer,
    Batch,
    Curve,
    Illustrated,
    Judge,
    Outputs,
    Postprocessed,
    Score,
    Split,
    Targets,
    Task,
)
from edgesynth.tasks.recalibration import recalibrate_
from edgesynth.tasks.samples import DatasetSamples, LabelledSamples, TensorSamples
from edgesynth.tasks.scoring import Scored, bootstrap_interval
from edgesynth.tasks.segmentation import SegmentationTask
from edgesynth.tasks.torchdata import from_datasets
from edgesynth.tasks.training import fit

__all__ = [
    "Answer",
    "Augmentation",
    "Batch",
    "ClassAnswer",
    "ClassificationTask",
    "Curve",
    "DataDescription",
    "DatasetSamples",
    "Distillation",
    "EpochRecord",
    "Illustrated",
    "ImageFormat",
    "Judge",
    "LabelledSamples",
    "MaskAnswer",
    "MaskedSamples",
    "MaskedTensors",
    "Normalization",
    "Outputs",
    "PairedAugmentation",
    "Postprocessed",
    "Score",
    "Scored",
    "SegmentationTask",
    "Split",
    "Targets",
    "Task",
    "TensorSamples",
    "TrainingPlan",
    "TrainingRecord",
    "as_channels_last",
    "bootstrap_interval",
    "channels_last_kernels",
    "dataset_names",
    "fit",
    "from_datasets",
    "has_images",
    "load_image_folder",
    "load_mask_folder",
    "load_task",
    "pictures",
    "recalibrate_",
]
