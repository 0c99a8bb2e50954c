"""Images with boxes, in memory or read when needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from edgesynth.errors import DataError

__all__ = ["BoxMark", "BoxedSamples", "BoxedTensorSamples", "MarkedSamples", "marks_of"]


class BoxMark(IntEnum):
    """What a box means to those who judge detections.

    An object is to be found. One that is difficult is learnt, and finding it is neither right nor wrong (M.
    Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 88, 2010). A crowd is a region of
    objects that were not marked one by one: nothing is learnt there of its class, and whatever is found there
    is neither right nor wrong (T.-Y. Lin et al., "Microsoft COCO", ECCV 2014).
    """

    OBJECT = 0
    DIFFICULT = 1
    CROWD = 2


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


@runtime_checkable
class MarkedSamples(Protocol):
    """Images of which some boxes are not to be found: one property beside those of :class:`BoxedSamples`."""

    @property
    def marks(self) -> Sequence[Tensor] | None:
        """One tensor per image, a :class:`BoxMark` per box ``[objects]``; ``None`` for objects only."""
        ...


def marks_of(samples: BoxedSamples) -> Sequence[Tensor] | None:
    """What the boxes of each image mean, int64 ``[objects]``; ``None`` where all are objects to be found."""
    return samples.marks if isinstance(samples, MarkedSamples) else None


@dataclass(frozen=True)
class BoxedTensorSamples:
    """Images held in memory.

    Attributes:
        inputs: uint8 ``[samples, channels, height, width]``.
        boxes: One tensor per image, ``[objects, 4]``: left, top, right, bottom, in pixels.
        labels: One tensor per image, class indices ``[objects]``.
        marks: One tensor per image, a :class:`BoxMark` per box ``[objects]``; ``None`` for objects only.

    Raises:
        DataError: The parts do not belong together, or a box is not one.
    """

    inputs: Tensor
    boxes: Sequence[Tensor]
    labels: Sequence[Tensor]
    marks: Sequence[Tensor] | None = None

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
        if self.marks is not None:
            object.__setattr__(self, "marks", _marks(self.marks, boxes))

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
            self.inputs[indices],
            [self.boxes[i] for i in picked],
            [self.labels[i] for i in picked],
            None if self.marks is None else [self.marks[i] for i in picked],
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


def _marks(given: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, ...]:
    marks = tuple(torch.as_tensor(part).to(torch.int64).reshape(-1) for part in given)
    if [len(part) for part in marks] != [len(part) for part in boxes]:
        raise DataError("marks say of every box of every image what it means; give one per box")
    known = [int(mark) for mark in BoxMark]
    for index, part in enumerate(marks):
        strange = sorted(set(part.tolist()) - set(known))
        if strange:
            raise DataError(f"image {index} has the mark {strange[0]}; there are {known}, see BoxMark")
    return marks
