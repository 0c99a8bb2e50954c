"""What a detector's outputs are compared with: the boxes of a batch, padded to one number of rows.

Targets are a dict of ``boxes``, float32 ``[batch, rows, 4]`` in pixels, and ``labels``, int64 ``[batch,
rows]``: the class of an object, -1 where an image has no more boxes, and ``-2 - class`` for a crowd of that
class. Where the data have difficult objects, ``difficult``, bool ``[batch, rows]``, says which those are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from edgesynth.tasks.detection.samples import BoxMark

__all__ = ["NOTHING", "crowd_label", "padded", "told"]

NOTHING = -1
"""The label of a row that pads a batch and is no box."""


def crowd_label(label: Tensor) -> Tensor:
    """The label of a crowd of a class, below -1; of such a label, the class."""
    return -2 - label


def padded(
    boxes: Sequence[Tensor], labels: Sequence[Tensor], marks: Sequence[Tensor] | None, least: int
) -> dict[str, Tensor]:
    """The targets of a batch.

    Args:
        boxes: One tensor per image, ``[objects, 4]``.
        labels: Their classes ``[objects]``.
        marks: What each box means ``[objects]``; ``None`` where all are objects to be found.
        least: How many rows there are, unless an image has more boxes.
    """
    rows = max([least, *map(len, labels)])
    targets = {
        "boxes": torch.zeros(len(boxes), rows, 4),
        "labels": torch.full((len(boxes), rows), NOTHING),
    }
    for row, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        targets["boxes"][row, : len(label)] = box
        targets["labels"][row, : len(label)] = label
    if marks is not None:
        said = torch.zeros(len(boxes), rows, dtype=torch.int64)
        for row, mark in enumerate(marks):
            said[row, : len(mark)] = mark
        found = targets["labels"]
        targets["labels"] = torch.where(said == BoxMark.CROWD, crowd_label(found), found)
        targets["difficult"] = said == BoxMark.DIFFICULT
    return targets


def told(targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What the rows of targets are.

    Returns:
        The class of every row, that of crowds as well, -1 where there is no box; and its
        :class:`BoxMark`; int64 ``[batch, rows]``.
    """
    labels = targets["labels"]
    difficult = targets.get("difficult", torch.zeros_like(labels, dtype=torch.bool))
    crowd = labels < NOTHING
    marks = torch.where(
        crowd, int(BoxMark.CROWD), torch.where(difficult, int(BoxMark.DIFFICULT), int(BoxMark.OBJECT))
    )
    return torch.where(crowd, crowd_label(labels), labels), marks
