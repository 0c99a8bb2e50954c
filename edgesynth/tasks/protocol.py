"""What a task is to the rest of the house: data in three splits, a loss, a score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from edgesynth.metrics import Metric

__all__ = ["Batch", "Outputs", "Score", "Split", "Targets", "Task"]

Split = Literal["train", "validation", "test"]
"""Train on ``train``, decide on ``validation``, report on ``test``."""

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
class Score:
    """The quality of one network on one split.

    Attributes:
        metric: The task's metric: measured, with its number of samples and 95 % interval.
        loss: The mean task loss over the same samples.
        correct: Per sample, in the order of the split, whether it was right (bool ``[samples]``); ``None``
            where the metric is not a share of samples.
    """

    metric: Metric
    loss: float
    correct: Tensor | None = None


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

    def score(
        self, module: nn.Module, split: Split, *, limit: int | None = None, batch_size: int = 128
    ) -> Score:
        """Run ``module`` in evaluation mode over the split and judge it; its mode is restored."""
        ...
