"""Boxes: areas, overlaps, and which of many to keep.

A box is ``x0, y0, x1, y1`` in pixels of the network's input: left, top, right, bottom, the right and lower
edge not included. Class indices stand beside boxes; -1 marks a row that pads a batch and is no box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Detections",
    "area",
    "candidates_for",
    "clipped",
    "giou",
    "inside",
    "iou",
    "pairwise_iou",
    "share_within",
    "suppressed",
]

_CANDIDATES = 300
_PAIRS = 1 << 24
"""Pairs of candidates that are compared at once."""


class Detections(NamedTuple):
    """What a detector found, best first, padded to one number of rows.

    Attributes:
        boxes: ``[batch, rows, 4]``.
        scores: Confidences, 0 to 1, ``[batch, rows]``.
        labels: Class indices, int64 ``[batch, rows]``; -1 where there is no more.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def area(boxes: Tensor) -> Tensor:
    """Square pixels of boxes ``[..., 4]``; 0 where a box is inside out."""
    size = (boxes[..., 2:] - boxes[..., :2]).clamp_min(0)
    return size[..., 0] * size[..., 1]


def clipped(boxes: Tensor, height: float, width: float) -> Tensor:
    """The part of boxes ``[..., 4]`` that lies inside an image."""
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp_min(0), limit)


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes ``[..., 4]``, shapes broadcast; 0 where neither has an area."""
    common = _intersection(one, other)
    return common / (area(one) + area(other) - common).clamp_min(1e-9)


def pairwise_iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of all pairs of ``[..., n, 4]`` and ``[..., m, 4]``: ``[..., n, m]``."""
    return iou(one.unsqueeze(-2), other.unsqueeze(-3))


def share_within(one: Tensor, other: Tensor) -> Tensor:
    """The share of the area of ``one`` that lies in ``other``, boxes ``[..., 4]``, shapes broadcast."""
    return _intersection(one, other) / area(one).clamp_min(1e-9)


def inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether points ``[n, 2]`` lie in boxes ``[..., m, 4]``: ``[..., m, n]``."""
    after = points - boxes[..., None, :2]
    before = boxes[..., None, 2:] - points
    return (after > 0).all(-1) & (before > 0).all(-1)


def giou(one: Tensor, other: Tensor) -> Tensor:
    """Generalised intersection over union of boxes ``[..., 4]``, -1 to 1.

    H. Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, algorithm 1: less than the plain
    ratio by the share of the smallest enclosing box that neither covers, so that boxes apart attract too.
    """
    common = _intersection(one, other)
    union = (area(one) + area(other) - common).clamp_min(1e-9)
    hull = torch.cat(
        [torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:])], -1
    )
    around = area(hull).clamp_min(1e-9)
    return common / union - (around - union) / around


def _intersection(one: Tensor, other: Tensor) -> Tensor:
    low = torch.maximum(one[..., :2], other[..., :2])
    high = torch.minimum(one[..., 2:], other[..., 2:])
    size = (high - low).clamp_min(0)
    return size[..., 0] * size[..., 1]


@dataclass(frozen=True)
class _Candidates:
    boxes: Tensor
    scores: Tensor
    labels: Tensor


def candidates_for(max_detections: int) -> int:
    """How many pairs of location and class are looked at to find so many objects of an image.

    Three for each, as several cells answer for an object, and 300 at least. The program on the board,
    :mod:`edgesynth.agent.detections`, counts alike.
    """
    return max(_CANDIDATES, 3 * max_detections)


def suppressed(
    boxes: Tensor,
    scores: Tensor,
    *,
    score_threshold: float,
    nms_iou: float,
    max_detections: int,
) -> Detections:
    """Greedy non-maximum suppression, per class, of a whole batch at once.

    A box goes if a better box of its class that stays overlaps it by more than ``nms_iou``. Which boxes stay
    is the one fixed point of that sentence, and is reached by applying it until nothing changes: as often as
    the longest chain of boxes that decide on one another, not once per box. Only the best
    :func:`candidates_for` pairs of location and class are looked at.

    Args:
        boxes: ``[batch, locations, 4]``.
        scores: ``[batch, locations, classes]``.
        score_threshold: Confidences below are no detections.
        nms_iou: Overlap above which two boxes of a class mean one object.
        max_detections: At most this many of an image.
    """
    found = _best(boxes, scores, score_threshold, candidates_for(max_detections))
    each = max(1, _PAIRS // found.labels.shape[1] ** 2)
    parts = zip(torch.split(found.boxes, each), torch.split(found.labels, each), strict=True)
    keep = torch.cat([_staying(*part, nms_iou) for part in parts])
    rows = min(max_detections, keep.shape[1])
    order = torch.argsort((~keep).to(torch.uint8), dim=1, stable=True)[:, :rows]
    kept = keep.gather(1, order)
    return Detections(
        found.boxes.gather(1, order[:, :, None].expand(-1, -1, 4)) * kept[:, :, None],
        found.scores.gather(1, order) * kept,
        torch.where(kept, found.labels.gather(1, order), -1),
    )


def _staying(boxes: Tensor, labels: Tensor, nms_iou: float) -> Tensor:
    """Which of the candidates, best first, no better one excludes; bool ``[batch, candidates]``."""
    some = torch.nonzero((labels >= 0).any(0))
    used = int(some[-1]) + 1 if len(some) else 0
    boxes, beyond = boxes[:, :used], labels.shape[1] - used
    labels = labels[:, :used]
    rank = torch.arange(used, device=boxes.device)
    same = labels[:, :, None] == labels[:, None, :]
    rivals = (pairwise_iou(boxes, boxes) > nms_iou) & same & (rank[:, None] < rank)
    valid = labels >= 0
    keep = valid
    while True:
        after = valid & ~(rivals & keep[:, :, None]).any(1)
        if torch.equal(after, keep):
            return F.pad(keep, (0, beyond))
        keep = after


def _best(boxes: Tensor, scores: Tensor, threshold: float, candidates: int) -> _Candidates:
    """The best pairs of location and class, best first; the label is -1 below the threshold."""
    classes = scores.shape[2]
    flat = scores.flatten(1)
    # A stable order, so that equal scores are ranked alike on every machine.
    best, index = torch.sort(flat, dim=1, descending=True, stable=True)
    best, index = best[:, :candidates], index[:, :candidates]
    labels = torch.where(best >= threshold, index % classes, -1)
    location = (index // classes)[:, :, None].expand(-1, -1, 4)
    return _Candidates(boxes.gather(1, location), best, labels)
