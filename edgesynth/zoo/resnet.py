"""Residual networks for small images.

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2:
three stages of ``n`` basic blocks with 16, 32 and 64 channels, depth ``6n + 2``. Where a block changes the
shape, its shortcut is a projection (option B), so that every shortcut is an operator a reader can see.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edgesynth.zoo.initialisation import initialise_

__all__ = ["BasicBlock", "ResNet", "resnet8", "resnet20", "resnet56"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around which the signal may pass unchanged."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, in_channels, h, w]`` to ``[batch, channels, h / stride, w / stride]``."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, three stages of basic blocks, global average pooling, linear classifier.

    Args:
        blocks: Basic blocks per stage.
        in_channels: Channels of the image.
        classes: Size of the output.
        widths: Channels of the three stages.
    """

    def __init__(
        self,
        blocks: int,
        in_channels: int = 1,
        classes: int = 10,
        widths: tuple[int, int, int] = (16, 32, 64),
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        self.stage1 = self._stage(blocks, widths[0], widths[0], stride=1)
        self.stage2 = self._stage(blocks, widths[0], widths[1], stride=2)
        self.stage3 = self._stage(blocks, widths[1], widths[2], stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(widths[2], classes)
        initialise_(self)

    @staticmethod
    def _stage(blocks: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
        first = BasicBlock(in_channels, channels, stride)
        return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[batch, in_channels, h, w]`` to logits ``[batch, classes]``."""
        x = F.relu(self.bn(self.conv(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


def resnet8(in_channels: int = 1, classes: int = 10) -> ResNet:
    """ResNet with one block per stage: 8 layers, 0.08 M parameters."""
    return ResNet(1, in_channels, classes)


def resnet20(in_channels: int = 1, classes: int = 10) -> ResNet:
    """ResNet with three blocks per stage: 20 layers, 0.27 M parameters."""
    return ResNet(3, in_channels, classes)


def resnet56(in_channels: int = 1, classes: int = 10) -> ResNet:
    """ResNet with nine blocks per stage: 56 layers, 0.86 M parameters."""
    return ResNet(9, in_channels, classes)
