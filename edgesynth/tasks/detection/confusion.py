"""What a detector took for what: one class for another, nothing for an object, an object for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from edgesynth.tasks.detection.average_precision import ImageBoxes
from edgesynth.tasks.detection.boxes import iou, pairwise_iou, share_within
from edgesynth.tasks.detection.samples import BoxMark

__all__ = ["OVERLAP", "SHOWN", "confusions"]

SHOWN: Final = 0.3
"""Reports show and count detections from this confidence on; precision is judged over all."""
OVERLAP: Final = 0.5
"""Intersection over union from which a detection means an object."""


def confusions(found: Sequence[ImageBoxes], truth: Sequence[ImageBoxes], classes: int) -> Tensor:
    """Count which object was taken for which class, over all images.

    Detections of a confidence of at least :data:`SHOWN` choose in the order of their confidence, each among
    the objects that no other has chosen and that it covers at :data:`OVERLAP` or more: one of its own class
    before one of another, then the one it covers best. Crowds and difficult objects are not counted, nor is a
    detection of their class that lies on one and means no other object.

    Args:
        found: Detections, one entry per image.
        truth: What is there, in the same order.
        classes: How many.

    Returns:
        Counts, int64 ``[classes + 1, classes + 1]``, row the truth, column the answer. The last column holds
        the objects that were missed, the last row the detections that mean no object.
    """
    counts = torch.zeros(classes + 1, classes + 1, dtype=torch.int64)
    for answers, objects in zip(found, truth, strict=True):
        rows, columns = _pairs(answers, objects, classes)
        counts.index_put_((rows, columns), torch.ones_like(rows), accumulate=True)
    return counts


def _pairs(found: ImageBoxes, truth: ImageBoxes, nothing: int) -> tuple[Tensor, Tensor]:
    """Of one image: truths and answers, int64 ``[pairs]`` each; ``nothing`` stands for no object."""
    boxes, labels = _sure(found)
    there, kinds = torch.from_numpy(truth.boxes), torch.from_numpy(truth.labels)
    marks = torch.zeros_like(kinds) if truth.marks is None else torch.from_numpy(truth.marks)
    counts = marks == BoxMark.OBJECT
    objects, wanted = there[counts], kinds[counts]
    overlap = pairwise_iou(boxes, objects)
    # No overlap exceeds 1: the own class comes first whatever the overlaps are.
    rank = torch.where(overlap >= OVERLAP, overlap + 2 * (labels[:, None] == wanted), 0.0)
    meant = torch.full((len(labels),), nothing)
    missed = torch.ones(len(wanted), dtype=torch.bool)
    for index in range(len(labels)):
        open_ = rank[index] * missed
        if len(wanted) and float(open_.max()) > 0:
            chosen = open_.argmax()
            meant[index], missed[chosen] = wanted[chosen], False
    spared = _spared(boxes, labels, there[~counts], kinds[~counts], marks[~counts] == BoxMark.CROWD)
    told = (meant != nothing) | ~spared
    rows = torch.cat([meant[told], wanted[missed]])
    return rows, torch.cat([labels[told], torch.full((int(missed.sum()),), nothing)])


def _sure(found: ImageBoxes) -> tuple[Tensor, Tensor]:
    """The boxes and classes of detections that count, most confident first."""
    assert found.scores is not None
    order = np.argsort(-found.scores, kind="stable")
    order = order[found.scores[order] >= SHOWN]
    return torch.from_numpy(found.boxes[order]), torch.from_numpy(found.labels[order])


def _spared(boxes: Tensor, labels: Tensor, ignored: Tensor, kinds: Tensor, crowd: Tensor) -> Tensor:
    """Which detections lie on a crowd or a difficult object of their class, bool ``[detections]``."""
    one, other = boxes[:, None], ignored[None]
    covered = torch.where(crowd, share_within(one, other), iou(one, other))
    return ((covered >= OVERLAP) & (labels[:, None] == kinds)).any(1)
