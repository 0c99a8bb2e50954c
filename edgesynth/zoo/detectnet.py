"""A detector without a pyramid: an inception trunk and a grid of coverage and offsets.

A. Tao, J. Barker, S. Sarathy, "DetectNet: Deep Neural Network for Object Detection in DIGITS", NVIDIA 2016:
GoogLeNet (C. Szegedy et al., CVPR 2015) without its pooling and classifier, then a 1x1 convolution each for
coverage and corners. This one is made for images of about 96 to 160 pixels: stride 8 instead of 16, six
narrow inception modules instead of nine, batch normalisation, and two 3x3 convolutions where the original has
one of 5x5.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesynth.zoo.initialisation import initialise_, rare_

__all__ = ["DetectNet", "Inception", "detectnet"]


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, channels: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, size, stride, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, in_channels, h, w]`` to ``[batch, channels, h / stride, w / stride]``."""
        return F.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four views of one signal, side by side: 1x1, 3x3, two times 3x3, and the neighbourhood's maximum.

    Args:
        in_channels: Channels that are read.
        widths: Channels of the four branches.
        reduced: Channels to which the two middle branches first reduce what they read.
    """

    def __init__(self, in_channels: int, widths: tuple[int, int, int, int], reduced: tuple[int, int]) -> None:
        super().__init__()
        self.point = ConvNorm(in_channels, widths[0], 1)
        self.near = nn.Sequential(ConvNorm(in_channels, reduced[0], 1), ConvNorm(reduced[0], widths[1], 3))
        self.far = nn.Sequential(
            ConvNorm(in_channels, reduced[1], 1),
            ConvNorm(reduced[1], widths[2], 3),
            ConvNorm(widths[2], widths[2], 3),
        )
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.pooled = ConvNorm(in_channels, widths[3], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, in_channels, h, w]`` to ``[batch, sum(widths), h, w]``."""
        return torch.cat([self.point(x), self.near(x), self.far(x), self.pooled(self.pool(x))], 1)


class DetectNet(nn.Module):
    """Stem to stride 4, two inception modules, four more at stride 8, and a head for every cell.

    Args:
        in_channels: Channels of the image.
        classes: How many are told apart; one will do.
    """

    def __init__(self, in_channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.stem1 = ConvNorm(in_channels, 24, 3, stride=2)
        self.stem2 = ConvNorm(24, 64, 3, stride=2)
        self.early = nn.Sequential(
            Inception(64, (32, 48, 24, 24), (32, 16)), Inception(128, (40, 64, 32, 24), (48, 16))
        )
        self.shrink = nn.MaxPool2d(2)
        self.late = nn.Sequential(
            Inception(160, (64, 96, 48, 32), (64, 24)),
            *(Inception(240, (64, 96, 48, 32), (64, 32)) for _ in range(3)),
        )
        self.coverage = nn.Conv2d(240, classes, 1)
        self.offsets = nn.Conv2d(240, 4, 1)
        initialise_(self)
        rare_(self.coverage)
        # Before anything is learnt a cell stands for a box of four strides about itself.
        nn.init.normal_(self.offsets.weight, std=0.01)
        self.offsets.bias = nn.Parameter(torch.tensor([-2.0, -2.0, 2.0, 2.0]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Find objects in images ``[batch, in_channels, h, w]``, sides multiples of 8.

        Returns:
            Coverage logits ``[batch, classes, h / 8, w / 8]`` and offsets ``[batch, 4, h / 8, w / 8]``: the
            head ``grid`` of :mod:`edgesynth.tasks.detection.heads`.
        """
        x = self.early(self.stem2(self.stem1(x)))
        x = self.late(self.shrink(x))
        return self.coverage(x), self.offsets(x)


def detectnet(in_channels: int = 3, classes: int = 10) -> DetectNet:
    """The small DetectNet."""
    return DetectNet(in_channels, classes)
