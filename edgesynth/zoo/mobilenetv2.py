"""MobileNetV2 for small images.

M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2. The stem and
the first stages keep the resolution, so that images of 28 to 32 pixels are reduced eight times, not 32 times.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgesynth.zoo.initialisation import initialise_

__all__ = ["InvertedResidual", "MobileNetV2", "mobilenetv2"]

# Expansion, output channels, blocks, stride of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _convolution(
    in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, *, act: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
    ]
    if act:
        layers.append(nn.ReLU6())
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Expand with 1x1, filter each channel with 3x3, project with 1x1; add the input where shapes agree."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand = _convolution(in_channels, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _convolution(hidden, hidden, 3, stride, groups=hidden)
        self.project = _convolution(hidden, channels, 1, act=False)
        self.residual = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, in_channels, h, w]`` to ``[batch, channels, h / stride, w / stride]``."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Stem, seven stages of inverted residuals, wide 1x1 convolution, pooling, linear classifier.

    Args:
        in_channels: Channels of the image.
        classes: Size of the output.
        width: Factor on every channel count, rounded to multiples of eight.
    """

    def __init__(self, in_channels: int = 1, classes: int = 10, width: float = 1.0) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(8, int(channels * width + 4) // 8 * 8)

        channels = scaled(32)
        self.stem = _convolution(in_channels, channels, 3)
        blocks: list[nn.Module] = []
        for expansion, stage_channels, repeats, stride in _STAGES:
            for index in range(repeats):
                step = stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, scaled(stage_channels), step, expansion))
                channels = scaled(stage_channels)
        self.blocks = nn.Sequential(*blocks)
        last = max(1280, scaled(1280))
        self.last = _convolution(channels, last, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(last, classes)
        initialise_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[batch, in_channels, h, w]`` to logits ``[batch, classes]``."""
        x = self.last(self.blocks(self.stem(x)))
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


def mobilenetv2(in_channels: int = 1, classes: int = 10) -> MobileNetV2:
    """MobileNetV2 at full width: 2.2 M parameters."""
    return MobileNetV2(in_channels, classes)
