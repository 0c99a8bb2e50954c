"""Pictures with a class for every pixel, in memory or read when needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from edgesynth.errors import DataError
from edgesynth.tasks.division import stratified_order

__all__ = ["VALUES", "MaskedSamples", "MaskedTensors", "counted", "representative_order"]

VALUES = 256
"""A mask holds 8 bits a pixel: class indices, and one value for pixels that do not count."""

_CHUNK = 512


class MaskedSamples(Protocol):
    """Pictures of one size, each with a mask of the same size."""

    @property
    def counts(self) -> Tensor:
        """How often every value occurs in each mask, int64 ``[samples, 256]``."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one picture: channels, height, width."""
        ...

    def take(self, indices: Tensor) -> Tensor:
        """The pictures at ``indices`` (int64 ``[n]``), uint8 ``[n, channels, height, width]``."""
        ...

    def masks(self, indices: Tensor) -> Tensor:
        """Their masks, uint8 ``[n, height, width]``."""
        ...

    def subset(self, indices: Tensor) -> MaskedSamples:
        """The samples at ``indices`` (int64 ``[n]``), as samples of their own."""
        ...


@dataclass(frozen=True)
class MaskedTensors:
    """Samples held in memory.

    Attributes:
        inputs: Pictures, uint8 ``[samples, channels, height, width]``.
        targets: The class index of every pixel, uint8 ``[samples, height, width]``.
        counts: How often every value occurs in each mask, int64 ``[samples, 256]``.
    """

    inputs: Tensor
    targets: Tensor
    counts: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse pictures and masks that do not belong together."""
        if self.inputs.ndim != 4 or self.inputs.dtype != torch.uint8:
            raise DataError(
                "pictures must be uint8 of shape [samples, channels, height, width], got "
                f"{self.inputs.dtype} of shape {list(self.inputs.shape)}"
            )
        expected = (len(self.inputs), *self.inputs.shape[2:])
        if self.targets.dtype != torch.uint8 or tuple(self.targets.shape) != expected:
            raise DataError(
                f"masks must be uint8 of shape {list(expected)} to go with these pictures, got "
                f"{self.targets.dtype} of shape {list(self.targets.shape)}"
            )
        object.__setattr__(self, "counts", counted(self.targets))

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return tuple(self.inputs.shape[1:])

    def take(self, indices: Tensor) -> Tensor:
        """The pictures at ``indices``."""
        return self.inputs[indices]

    def masks(self, indices: Tensor) -> Tensor:
        """Their masks."""
        return self.targets[indices]

    def subset(self, indices: Tensor) -> MaskedTensors:
        """A copy of the samples at ``indices``."""
        return MaskedTensors(self.inputs[indices], self.targets[indices])


def counted(masks: Tensor) -> Tensor:
    """How often every value occurs in each mask.

    Args:
        masks: uint8 ``[samples, height, width]``.

    Returns:
        int64 ``[samples, 256]``.
    """
    if len(masks) == 0:
        return torch.zeros(0, VALUES, dtype=torch.int64)
    return torch.cat(list(_counted(masks)))


def _counted(masks: Tensor) -> Iterator[Tensor]:
    for part in torch.split(masks, _CHUNK):
        offsets = VALUES * torch.arange(len(part))[:, None]
        values = part.reshape(len(part), -1).long() + offsets
        yield torch.bincount(values.flatten(), minlength=VALUES * len(part)).view(len(part), VALUES)


def representative_order(counts: Tensor, seed: int) -> Tensor:
    """A fixed order of masked samples of which every stretch from the start shows the rare classes too.

    Each sample stands for the rarest class it shows (rare: shown by the fewest samples); the order is
    stratified by that class.

    Args:
        counts: Pixels of every class in each sample, ``[samples, classes]``.
        seed: Decides which samples of a class come first.

    Returns:
        Indices, int64 ``[samples]``.
    """
    shown = counts > 0
    commonness = shown.sum(0).expand_as(counts).masked_fill(~shown, len(counts) + 1)
    return stratified_order(commonness.argmin(1), seed)
