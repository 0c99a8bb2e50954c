"""What a detector is trained by: classes, boxes, and what a teacher says about both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesynth.errors import InputError
from edgesynth.tasks.detection.boxes import giou, inside
from edgesynth.tasks.detection.heads import CentreHead, DetectionHead, Predictions
from edgesynth.tasks.detection.targets import NOTHING, crowd_label

__all__ = ["DetectionDistillation", "detection_loss", "focal_loss", "teacher_loss"]


@dataclass(frozen=True)
class DetectionDistillation:
    """How much a student detector listens to its teacher.

    Attributes:
        weight: Share of the teacher's term in the loss, 0 to 1; 0 is plain training.
        confidence: The teacher's boxes are followed in cells where it is at least this sure of a class.
    """

    weight: float = 0.25
    confidence: float = 0.3

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 0 <= self.weight <= 1 or not 0 < self.confidence < 1:
            raise InputError(
                "distillation of a detector needs a weight in [0, 1] and a confidence in (0, 1), "
                f"got {self.weight} and {self.confidence}"
            )


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    spared: Tensor | None = None,
) -> Tensor:
    """The focal loss, summed.

    T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 5: cross-entropy in which
    cells that are right already count little, so that the many without an object do not drown the few with
    one.

    Args:
        logits: Any shape.
        targets: 0 or 1, the same shape.
        alpha: Weight of the ones; the zeros have ``1 - alpha``.
        gamma: How fast a cell's weight falls as it gets right.
        spared: Where nothing is lost, bool of the same shape.
    """
    plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    wrong = probability + targets - 2 * probability * targets
    balance = 1 - alpha + (2 * alpha - 1) * targets
    losses = balance * wrong**gamma * plain
    return (losses if spared is None else losses.masked_fill(spared, 0.0)).sum()


def detection_loss(head: DetectionHead, predictions: Predictions, boxes: Tensor, labels: Tensor) -> Tensor:
    """The loss of a batch per cell that answers for an object, a scalar.

    Both heads learn classes, or coverage, by the focal loss (DetectNet's squared error starves beside so many
    empty cells). ``centre``: plus ``1 - GIoU`` of the boxes, weighted by how central the cell is, plus the
    cross-entropy of centreness, as in FCOS equation 2. ``grid``: plus the absolute error of the offsets in
    strides, as in DetectNet. Cells inside a crowd lose nothing by what they say of its class, unless they
    answer for an object.

    Args:
        head: Which.
        predictions: Of the network.
        boxes: The true ones, ``[batch, rows, 4]``.
        labels: Their classes ``[batch, rows]``, -1 where there is no object, below that for crowds; see
            :mod:`edgesynth.tasks.detection.targets`.
    """
    row = head.assigned(predictions, boxes, labels)
    positive = row >= 0
    label = labels.gather(1, row.clamp_min(0))
    wanted = boxes.gather(1, row.clamp_min(0)[..., None].expand(-1, -1, 4))
    count = positive.sum().clamp_min(1)
    classes = predictions.logits.shape[-1]
    # One class more than there are takes what has no object, and is cut off.
    hot = F.one_hot(torch.where(positive, label, classes), classes + 1)[..., :classes]
    spared = _spared(predictions, boxes, labels)
    if spared is not None:
        spared &= ~positive[..., None]
    loss = focal_loss(predictions.logits, hot.to(predictions.logits.dtype), spared=spared) / count
    if isinstance(head, CentreHead):
        central = head.centreness(predictions, wanted)[positive]
        apart = _apart(head, predictions, wanted)[positive]
        loss = loss + (apart * central).sum() / central.sum().clamp_min(1e-6)
        assert predictions.centreness is not None
        guess = predictions.centreness[positive]
        return loss + F.binary_cross_entropy_with_logits(guess, central, reduction="sum") / count
    apart = _apart(head, predictions, wanted)
    return loss + apart[positive].sum() / count


def _spared(predictions: Predictions, boxes: Tensor, labels: Tensor) -> Tensor | None:
    """Which cells lie in crowds of which classes, bool ``[batch, cells, classes]``; ``None`` without any."""
    crowd = labels < NOTHING
    if not bool(crowd.any()):
        return None
    some = crowd.any(0)
    boxes, labels, crowd = boxes[:, some], labels[:, some], crowd[:, some]
    classes = predictions.logits.shape[-1]
    kinds = F.one_hot(torch.where(crowd, crowd_label(labels), classes), classes + 1)[..., :classes]
    within = inside(predictions.centres, boxes)
    return torch.einsum("brn,brk->bnk", within.float(), kinds.float()) > 0


def _apart(head: DetectionHead, predictions: Predictions, wanted: Tensor) -> Tensor:
    """How far boxes are from those that are wanted, as the head counts it, ``[batch, cells]``."""
    told = head.unclipped(predictions)
    if isinstance(head, CentreHead):
        return 1 - giou(told, wanted)
    return (told - wanted).abs().mean(-1) / predictions.strides


def teacher_loss(
    head: DetectionHead, student: Predictions, teacher: Predictions, distillation: DetectionDistillation
) -> Tensor:
    """What a teacher's outputs on the same inputs ask of a student, a scalar.

    Class probabilities everywhere, by the quality focal loss of X. Li et al., "Generalized Focal Loss",
    NeurIPS 2020, equation 3: cross-entropy with a soft target, weighted by the squared difference, so that
    cells count where the two disagree. Boxes where the teacher is confident, as the
    head counts their error, and centreness there.
    """
    taught = teacher.logits.sigmoid()
    sure = taught.amax(-1)
    weight = torch.where(sure >= distillation.confidence, sure, 0.0)
    count = weight.sum().clamp_min(1)
    soft = F.binary_cross_entropy_with_logits(student.logits, taught, reduction="none")
    loss = ((taught - student.logits.sigmoid()) ** 2 * soft).sum() / count
    apart = _apart(head, student, head.unclipped(teacher))
    loss = loss + (apart * weight).sum() / count
    if student.centreness is not None and teacher.centreness is not None:
        guess = F.binary_cross_entropy_with_logits(
            student.centreness, teacher.centreness.sigmoid(), reduction="none"
        )
        loss = loss + (guess * weight).sum() / count
    return loss
