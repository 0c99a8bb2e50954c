"""What tasks over three splits of samples have in common: sizes, orders, passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Final, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from edgesynth.errors import DataError, InputError
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.protocol import Batch, Split
from edgesynth.tasks.scoring import Scored

__all__ = ["MEMORY_LIMIT_BYTES", "SPLITS", "SplitTask", "check_labels"]

SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")

MEMORY_LIMIT_BYTES = 2 << 30
"""Splits up to this size are read once and kept; larger ones are read when needed."""


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


Samples = TypeVar("Samples", bound=_Shaped)


class SplitTask(Scored, ABC, Generic[Samples]):
    """A task over three disjoint splits of samples that can be taken by index.

    Args:
        name: What reports call it.
        samples: One per split.
        description: Where the data come from; the user's own in memory when not given.

    Raises:
        DataError: A split is empty, or shapes differ between splits.
    """

    def __init__(
        self, name: str, samples: Mapping[Split, Samples], description: DataDescription | None
    ) -> None:
        self.name = name
        self.input_shape = samples["train"].shape
        self._samples = samples
        self._representative: dict[Split, Tensor] = {}
        for split, part in samples.items():
            if self._count(part) == 0:
                raise DataError(f"{name}: the {split} split is empty; give it at least one sample")
            if part.shape != self.input_shape:
                raise DataError(
                    f"{name}: {split} samples have shape {part.shape}, train samples {self.input_shape}; "
                    "give one shape"
                )
        sizes: dict[str, int] = {split: self.size(split) for split in SPLITS}
        self.description = description or DataDescription(name, "user", "given in memory", sizes=sizes)

    def size(self, split: Split) -> int:
        """How many samples the split holds."""
        return self._count(self._of(split))

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
        """One pass over the split; see :meth:`Task.batches`.

        Raises:
            InputError: The batch size or the limit is not positive, or there is no such split.
        """
        if batch_size < 1 or (limit is not None and limit < 1):
            raise InputError(f"batch size and limit are at least 1, got {batch_size} and {limit}")
        samples = self._of(split)
        generator = torch.Generator().manual_seed(seed)
        order = self._order(split, generator if shuffle else None, limit)
        chunks = order.tensor_split(-(-len(order) // batch_size))
        return (self._batch(samples, indices, generator if augment else None) for indices in chunks)

    def _order(self, split: Split, generator: torch.Generator | None, limit: int | None) -> Tensor:
        samples = self._of(split)
        count = self._count(samples)
        if generator is not None:
            return torch.randperm(count, generator=generator)[:limit]
        if limit is None or limit >= count:
            return torch.arange(count)
        if split not in self._representative:
            self._representative[split] = self._ranked(samples)
        return self._representative[split][:limit].sort().values

    def _of(self, split: Split) -> Samples:
        try:
            return self._samples[split]
        except KeyError:
            raise InputError(f"unknown split {split!r}; there are {', '.join(SPLITS)}") from None

    @abstractmethod
    def _count(self, samples: Samples) -> int:
        """How many there are."""

    @abstractmethod
    def _ranked(self, samples: Samples) -> Tensor:
        """An order, int64 ``[samples]``, whose every beginning stands for all of them."""

    @abstractmethod
    def _batch(self, samples: Samples, indices: Tensor, generator: torch.Generator | None) -> Batch:
        """The samples at ``indices`` as a network reads them, varied where there is a generator."""


def check_labels(name: str, split: Split, labels: Tensor, classes: int) -> None:
    """Refuse labels that are no class indices.

    Args:
        name: Of the task, for the message.
        split: Whose they are.
        labels: Class indices, int64 ``[samples]``.
        classes: How many classes there are.

    Raises:
        DataError: A label is none of them.
    """
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if low < 0 or high >= classes:
        raise DataError(
            f"{name}: {split} labels run from {low} to {high}, but there are {classes} classes "
            f"(0 to {classes - 1})"
        )
