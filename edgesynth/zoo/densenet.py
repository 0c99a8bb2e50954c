"""DenseNet-BC for small images.

G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger, "Densely Connected Convolutional Networks", CVPR 2017,
section 4: three dense blocks with bottlenecks of four growths and transitions that halve the channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesynth.zoo.initialisation import initialise_

__all__ = ["DenseLayer", "DenseNet", "Transition", "densenet"]


class DenseLayer(nn.Module):
    """Bottleneck and 3x3 convolution whose output is appended to its input."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, in_channels, h, w]`` to ``[batch, in_channels + growth, h, w]``."""
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        return torch.cat((x, y), dim=1)


class Transition(nn.Module):
    """Between two dense blocks: fewer channels, half the resolution."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, in_channels, h, w]`` to ``[batch, channels, h / 2, w / 2]``."""
        pooled: Tensor = self.pool(self.conv(F.relu(self.bn(x))))
        return pooled


class DenseNet(nn.Module):
    """Stem, three dense blocks with transitions between them, pooling, linear classifier.

    Args:
        layers: Dense layers per block; the depth is ``6 * layers + 4``.
        growth: Channels each layer adds.
        in_channels: Channels of the image.
        classes: Size of the output.
    """

    def __init__(self, layers: int, growth: int, in_channels: int = 1, classes: int = 10) -> None:
        super().__init__()
        channels = 2 * growth
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        stages: list[nn.Module] = []
        for block in range(3):
            if block > 0:
                stages.append(Transition(channels, channels // 2))
                channels //= 2
            for _ in range(layers):
                stages.append(DenseLayer(channels, growth))
                channels += growth
        self.stages = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(channels)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, classes)
        initialise_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[batch, in_channels, h, w]`` to logits ``[batch, classes]``."""
        x = F.relu(self.bn(self.stages(self.stem(x))))
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


def densenet(in_channels: int = 1, classes: int = 10) -> DenseNet:
    """DenseNet-BC of 40 layers with growth 12: 0.18 M parameters."""
    return DenseNet(6, 12, in_channels, classes)
