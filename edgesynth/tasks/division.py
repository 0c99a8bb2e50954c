"""Orders of samples and divisions into disjoint parts, the same every time."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from edgesynth.errors import DataError

__all__ = ["divide", "hold_out", "shortened", "stratified_order"]


class _Divisible(Protocol):
    def subset(self, indices: Tensor, /) -> Self: ...


class _Labelled(_Divisible, Protocol):
    @property
    def labels(self) -> Tensor: ...


_Samples = TypeVar("_Samples", bound=_Divisible)
_LabelledSamples = TypeVar("_LabelledSamples", bound=_Labelled)


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """A random order of the samples whose every prefix holds the classes in their true proportions.

    Args:
        labels: Class indices, int64 ``[samples]``.
        seed: Decides which samples of a class come first.

    Returns:
        Indices, int64 ``[samples]``.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    position = torch.empty(len(labels), dtype=torch.float64)
    arranged = labels[shuffled]
    for label in sorted(set(labels.tolist())):
        part = torch.nonzero(arranged == label).flatten()
        # Members of a class stand at (1/2, 3/2, ...) / count: sorting by that interleaves all classes.
        position[part] = (torch.arange(len(part), dtype=torch.float64) + 0.5) / len(part)
    return shuffled[torch.argsort(position, stable=True)]


def divide(samples: _LabelledSamples, *sizes: int, seed: int = 0) -> tuple[_LabelledSamples, ...]:
    """Disjoint stratified parts of the given sizes.

    The parts are consecutive stretches of one fixed stratified order, so a part that comes first is the same
    whatever sizes follow it.

    Raises:
        DataError: A size is not positive, or together they exceed the samples.
    """
    count = len(samples.labels)
    if any(size < 1 for size in sizes) or sum(sizes) > count:
        raise DataError(
            f"cannot take parts of {', '.join(map(str, sizes))} samples from {count}; ask for fewer"
        )
    order = stratified_order(samples.labels, seed)
    parts = torch.split(order[: sum(sizes)], list(sizes))
    return tuple(samples.subset(part) for part in parts)


def hold_out(
    samples: _LabelledSamples, share: float = 0.15, seed: int = 0
) -> tuple[_LabelledSamples, _LabelledSamples]:
    """Set ``share`` of the samples aside.

    Returns:
        What remains, and what was set aside (at least one sample each).

    Raises:
        DataError: There are fewer than two samples.
    """
    count = len(samples.labels)
    aside = min(max(1, round(share * count)), count - 1)
    held, kept = divide(samples, aside, count - aside, seed=seed)
    return kept, held


def shortened(name: str, train: _Samples, count: int, train_size: int | None) -> _Samples:
    """The first ``train_size`` training samples of one fixed random order; all of them when not given.

    Args:
        name: Of the data set, for the message.
        train: The training samples.
        count: How many there are.
        train_size: How many are wanted.

    Raises:
        DataError: There are not so many, or they are fewer than two.
    """
    if train_size is None:
        return train
    if not 2 <= train_size <= count:
        raise DataError(f"{name}: train_size must lie between 2 and {count:,}, got {train_size}")
    return train.subset(torch.randperm(count, generator=torch.Generator().manual_seed(0))[:train_size])
