"""What a network is trained for: data, loss, metric, training."""

from edgesynth.tasks.augmentation import Augmentation
from edgesynth.tasks.classification import ClassificationScore, ClassificationTask, Distillation
from edgesynth.tasks.datasets import dataset_names, load_task
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.folder import load_image_folder
from edgesynth.tasks.images import ImageFormat
from edgesynth.tasks.memory_format import as_channels_last, channels_last_kernels, has_images
from edgesynth.tasks.normalization import Normalization
from edgesynth.tasks.plan import EpochRecord, TrainingPlan, TrainingRecord
from edgesynth.tasks.protocol import Batch, Score, Split, Task
from edgesynth.tasks.recalibration import recalibrate_
from edgesynth.tasks.samples import DatasetSamples, LabelledSamples, TensorSamples
from edgesynth.tasks.torchdata import from_datasets
from edgesynth.tasks.training import fit

__all__ = [
    "Augmentation",
    "Batch",
    "ClassificationScore",
    "ClassificationTask",
    "DataDescription",
    "DatasetSamples",
    "Distillation",
    "EpochRecord",
    "ImageFormat",
    "LabelledSamples",
    "Normalization",
    "Score",
    "Split",
    "Task",
    "TensorSamples",
    "TrainingPlan",
    "TrainingRecord",
    "as_channels_last",
    "channels_last_kernels",
    "dataset_names",
    "fit",
    "from_datasets",
    "has_images",
    "load_image_folder",
    "load_task",
    "recalibrate_",
]
