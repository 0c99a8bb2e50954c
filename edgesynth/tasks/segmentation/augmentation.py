"""Random variation of pictures together with their masks, on whole batches at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from edgesynth.errors import InputError
from edgesynth.tasks.images import quarter_turns, turned

__all__ = ["PairedAugmentation"]

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class PairedAugmentation:
    """Which variations a data set allows; a mask follows its picture, except in colour.

    Attributes:
        shift: Largest shift in either direction, in pixels.
        scale: Smallest and largest magnification about the centre; ``(1, 1)`` for none.
        flip: Whether a mirrored picture is as good as the picture.
        colour: Largest relative change of brightness, contrast and saturation, 0 to 1; 0 for none.
        border: What appears in a picture where the shifted or shrunk original ends: zeros, or its edge
            repeated. The mask is ignored there in any case.
        turn: Whether a picture turned by quarters is as good, as seen from above (by halves, where it is not
            square).
    """

    shift: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    colour: float = 0.0
    border: Literal["zero", "edge"] = "edge"
    turn: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes and shares outside their range."""
        low, high = self.scale
        if self.shift < 0 or not 0 <= self.colour <= 1 or not 0 < low <= high:
            raise InputError(
                "paired augmentation needs a shift in pixels, a colour share in [0, 1] and a range of scales "
                f"above 0, got {self.shift}, {self.colour} and {self.scale}"
            )

    def __call__(
        self, images: Tensor, masks: Tensor, generator: torch.Generator, *, ignore_label: int = 255
    ) -> tuple[Tensor, Tensor]:
        """Vary a batch, each sample differently.

        Args:
            images: uint8 ``[batch, channels, height, width]``.
            masks: uint8 ``[batch, height, width]``.
            generator: Decides everything.
            ignore_label: What masks hold where a picture has no original.
        """
        if self.shift or self.flip or self.scale != (1.0, 1.0):
            images, masks = self._moved(images, masks, generator, ignore_label)
        if self.turn:
            quarters = quarter_turns(images, generator)
            images, masks = turned(images, quarters), turned(masks, quarters)
        if self.colour:
            images = self._tinted(images, generator)
        return images, masks

    def _moved(
        self, images: Tensor, masks: Tensor, generator: torch.Generator, ignore_label: int
    ) -> tuple[Tensor, Tensor]:
        """Every axis by itself: which place of the original, in pixels, each row and column comes from."""
        count, _, height, width = images.shape
        shifts = torch.randint(-self.shift, self.shift + 1, (2, count, 1), generator=generator)
        low, high = self.scale
        # Evenly by logarithm: as many are halved as doubled.
        draw = torch.rand(count, 1, generator=generator)
        zoom = low * (high / low) ** draw
        mirrored = torch.rand(count, 1, generator=generator) < (0.5 if self.flip else 0.0)
        rows, columns = (
            (torch.arange(size) - (size - 1) / 2) / zoom + (size - 1) / 2 + shift
            for size, shift in zip((height, width), shifts, strict=True)
        )
        columns = torch.where(mirrored, columns.flip(1), columns)
        # Half a pixel up is the next one, for picture and mask alike.
        near_rows, near_columns = (rows + 0.5).floor().long(), (columns + 0.5).floor().long()
        outside = _outside(near_rows, height)[:, :, None] | _outside(near_columns, width)[:, None, :]
        masks = _picked(masks[:, None], near_rows, near_columns)[:, 0].masked_fill(outside, ignore_label)
        if low == high == 1.0:
            images = _picked(images, near_rows, near_columns)
        else:
            images = _interpolated(images, rows, columns)
        if self.border == "zero":
            images = images.masked_fill(outside[:, None], 0)
        return images, masks

    def _tinted(self, images: Tensor, generator: torch.Generator) -> Tensor:
        factors = 1 + self.colour * (2 * torch.rand(3, len(images), 1, 1, 1, generator=generator) - 1)
        pixels = images.float() * factors[0]
        mean = pixels.mean((1, 2, 3), keepdim=True)
        pixels = mean + (pixels - mean) * factors[1]
        if images.shape[1] == 3:
            grey = (pixels * pixels.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
            pixels = grey + (pixels - grey) * factors[2]
        return pixels.round_().clamp_(0, 255).to(images.dtype)


def _outside(places: Tensor, size: int) -> Tensor:
    return (places < 0) | (places >= size)


def _picked(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``x[:, :, rows, columns]`` for the rows ``[batch, h]`` and columns ``[batch, w]`` of each sample."""
    batch = torch.arange(len(x))[:, None, None]
    rows, columns = rows.clamp(0, x.shape[2] - 1), columns.clamp(0, x.shape[3] - 1)
    picked = x.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()


def _interpolated(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear values between pixels, one axis after the other; rounded."""
    values = x.float()
    for axis, asked in ((2, rows), (3, columns)):
        last = x.shape[axis] - 1
        shape = [len(x), 1, 1, 1]
        shape[axis] = -1
        places = asked.clamp(0, last)
        below = places.floor().long()
        share = (places - below).view(shape)
        expanded = list(values.shape)
        expanded[axis] = -1
        first = values.gather(axis, below.view(shape).expand(expanded))
        second = values.gather(axis, (below + 1).clamp_max(last).view(shape).expand(expanded))
        values = torch.lerp(first, second, share)
    return values.round_().to(x.dtype)
