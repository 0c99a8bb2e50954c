"""A detector with a small pyramid: residual trunk, two levels, one head for both, no anchors.

Z. Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019, on a feature pyramid (T.-Y.
Lin et al., CVPR 2017) over the basic blocks of ResNet. The convolutions of the head are shared by the levels;
their batch normalisation is not, since each level has statistics of its own (M. Tan, R. Pang, Q. Le,
"EfficientDet", CVPR 2020).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesynth.errors import InputError
from edgesynth.zoo.initialisation import initialise_, rare_
from edgesynth.zoo.resnet import BasicBlock

__all__ = ["CentreNet", "centrenet"]

_LEVELS = 2
_STRIDE = 16


class Tower(nn.Module):
    """Convolutions that all levels share, each with normalisation of a level's own.

    Args:
        channels: Channels of the pyramid.
        depth: How many convolutions.
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(depth)
        )
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(depth)) for _ in range(_LEVELS)
        )

    def forward(self, x: Tensor, level: int) -> Tensor:
        """Map ``[batch, channels, h, w]`` of a level to the same shape."""
        norms = self.norms[level]
        for index, conv in enumerate(self.convs):
            x = F.relu(norms[index](conv(x)))  # type: ignore[index]
        return x


class CentreNet(nn.Module):
    """Residual trunk to stride 16, a pyramid of strides 8 and 16, towers for classes and for boxes.

    Args:
        in_channels: Channels of the image.
        classes: How many are told apart; one will do.
        widths: Channels of the trunk at strides 2, 4, 8 and 16.
        pyramid: Channels of the pyramid and the towers.
        depth: Convolutions of a tower.
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 10,
        widths: tuple[int, int, int, int] = (16, 32, 64, 128),
        pyramid: int = 64,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, widths[0], 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        self.stage1 = self._stage(widths[0], widths[1])
        self.stage2 = self._stage(widths[1], widths[2])
        self.stage3 = self._stage(widths[2], widths[3])
        self.lateral2 = nn.Conv2d(widths[2], pyramid, 1)
        self.lateral3 = nn.Conv2d(widths[3], pyramid, 1)
        self.smooth = nn.Conv2d(pyramid, pyramid, 3, padding=1)
        self.class_tower, self.box_tower = Tower(pyramid, depth), Tower(pyramid, depth)
        self.classes = nn.Conv2d(pyramid, classes, 3, padding=1)
        self.distances = nn.Conv2d(pyramid, 4, 3, padding=1)
        self.centreness = nn.Conv2d(pyramid, 1, 3, padding=1)
        initialise_(self)
        rare_(self.classes)
        for head in (self.distances, self.centreness):
            nn.init.normal_(head.weight, std=0.01)
        # Before anything is learnt a cell stands for a box of about four strides around itself.
        nn.init.constant_(self.distances.bias, 1.9)  # type: ignore[arg-type]

    @staticmethod
    def _stage(in_channels: int, channels: int) -> nn.Sequential:
        return nn.Sequential(BasicBlock(in_channels, channels, 2), BasicBlock(channels, channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Find objects in images ``[batch, in_channels, h, w]``, sides multiples of 16.

        Returns:
            Class logits, distances and centreness at stride 8, then the three at stride 16: the head
            ``centre`` of :mod:`edgesynth.tasks.detection.heads`.

        Raises:
            InputError: A side is no multiple of 16.
        """
        _check_sides(x)
        x = F.relu(self.bn(self.conv(x)))
        fine = self.stage2(self.stage1(x))
        coarse = self.lateral3(self.stage3(fine))
        fine = self.smooth(self.lateral2(fine) + F.interpolate(coarse, scale_factor=2.0, mode="nearest"))
        return (*self._head(fine, 0), *self._head(coarse, 1))

    def _head(self, x: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        boxes = self.box_tower(x, level)
        return self.classes(self.class_tower(x, level)), self.distances(boxes), self.centreness(boxes)


def _check_sides(x: Tensor) -> None:
    if torch.onnx.is_in_onnx_export():  # where sizes are tensors, and a decision by them looks like one lost
        return
    height, width = x.shape[2:]
    if height % _STRIDE or width % _STRIDE:
        fits = (-(-side // _STRIDE) * _STRIDE for side in (height, width))
        raise InputError(
            f"centrenet reads images whose sides are multiples of {_STRIDE}, not {height}x{width}; "
            f"{'x'.join(map(str, fits))} would fit"
        )


def centrenet(in_channels: int = 3, classes: int = 10) -> CentreNet:
    """The small centre detector."""
    return CentreNet(in_channels, classes)
