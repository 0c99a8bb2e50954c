"""What a network is trained for: data, loss, metric, training.

The modules here hold what every task shares: the Protocols, trees of tensors, scoring, splits and how samples
are divided into them. On these and ``images`` stand ``classification``, ``segmentation`` and ``detection``,
on those the ``datasets``, which ``registry`` knows by name. ``training`` trains whatever keeps to the
Protocols.
"""

from edgesynth.tasks.classification import (
    Augmentation,
    ClassAnswer,
    ClassificationTask,
    DatasetSamples,
    LabelledSamples,
    TensorSamples,
    from_datasets,
    load_image_folder,
)
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.detection import (
    BoxAugmentation,
    BoxedFileSamples,
    BoxedSamples,
    BoxedTensorSamples,
    BoxesAnswer,
    DetectionDistillation,
    DetectionExport,
    DetectionJudge,
    Detections,
    DetectionTask,
    load_boxes,
)
from edgesynth.tasks.distillation import Distillation
from edgesynth.tasks.images import ImageFormat, pictures
from edgesynth.tasks.normalization import Normalization
from edgesynth.tasks.protocol import (
    Answer,
    Batch,
    Coloured,
    Compared,
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
from edgesynth.tasks.scoring import Scored, bootstrap_interval
from edgesynth.tasks.segmentation import (
    MaskAnswer,
    MaskedSamples,
    MaskedTensors,
    PairedAugmentation,
    SegmentationTask,
    load_mask_folder,
)
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
    "Coloured",
    "Compared",
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
