"""What a task is to the rest of the house: data in three splits, a loss, a score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesynth.metrics import Metric

__all__ = [
    "Answer",
    "Batch",
    "Coloured",
    "Compared",
    "Curve",
    "Illustrated",
    "Judge",
    "Outputs",
    "Postprocessed",
    "Score",
    "Split",
    "Targets",
    "Task",
    "TaskKind",
    "task_kind",
]

Split = Literal["train", "validation", "test"]
"""Train on ``train``, decide on ``validation``, report on ``test``."""

TaskKind = Literal["classification", "segmentation", "detection"]
"""What a network's outputs are for, and a prototype must be made for."""

Outputs = Any
"""What a network returns: a tensor, or a tuple, list or dict of tensors; the task's loss knows which."""

Targets = Any
"""What outputs are compared with: a tensor, or a tuple, list or dict of tensors."""


@dataclass(frozen=True)
class Batch:
    """What one step of training or scoring reads.

    Attributes:
        inputs: Normalised samples, ``[batch, *input_shape]``.
        targets: What the task's loss compares outputs with; class indices ``[batch]`` for classification.
    """

    inputs: Tensor
    targets: Targets


@dataclass(frozen=True)
class Curve:
    """Precision against recall of one class, by falling confidence.

    Attributes:
        recall: Shares of the true objects found, rising, ``[points]``.
        precision: Shares of the answers that are right, ``[points]``.
    """

    recall: tuple[float, ...]
    precision: tuple[float, ...]


@dataclass(frozen=True)
class Score:
    """The quality of one network on one split.

    Attributes:
        metric: The task's metric: measured, with its number of samples and 95 % interval.
        loss: The mean task loss over the same samples.
        correct: Per sample, in the order of the split, whether it was right (bool ``[samples]``); ``None``
            where the metric is not a share of samples.
        others: What else was measured on the same samples, e.g. pixel accuracy beside mean IoU.
        per_class: The metric of every class that has samples, by the class's name.
        confusion: Counts, int64 ``[classes, classes]``, row the truth, column the answer; one row and column
            more where what is of no class is counted as well. ``None`` where answers are not classes.
        curves: Precision against recall by class, where answers have confidences.
        resampled: The metric for a resample of the samples, given how often each occurs in it, int64
            ``[samples]``, where it is no share of them: with it two networks can be compared on the same
            samples. ``None`` where it cannot be told.
    """

    metric: Metric
    loss: float
    correct: Tensor | None = None
    others: tuple[Metric, ...] = ()
    per_class: Mapping[str, float] = field(default_factory=dict)
    confusion: Tensor | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    resampled: Callable[[NDArray[np.int64]], float] | None = field(default=None, repr=False, compare=False)


class Judge(Protocol):
    """Hears a network's outputs batch by batch, wherever they were computed, and says what they are worth."""

    def add(self, outputs: Outputs, batch: Batch) -> None:
        """Take the outputs for one batch, on any device.

        Raises:
            InputError: The outputs do not have the shape that the task needs.
        """
        ...

    def score(self) -> Score:
        """The quality over everything heard so far.

        Raises:
            InputError: Nothing was heard.
        """
        ...


@runtime_checkable
class Task(Protocol):
    """Data, loss and metric of one problem; knows nothing of generators, devices or runs.

    Attributes:
        name: What reports call it.
        metric: The key in :data:`edgesynth.metrics.METRICS` that :meth:`score` fills.
        input_shape: The shape of one sample, without the batch axis.
        classes: The names of the classes, in the order of the network's outputs.
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def metric(self) -> str:
        """The key of the metric that :meth:`score` fills."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch axis."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the network's outputs."""
        ...

    def size(self, split: Split) -> int:
        """How many samples the split holds."""
        ...

    def batches(
        self,
        split: Split,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        augment: bool = False,
        limit: int | None = None,
    ) -> Iterator[Batch]:
        """One pass over the split.

        Args:
            split: Which samples.
            batch_size: At most this many samples a batch; sizes differ by at most one.
            seed: Decides the order and the augmentation.
            shuffle: Draw a fresh order from ``seed``; otherwise the order is fixed.
            augment: Vary the samples at random, as in training.
            limit: At most this many samples: a fixed representative subset, or with ``shuffle`` the first
                of the fresh order.
        """
        ...

    def loss(self, outputs: Outputs, targets: Targets) -> Tensor:
        """The mean loss of a batch, a scalar tensor."""
        ...

    def distillation_loss(self, outputs: Outputs, teacher_outputs: Outputs, targets: Targets) -> Tensor:
        """The mean loss of a batch when a teacher's outputs on the same inputs are known."""
        ...

    def judge(self, split: Split) -> Judge:
        """A fresh judge of outputs for the split's batches, as :meth:`score` and a deployed engine need."""
        ...

    def score(
        self, module: nn.Module, split: Split, *, limit: int | None = None, batch_size: int = 128
    ) -> Score:
        """Run ``module`` in evaluation mode over the split and judge it; its mode is restored.

        :class:`edgesynth.tasks.Scored` has it for any task that has the other methods.
        """
        ...


class Answer(Protocol):
    """What a network says about one sample, or the truth about it, as a report shows it."""

    def drawn_on(self, image: Tensor) -> Tensor:
        """The image, uint8 ``[3, height, width]``, with the answer on it."""
        ...

    def caption(self, truth: Answer) -> str:
        """A few words beside the picture; whether it agrees with the truth, where that can be said."""
        ...


@runtime_checkable
class Compared(Protocol):
    """An answer that is drawn otherwise where it is wrong: one method beside those of :class:`Answer`."""

    def against(self, truth: Answer) -> Answer:
        """The same answer, knowing the truth, as a report shows it."""
        ...


@runtime_checkable
class Coloured(Protocol):
    """An answer that draws classes in colours, which reports then name: two members beside :class:`Answer`'s.

    Attributes:
        reading: A sentence or two on what else is drawn; empty for nothing.
    """

    @property
    def reading(self) -> str:
        """A sentence or two on what else is drawn; empty for nothing."""
        ...

    def colours(self) -> Mapping[str, tuple[int, int, int] | None]:
        """Red, green and blue of 0 to 255 by name, of the classes it shows; ``None`` for no colour."""
        ...


@runtime_checkable
class Illustrated(Protocol):
    """A task whose reports show pictures: three methods beside those of :class:`Task`."""

    def images(self, inputs: Tensor) -> Tensor | None:
        """What ``inputs`` looked like before normalisation, uint8 ``[batch, 3, height, width]``.

        ``None`` where samples are no pictures.
        """
        ...

    def answers(self, outputs: Outputs) -> tuple[Answer, ...]:
        """What a network's outputs say about each sample of a batch."""
        ...

    def truths(self, targets: Targets) -> tuple[Answer, ...]:
        """The truth about each sample of a batch."""
        ...


@runtime_checkable
class Postprocessed(Protocol):
    """A task that tells a deployed program what to do with the outputs of a network.

    Attributes:
        postprocessing: A JSON object; ``kind`` names the procedure, the rest its parameters with units.
    """

    @property
    def postprocessing(self) -> Mapping[str, Any]:
        """A JSON object; ``kind`` names the procedure, the rest its parameters with units."""
        ...


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
