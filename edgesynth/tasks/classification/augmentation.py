"""Random variation of training images, on whole batches at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesynth.errors import InputError
from edgesynth.tasks.images import quarter_turns, turned

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """Which variations a data set allows; the class of an image must survive each.

    Attributes:
        shift: Largest shift in either direction, in pixels (a crop of the padded image).
        border: What appears at the border of a shifted image: zeros, or the image reflected.
        flip: Whether a mirrored image is an image of the same class.
        cutout: Side of a square set to zero at a random place, in pixels; 0 for none
            (T. DeVries, G. W. Taylor, arXiv 1708.04552).
        turn: Whether an image turned by quarters is one of the same class, as seen from above (by halves,
            where it is not square).
    """

    shift: int = 0
    border: Literal["zero", "reflect"] = "zero"
    flip: bool = False
    cutout: int = 0
    turn: bool = False

    def __post_init__(self) -> None:
        """Refuse negative sizes."""
        if self.shift < 0 or self.cutout < 0:
            raise InputError(f"shift and cutout are sizes in pixels, got {self.shift} and {self.cutout}")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Vary images ``[batch, channels, height, width]`` of any type, each differently."""
        if self.shift:
            images = self._shifted(images, generator)
        if self.flip:
            mirrored = torch.rand(len(images), generator=generator) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        if self.turn:
            images = turned(images, quarter_turns(images, generator))
        if self.cutout:
            images = self._cut(images, generator)
        return images

    def _shifted(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape
        margin = (self.shift,) * 4
        if self.border == "reflect" and self.shift < min(height, width):
            # Reflection is defined for floating point only.
            padded = F.pad(images.float(), margin, mode="reflect").to(images.dtype)
        else:
            padded = F.pad(images, margin)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        down, right = torch.randint(2 * self.shift + 1, (2, count), generator=generator)
        return windows[torch.arange(count), :, down, right]

    def _cut(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape
        centres = torch.rand(2, count, 1, generator=generator)
        rows = (torch.arange(height) + 0.5 - centres[0] * height).abs() < self.cutout / 2
        columns = (torch.arange(width) + 0.5 - centres[1] * width).abs() < self.cutout / 2
        hole = rows[:, None, :, None] & columns[:, None, None, :]
        return images.masked_fill(hole, 0)
