"""RefineNet for small pictures.

G. Lin, A. Milan, C. Shen, I. Reid, "RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic
Segmentation", CVPR 2017, figure 2 and section 3: a residual backbone, and one refining block for each of
its four resolutions, from the coarsest to the finest. Every block has residual convolution units,
multi-resolution fusion and chained residual pooling, in this order.

Departures, all for pictures of 64 to 128 pixels and training from fresh weights: the backbone has basic
blocks, and its four resolutions are 1/2 to 1/16 of the picture instead of 1/4 to 1/32; an input has one
residual unit instead of two, and the coarser block's output none beside its own; refining blocks are
narrower where the resolution is higher; convolutions are followed by batch normalisation.
"""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from edgesynth.zoo.initialisation import initialise_
from edgesynth.zoo.magnification import magnified
from edgesynth.zoo.resnet import BasicBlock

__all__ = ["ChainedResidualPooling", "RefineNet", "RefiningBlock", "ResidualUnit", "refinenet"]


def _convolution(in_channels: int, channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(channels)
    )


class ResidualUnit(nn.Module):
    """ReLU and 3x3 convolution, twice, added to the input (figure 2b)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, channels, 3)
        self.conv2 = _convolution(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The shape ``[batch, channels, h, w]`` stays."""
        y: Tensor = self.conv2(F.relu(self.conv1(F.relu(x))))
        return x + y


class ChainedResidualPooling(nn.Module):
    """Max pooling and convolution, each stage reading the one before, all added up (figure 2d)."""

    def __init__(self, channels: int, stages: int = 2) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.convs = nn.ModuleList(_convolution(channels, channels, 3) for _ in range(stages))

    def forward(self, x: Tensor) -> Tensor:
        """The shape ``[batch, channels, h, w]`` stays."""
        x = F.relu(x)
        path = x
        for conv in self.convs:
            path = conv(self.pool(path))
            x = x + path
        return x


class RefiningBlock(nn.Module):
    """Joins the features of one resolution with what the coarser block made, if there is one (figure 2a).

    Args:
        in_channels: Channels of the backbone's features.
        channels: Channels of the block.
        coarser: Channels of the coarser block's output; 0 where there is none.
    """

    def __init__(self, in_channels: int, channels: int, coarser: int = 0) -> None:
        super().__init__()
        self.reduce = _convolution(in_channels, channels, 1)
        self.adapt = ResidualUnit(channels)
        self.fine = _convolution(channels, channels, 3) if coarser else nn.Identity()
        self.coarse = _convolution(coarser, channels, 3) if coarser else None
        self.pooling = ChainedResidualPooling(channels)
        self.output = ResidualUnit(channels)

    def forward(self, x: Tensor, coarser: Tensor | None = None) -> Tensor:
        """Map ``[batch, in_channels, h, w]`` to ``[batch, channels, h, w]``."""
        y: Tensor = self.fine(self.adapt(self.reduce(x)))
        if self.coarse is not None and coarser is not None:
            y = y + magnified(self.coarse(coarser), 2, y)
        refined: Tensor = self.output(self.pooling(y))
        return refined


class RefineNet(nn.Module):
    """Backbone of four stages, four refining blocks, a classifier of every pixel.

    Args:
        in_channels: Channels of the picture.
        classes: Channels of the output.
        widths: Channels of the backbone's stages, finest first.
        refined: Channels of the refining blocks, finest first.
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 10,
        widths: tuple[int, int, int, int] = (24, 32, 64, 96),
        refined: tuple[int, int, int, int] = (24, 48, 64, 64),
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        self.stages = nn.ModuleList([BasicBlock(widths[0], widths[0])])
        self.stages.extend(BasicBlock(a, b, stride=2) for a, b in itertools.pairwise(widths))
        self.blocks = nn.ModuleList(
            RefiningBlock(width, channels, coarser)
            for width, channels, coarser in zip(widths, refined, (*refined[1:], 0), strict=True)
        )
        self.head = nn.Conv2d(refined[0], classes, 3, padding=1)
        initialise_(self)
        # A small last layer: the first loss is close to log(classes).
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures ``[batch, in_channels, h, w]`` to logits ``[batch, classes, h, w]``."""
        feature = self.stem(x)
        features = [feature := stage(feature) for stage in self.stages]
        refined = self.blocks[-1](features[-1])
        for block, feature in zip(reversed(self.blocks[:-1]), reversed(features[:-1]), strict=True):
            refined = block(feature, refined)
        return magnified(self.head(F.relu(refined)), 2, x)


def refinenet(in_channels: int = 3, classes: int = 10) -> RefineNet:
    """RefineNet for pictures of 64 to 128 pixels: 0.98 M parameters, 278 M MACs at 3x96x96."""
    return RefineNet(in_channels, classes)
