"""Images with boxes, in memory or read when needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from edgesynth.errors import DataError

__all__ = ["BoxedSamples", "BoxedTensorSamples"]


class BoxedSamples(Protocol):
    """Images of one shape, each with any number of boxes, none included."""

    @property
    def boxes(self) -> Sequence[Tensor]:
        """One tensor per image, float32 ``[objects, 4]``: left, top, right, bottom, in pixels."""
        ...

    @property
    def labels(self) -> Sequence[Tensor]:
        """One tensor per image, class indices int64 ``[objects]``."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        ...

    def take(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` (int64 ``[n]``), uint8 ``[n, channels, height, width]``."""
        ...

    def subset(self, indices: Tensor) -> BoxedSamples:
        """The images at ``indices`` (int64 ``[n]``) with their boxes, as samples of their own."""
        ...


@dataclass(frozen=True)
class BoxedTensorSamples:
    """Images held in memory.

    Attributes:
        inputs: uint8 ``[samples, channels, height, width]``.
        boxes: One tensor per image, ``[objects, 4]``: left, top, right, bottom, in pixels.
        labels: One tensor per image, class indices ``[objects]``.

    Raises:
        DataError: The parts do not belong together, or a box is not one.
    """

    inputs: Tensor
    boxes: Sequence[Tensor]
    labels: Sequence[Tensor]

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together, and boxes that are none."""
        if self.inputs.ndim != 4 or self.inputs.dtype != torch.uint8:
            raise DataError(
                "images with boxes are uint8 [samples, channels, height, width], got "
                f"{self.inputs.dtype} of shape {tuple(self.inputs.shape)}"
            )
        if not len(self.inputs) == len(self.boxes) == len(self.labels):
            raise DataError(
                f"{len(self.inputs)} images come with {len(self.boxes)} sets of boxes and "
                f"{len(self.labels)} of labels; give one each, empty where an image shows no object"
            )
        height, width = self.inputs.shape[2:]
        boxes = tuple(_boxes(index, given, height, width) for index, given in enumerate(self.boxes))
        labels = tuple(
            _labels(index, given, len(part))
            for index, (given, part) in enumerate(zip(self.labels, boxes, strict=True))
        )
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "labels", labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return tuple(self.inputs.shape[1:])

    def take(self, indices: Tensor) -> Tensor:
        """The images at ``indices``."""
        return self.inputs[indices]

    def subset(self, indices: Tensor) -> BoxedTensorSamples:
        """A copy of the images at ``indices`` with their boxes."""
        picked = indices.tolist()
        return BoxedTensorSamples(
            self.inputs[indices], [self.boxes[i] for i in picked], [self.labels[i] for i in picked]
        )


def _boxes(index: int, given: Tensor, height: int, width: int) -> Tensor:
    boxes = torch.as_tensor(given).detach().to(torch.float32)
    if boxes.numel() == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"the boxes of image {index} have shape {tuple(boxes.shape)}; give [objects, 4]")
    wrong = ~(boxes[:, 2:] > boxes[:, :2]).all(1) | ~boxes.isfinite().all(1)
    outside = (boxes < 0).any(1) | (boxes[:, 2] > width) | (boxes[:, 3] > height)
    if bool(wrong.any()):
        raise DataError(
            f"image {index} has a box without area, {boxes[wrong][0].tolist()}; give left, top, right, "
            "bottom with left < right and top < bottom"
        )
    if bool(outside.any()):
        raise DataError(
            f"image {index} is {height}x{width} and has a box that leaves it, {boxes[outside][0].tolist()}; "
            "clip it"
        )
    return boxes


def _labels(index: int, given: Tensor, objects: int) -> Tensor:
    labels = torch.as_tensor(given)
    if labels.numel() == 0 and objects == 0:
        return torch.zeros(0, dtype=torch.int64)
    if labels.dtype.is_floating_point or labels.dtype == torch.bool or tuple(labels.shape) != (objects,):
        raise DataError(
            f"image {index} has {objects} boxes and labels of {labels.dtype}, shape {tuple(labels.shape)}; "
            "give one class index per box"
        )
    return labels.to(torch.int64)
