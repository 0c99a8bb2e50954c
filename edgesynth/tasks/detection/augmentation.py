"""Random variation of images with boxes, on whole batches at once; the boxes follow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesynth.errors import InputError
from edgesynth.tasks.detection.boxes import area, clipped
from edgesynth.tasks.detection.targets import NOTHING
from edgesynth.tasks.images import LETTERBOX, quarter_turns, turned

__all__ = ["BoxAugmentation"]


@dataclass(frozen=True)
class BoxAugmentation:
    """Which variations a data set allows; every object must stay what it is.

    Attributes:
        flip: Whether a mirrored picture shows the same classes.
        shift: Largest shift in either direction, as a share of the side; what leaves the picture is cropped.
        scale: Least and largest factor of the size, drawn evenly in its logarithm.
        colour: Largest relative change of brightness, contrast and of every channel.
        least_share: Objects of which less than this share of their area stays in view are dropped. Crowds
            stay as long as any of them is in view.
        turn: Whether a picture turned by quarters shows the same classes, as seen from above
            (by halves, where it is not square).
    """

    flip: bool = True
    shift: float = 0.1
    scale: tuple[float, float] = (0.8, 1.25)
    colour: float = 0.2
    least_share: float = 0.3
    turn: bool = False

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        low, high = self.scale
        if not (0 <= self.shift < 1 and 0 <= self.colour < 1 and 0 <= self.least_share <= 1):
            raise InputError(
                "shift and colour are shares in [0, 1) and least_share one in [0, 1], got "
                f"{self.shift}, {self.colour} and {self.least_share}"
            )
        if not 0 < low <= high:
            raise InputError(f"scale is a least and a largest factor, both positive, got {self.scale}")

    def __call__(
        self, images: Tensor, boxes: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Vary each image differently.

        Args:
            images: uint8 ``[batch, channels, height, width]``.
            boxes: ``[batch, rows, 4]`` in pixels.
            labels: Class indices ``[batch, rows]``, -1 where there is no box, below that for crowds; see
                :mod:`edgesynth.tasks.detection.targets`.
            generator: Decides everything.

        Returns:
            The three, varied; rows of dropped objects are marked -1.
        """
        count, _, height, width = images.shape
        mirrored = self.flip and (torch.rand(count, generator=generator) < 0.5)
        sign = 1 - 2 * torch.as_tensor(mirrored).expand(count).float()
        low, high = torch.tensor(self.scale).log()
        factor = (low + (high - low) * torch.rand(count, generator=generator)).exp()
        shift = (2 * torch.rand(2, count, generator=generator) - 1) * self.shift
        size = images.new_tensor([width, height], dtype=torch.float32)
        moved = shift.T * size
        pixels = images.float() - LETTERBOX
        if self.shift or self.scale != (1.0, 1.0):
            pixels = _resampled(pixels, sign / factor, 1 / factor, 2 * moved / size)
        elif self.flip:
            pixels = torch.where(sign[:, None, None, None] < 0, pixels.flip(-1), pixels)
        pixels += LETTERBOX
        if self.colour:
            pixels = self._coloured(pixels, generator)
        boxes, labels = self._followed(boxes, labels, torch.stack([sign * factor, factor], 1), moved, size)
        if self.turn:
            quarters = quarter_turns(pixels, generator)
            pixels, boxes = turned(pixels, quarters), _turned_boxes(boxes, quarters, size)
        return pixels.round_().clamp_(0, 255).to(torch.uint8), boxes, labels

    def _followed(
        self, boxes: Tensor, labels: Tensor, factors: Tensor, moved: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor]:
        corners = boxes.view(*boxes.shape[:2], 2, 2)
        corners = (corners - size / 2) * factors[:, None, None] + size / 2 + moved[:, None, None]
        whole = torch.cat([corners.amin(2), corners.amax(2)], -1)
        seen = clipped(whole, float(size[1]), float(size[0]))
        share = area(seen) / area(whole).clamp_min(1e-9)
        crowd, least = labels < NOTHING, share >= self.least_share
        kept = (labels != NOTHING) & (crowd | least) & (area(seen) > 0)
        return torch.where(kept[..., None], seen, 0.0), torch.where(kept, labels, NOTHING)

    def _coloured(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        count, channels = pixels.shape[:2]
        draws = 1 + self.colour * (2 * torch.rand(count, 2 + channels, generator=generator) - 1)
        brightness, contrast = draws[:, 0, None, None, None], draws[:, 1, None, None, None]
        mean = pixels.mean((1, 2, 3), keepdim=True)
        pixels = (pixels - mean) * contrast + mean * brightness
        if channels > 1:
            # Channels drift apart by half as much: a class may be told by its colour.
            pixels = pixels * (1 + (draws[:, 2:] - 1) / 2)[:, :, None, None]
        return pixels


def _turned_boxes(boxes: Tensor, quarters: Tensor, size: Tensor) -> Tensor:
    """Boxes ``[batch, rows, 4]`` of pictures turned counter-clockwise; padding stays zero."""
    empty = (boxes == 0).all(-1, keepdim=True)
    corners = boxes.view(*boxes.shape[:2], 2, 2) - size / 2
    for turn in range(1, 4):
        again = (quarters >= turn)[:, None, None, None]
        corners = torch.where(again, torch.stack([corners[..., 1], -corners[..., 0]], -1), corners)
    corners = corners + size / 2
    return torch.cat([corners.amin(2), corners.amax(2)], -1).masked_fill(empty, 0)


def _resampled(pixels: Tensor, across: Tensor, down: Tensor, moved: Tensor) -> Tensor:
    """Where every pixel comes from, in coordinates that run from -1 to 1."""
    theta = torch.zeros(len(pixels), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = across, down
    theta[:, 0, 2], theta[:, 1, 2] = -across * moved[:, 0], -down * moved[:, 1]
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="zeros", align_corners=False)
