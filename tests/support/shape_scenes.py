"""Segmentation small enough for tests: generated squares and discs on noise, with ignored outlines."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgesynth.tasks import MaskedTensors, SegmentationTask

CLASSES = ("ground", "square", "disc")


def scenes(samples: int, seed: int, side: int = 32) -> MaskedTensors:
    """One square and one disc a picture, the disc on top; each has its colour, give or take."""
    generator = torch.Generator().manual_seed(seed)
    pictures = 60 + 60 * torch.rand(samples, 3, side, side, generator=generator)
    masks = torch.zeros(samples, side, side, dtype=torch.uint8)
    rows, columns = torch.arange(side).view(1, side, 1), torch.arange(side).view(1, 1, side)
    for label, channel in ((1, 0), (2, 2)):
        centres = side * (0.2 + 0.6 * torch.rand(2, samples, 1, 1, generator=generator))
        radius = side * (0.12 + 0.12 * torch.rand(samples, 1, 1, generator=generator))
        down, right = (rows - centres[0]).abs(), (columns - centres[1]).abs()
        distance = torch.maximum(down, right) if label == 1 else (down**2 + right**2).sqrt()
        inside, outline = distance < radius, (distance - radius).abs() < 0.5
        pictures[:, channel] += 90 * inside
        masks = masks.masked_fill(inside, label).masked_fill(outline, 255)
    return MaskedTensors(pictures.to(torch.uint8), masks)


def shapes_task(train: int = 96, rest: int = 32, **options: Any) -> SegmentationTask:
    """Three splits of different scenes."""
    return SegmentationTask(
        "shapes",
        train=scenes(train, 1),
        validation=scenes(rest, 2),
        test=scenes(rest, 3),
        classes=CLASSES,
        **options,
    )


class TinySegmenter(nn.Module):
    """A strided convolution, a residual block, logits at half the size of the picture."""

    def __init__(self, classes: int = 3, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.inner = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.inner_norm = nn.BatchNorm2d(width)
        self.outer = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.outer_norm = nn.BatchNorm2d(width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures ``[batch, 3, h, w]`` to logits ``[batch, classes, h / 2, w / 2]``."""
        x = torch.relu(self.norm(self.stem(x)))
        y = torch.relu(self.inner_norm(self.inner(x)))
        x = torch.relu(x + self.outer_norm(self.outer(y)))
        logits: Tensor = self.head(x)
        return logits
