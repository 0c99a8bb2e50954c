"""What a network is trained for: data, loss, metric, training."""

from edgesynth.tasks.answers import ClassAnswer
from edgesynth.tasks.augmentation import Augmentation
from edgesynth.tasks.box_augmentation import BoxAugmentation
from edgesynth.tasks.box_folder import BoxedFileSamples, load_boxes
from edgesynth.tasks.boxed_samples import BoxedSamples, BoxedTensorSamples
from edgesynth.tasks.boxes import Detections
from edgesynth.tasks.boxes_answer import BoxesAnswer
from edgesynth.tasks.classification import ClassificationTask
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.detection import DetectionTask
from edgesynth.tasks.detection_export import DetectionExport
from edgesynth.tasks.detection_judge import DetectionJudge
from edgesynth.tasks.detection_losses import DetectionDistillation
from edgesynth.tasks.distillation import Distillation
from edgesynth.tasks.folder import load_image_folder
from edgesynth.tasks.images import ImageFormat, pictures
from edgesynth.tasks.mask_answer import MaskAnswer
from edgesynth.tasks.mask_folder import load_mask_folder
from edgesynth.tasks.masks import MaskedSamples, MaskedTensors
from edgesynth.tasks.normalization import Normalization
from edgesynth.tasks.paired import PairedAugmentation
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
    TaskKind,
    task_kind,
)
from edgesynth.tasks.registry import dataset_names, load_task
from edgesynth.tasks.samples import DatasetSamples, LabelledSamples, TensorSamples
from edgesynth.tasks.scoring import Scored, bootstrap_interval
from edgesynth.tasks.segmentation import SegmentationTask
from edgesynth.tasks.torchdata import from_datasets
from edgesynth.tasks.training import (
    EpochRecord,
    TeacherCache,
    TrainingPlan,
    TrainingRecord,
    as_channels_last,
    channels_last_kernels,
    fit,
    has_images,
    recalibrate_,
)

__all__ = [
    "Answer",
    "Augmentation",
    "Batch",
    "BoxAugmentation",
    "BoxedFileSamples",
    "BoxedSamples",
    "BoxedTensorSamples",
    "BoxesAnswer",
    "ClassAnswer",
    "ClassificationTask",
    "Curve",
    "DataDescription",
    "DatasetSamples",
    "DetectionDistillation",
    "DetectionExport",
    "DetectionJudge",
    "DetectionTask",
    "Detections",
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
    "TaskKind",
    "TeacherCache",
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
    "load_boxes",
    "load_image_folder",
    "load_mask_folder",
    "load_task",
    "pictures",
    "recalibrate_",
    "task_kind",
]
