"""ShuffleNetV2 for small images.

N. Ma, X. Zhang, H.-T. Zheng, J. Sun, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture
Design", ECCV 2018, table 5. The stem keeps the resolution and there is no max pooling, for images of 28 to
32 pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgesynth.zoo.initialisation import initialise_

__all__ = ["ShuffleNetV2", "ShuffleUnit", "channel_shuffle", "shufflenetv2"]


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of ``groups`` equal groups; the shape ``[batch, channels, h, w]`` stays."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, groups, channels // groups, height, width)
    return x.transpose(1, 2).reshape(batch, channels, height, width)


def _branch(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


class ShuffleUnit(nn.Module):
    """Split, transform one half, concatenate, shuffle; with stride 2, transform both copies."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        half = channels // 2
        self.stride = stride
        self.branch = _branch(in_channels if stride > 1 else half, half, stride)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False),
                nn.BatchNorm2d(in_channels),
                nn.Conv2d(in_channels, half, 1, bias=False),
                nn.BatchNorm2d(half),
                nn.ReLU(),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, in_channels, h, w]`` to ``[batch, channels, h / stride, w / stride]``."""
        kept, changed = (x, x) if self.stride > 1 else x.chunk(2, dim=1)
        return channel_shuffle(torch.cat((self.shortcut(kept), self.branch(changed)), dim=1), groups=2)


class ShuffleNetV2(nn.Module):
    """Stem, three stages of shuffle units, wide 1x1 convolution, pooling, linear classifier.

    Args:
        in_channels: Channels of the image.
        classes: Size of the output.
        widths: Channels of the stem and of the three stages; stages must be even.
        repeats: Units per stage, the one that halves the resolution included.
        last: Channels of the last convolution.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 10,
        widths: tuple[int, int, int, int] = (24, 116, 232, 464),
        repeats: tuple[int, int, int] = (4, 8, 4),
        last: int = 1024,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        stages: list[nn.Module] = []
        channels = widths[0]
        for stage_channels, units in zip(widths[1:], repeats, strict=True):
            stages.append(ShuffleUnit(channels, stage_channels, stride=2))
            stages.extend(ShuffleUnit(stage_channels, stage_channels, stride=1) for _ in range(units - 1))
            channels = stage_channels
        self.stages = nn.Sequential(*stages)
        self.last = nn.Sequential(nn.Conv2d(channels, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(last, classes)
        initialise_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[batch, in_channels, h, w]`` to logits ``[batch, classes]``."""
        x = self.last(self.stages(self.stem(x)))
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


def shufflenetv2(in_channels: int = 1, classes: int = 10) -> ShuffleNetV2:
    """ShuffleNetV2 at width 1: 1.3 M parameters."""
    return ShuffleNetV2(in_channels, classes)
