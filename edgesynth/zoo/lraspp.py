"""Lite reduced atrous spatial pyramid pooling on inverted residuals.

A. Howard et al., "Searching for MobileNetV3", ICCV 2019, section 6.4 and figure 10: two branches read the
deep features, one through a 1x1 convolution, one through pooling and a sigmoid, and gate each other; a skip
from finer features is added as logits. The backbone has the inverted residuals of MobileNetV2.

Departures for pictures of 64 to 128 pixels: both branches sit one octave finer than in the paper (deep
features at 1/8, the skip at 1/4), and the pooled branch reads the mean of the whole picture instead of
windows of 49x49.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgesynth.zoo.initialisation import initialise_
from edgesynth.zoo.magnification import magnified
from edgesynth.zoo.mobilenetv2 import InvertedResidual

__all__ = ["LiteHead", "LiteSegmenter", "lraspp"]

# Expansion, channels, stride of the blocks up to the skip, and of those after it.
_FINE = ((1, 16, 1), (4, 24, 2), (4, 24, 1))
_DEEP = ((4, 40, 2), (4, 40, 1), (4, 40, 1), (4, 64, 1), (4, 64, 1))


class LiteHead(nn.Module):
    """Gated deep features and a skip become logits at the skip's resolution.

    Args:
        fine: Channels of the skip.
        deep: Channels of the deep features.
        channels: Channels of the two branches.
        classes: Channels of the output.
    """

    def __init__(self, fine: int, deep: int, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(deep, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Conv2d(deep, channels, 1, bias=False)
        self.deep = nn.Conv2d(channels, classes, 1)
        self.fine = nn.Conv2d(fine, classes, 1)

    def forward(self, fine: Tensor, deep: Tensor) -> Tensor:
        """Map ``[batch, fine, h, w]`` and ``[batch, deep, h / 2, w / 2]`` to ``[batch, classes, h, w]``."""
        y = self.conv(deep) * self.gate(self.pool(deep)).sigmoid()
        logits: Tensor = self.deep(magnified(y, 2, fine)) + self.fine(fine)
        return logits


class LiteSegmenter(nn.Module):
    """Stem, inverted residuals, the lite head, logits at the size of the picture.

    Args:
        in_channels: Channels of the picture.
        classes: Channels of the output.
        channels: Channels of the head's branches.
    """

    def __init__(self, in_channels: int = 3, classes: int = 10, channels: int = 96) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()
        )
        self.fine, width = _stage(16, _FINE)
        self.deep, last = _stage(width, _DEEP)
        self.head = LiteHead(width, last, channels, classes)
        initialise_(self)
        # Small last layers: the first loss is close to log(classes).
        for layer in (self.head.deep, self.head.fine):
            nn.init.normal_(layer.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures ``[batch, in_channels, h, w]`` to logits ``[batch, classes, h, w]``."""
        fine = self.fine(self.stem(x))
        logits = self.head(fine, self.deep(fine))
        return magnified(logits, 4, x)


def _stage(channels: int, blocks: tuple[tuple[int, int, int], ...]) -> tuple[nn.Sequential, int]:
    """The blocks in a row, and the channels that come out."""
    made = []
    for expansion, width, stride in blocks:
        made.append(InvertedResidual(channels, width, stride, expansion))
        channels = width
    return nn.Sequential(*made), channels


def lraspp(in_channels: int = 3, classes: int = 10) -> LiteSegmenter:
    """The lite segmenter for pictures of 64 to 128 pixels: 0.12 M parameters."""
    return LiteSegmenter(in_channels, classes)
