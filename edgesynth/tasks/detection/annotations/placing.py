"""Where boxes come to lie once their picture is brought to its size, and which of them are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgesynth.tasks.detection.annotations.record import BadEntry, BoxRecord
from edgesynth.tasks.images import Corrupt, ImageFormat, exchanged

__all__ = ["PlacedBoxes", "placed_boxes"]


@dataclass(frozen=True)
class PlacedBoxes:
    """The objects of one picture as it is brought to its size.

    Attributes:
        record: The picture with the objects that can be used.
        boxes: Their boxes, float32 ``[objects, 4]``: left, top, right, bottom, in pixels.
        bad: What is wrong with the others.
    """

    record: BoxRecord
    boxes: Tensor
    bad: tuple[BadEntry, ...]


def placed_boxes(record: BoxRecord, size: tuple[int, int], form: ImageFormat) -> PlacedBoxes:
    """Place the boxes of a picture, clipped at its edges.

    Args:
        record: The picture and its objects.
        size: Height and width of the picture, turned as its EXIF orientation says.
        form: What it is brought to.

    Raises:
        Corrupt: The annotation is about a picture of another size.
    """
    height, width = size
    if record.size is not None and record.size != size:
        raise Corrupt(record.source, _other_size(record, record.size, size))
    limit = torch.tensor([width, height, width, height], dtype=torch.float64)
    boxes = torch.tensor(record.boxes, dtype=torch.float64).reshape(-1, 4)
    if record.relative:
        boxes = boxes * limit
    left, top, across, down = form.placed(height, width)
    scale = torch.tensor([across / width, down / height] * 2, dtype=torch.float64)
    moved = torch.minimum(boxes.clamp_min(0), limit) * scale + torch.tensor([left, top] * 2)
    moved = torch.minimum(moved, torch.tensor([form.width, form.height] * 2)).float()
    kept: list[int] = []
    bad: list[BadEntry] = []
    for index, (box, there) in enumerate(zip(boxes.tolist(), moved.tolist(), strict=True)):
        wrong = _wrong(box, there, size, form)
        if wrong:
            sides = ", ".join(f"{value:g}" for value in box)
            where = f"{record.source}: a box of {record.path.name} (left, top, right, bottom: {sides})"
            bad.append(BadEntry(record.source, f"{where} {wrong}"))
        else:
            kept.append(index)
    return PlacedBoxes(record.only(kept), moved[kept], tuple(bad))


def _wrong(
    box: Sequence[float], there: Sequence[float], size: tuple[int, int], form: ImageFormat
) -> str | None:
    """Why a box is none, before or once the picture is brought to its size."""
    height, width = size
    if box[2] <= box[0] or box[3] <= box[1]:
        return "has no area"
    if box[2] <= 0 or box[3] <= 0 or box[0] >= width or box[1] >= height:
        return f"lies outside the picture of {width}x{height}"
    if there[2] <= there[0] or there[3] <= there[1]:
        return f"has no area once the picture is {form.width}x{form.height}"
    return None


def _other_size(record: BoxRecord, told: tuple[int, int], size: tuple[int, int]) -> str:
    """What to say of an annotation that tells another size than its picture has."""
    (height, width), turned = size, ""
    if told == (width, height) and exchanged(record.path):
        turned = " as its EXIF orientation turns it, and boxes are of the picture as it is shown"
    return (
        f"{record.source} says {record.path.name} is {told[1]}x{told[0]}, the picture is "
        f"{width}x{height}{turned}"
    )
