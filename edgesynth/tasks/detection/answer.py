"""Boxes on a picture, as reports show what a detector says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesynth.tasks.detection.boxes import iou, share_within
from edgesynth.tasks.detection.confusion import OVERLAP
from edgesynth.tasks.detection.samples import BoxMark
from edgesynth.tasks.images import class_colours
from edgesynth.tasks.protocol import Answer

__all__ = ["BoxesAnswer"]

_DASH = 3
_RIM = 0.4
_WHITE = torch.full((3,), 255, dtype=torch.uint8)


@dataclass(frozen=True)
class _LeftAlone:
    """Crowds and difficult objects of one picture: what finds them is neither right nor wrong.

    Attributes:
        boxes: ``[n, 4]``.
        labels: Class indices ``[n]``.
        crowd: Which are crowds, bool ``[n]``.
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor

    def excuses(self, box: Tensor, label: Tensor) -> bool:
        """Whether a box of a class lies on one of them."""
        overlap = torch.where(self.crowd, share_within(box, self.boxes), iou(box, self.boxes))
        return bool(((overlap >= OVERLAP) & (self.labels == label)).any())


@dataclass(frozen=True)
class BoxesAnswer:
    """The objects that a network finds in one picture, or those that are there.

    Attributes:
        boxes: ``[objects, 4]``: left, top, right, bottom in pixels, best first.
        labels: Class indices, int64 ``[objects]``.
        classes: The names of the classes.
        scores: Confidences ``[objects]``; ``None`` for a truth.
        right: Whether each is right, bool ``[objects]``; ``None`` where that was not asked. A wrong box is
            dashed.
        missed: True objects that no box finds, ``[missed, 4]``; ``None`` likewise. They are dotted in white.
        ignored: Crowds and difficult objects of the picture; ``None`` where it has none, or nothing is known.
    """

    boxes: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    scores: Tensor | None = None
    right: Tensor | None = None
    missed: Tensor | None = None
    ignored: _LeftAlone | None = None

    @classmethod
    def truth(cls, boxes: Tensor, labels: Tensor, marks: Tensor, classes: tuple[str, ...]) -> BoxesAnswer:
        """The objects that are to be found, of all boxes of a picture.

        Args:
            boxes: ``[rows, 4]``.
            labels: Class indices ``[rows]``, -1 where there is no box.
            marks: What each box means, a :class:`BoxMark` ``[rows]``.
            classes: The names of the classes.
        """
        counts = (labels >= 0) & (marks == BoxMark.OBJECT)
        other = (labels >= 0) & (marks != BoxMark.OBJECT)
        ignored = _LeftAlone(boxes[other], labels[other], marks[other] == BoxMark.CROWD)
        return cls(boxes[counts], labels[counts], classes, ignored=ignored if bool(other.any()) else None)

    @property
    def reading(self) -> str:
        """How right boxes, wrong ones and missed objects are told apart."""
        return (
            "Solid: a box of the right class that covers an object at an overlap of one half or more. "
            "Dashed: a false one. Dotted in white: an object that is missed."
        ) + (
            " Crowds, difficult objects and boxes on them count as neither and are not drawn."
            if self.ignored is not None
            else ""
        )

    def colours(self) -> Mapping[str, tuple[int, int, int] | None]:
        """By name, of the classes that have a box."""
        palette = class_colours(len(self.classes)).tolist()
        found = sorted(set(self.labels.tolist()))
        return {self.classes[index]: tuple(palette[index]) for index in found}

    def drawn_on(self, image: Tensor) -> Tensor:
        """The image, uint8 ``[3, height, width]``, with a frame in its class's colour around every object."""
        drawn, (height, width) = image.clone(), image.shape[1:]
        thick = max(1, round(min(height, width) / 96))
        for box in self.missed if self.missed is not None else ():
            drawn = _framed(drawn, _frame(box, height, width, thick, drawn=1, of=3), _WHITE, thick)
        colours = class_colours(len(self.classes))
        wrongs = [self.right is not None and not bool(self.right[index]) for index in range(len(self.labels))]
        # Right ones are drawn over wrong ones, and the best of each last.
        for wrong, index in sorted(((wrongs[i], i) for i in range(len(wrongs))), reverse=True):
            frame = _frame(
                self.boxes[index], height, width, thick, drawn=_DASH, of=(2 if wrong else 1) * _DASH
            )
            drawn = _framed(drawn, frame, colours[int(self.labels[index])], thick)
        return drawn

    def against(self, truth: Answer) -> BoxesAnswer:
        """The same, knowing which boxes are right.

        The best box of its class that covers a true object at an overlap of one half or more finds it; every
        other box is wrong, unless it lies on a crowd or a difficult object: those are left out.
        """
        if not isinstance(truth, BoxesAnswer):
            return self
        free = torch.ones(len(truth.labels), dtype=torch.bool)
        right = torch.zeros(len(self.labels), dtype=torch.bool)
        for index in range(len(self.labels)):
            overlap = iou(self.boxes[index], truth.boxes) * (truth.labels == self.labels[index]) * free
            if len(overlap) and float(overlap.max()) >= OVERLAP:
                right[index] = True
                free[overlap.argmax()] = False
        found = replace(self, right=right, missed=truth.boxes[free], ignored=truth.ignored)
        if truth.ignored is None:
            return found
        alone = [truth.ignored.excuses(*pair) for pair in zip(self.boxes, self.labels, strict=True)]
        judged = right | ~torch.tensor(alone, dtype=torch.bool)
        scores = None if self.scores is None else self.scores[judged]
        return replace(
            found, boxes=self.boxes[judged], labels=self.labels[judged], scores=scores, right=right[judged]
        )

    def caption(self, truth: Answer) -> str:
        """How many of the objects are found and how many boxes are false; the objects, for a truth."""
        if self.scores is None or not isinstance(truth, BoxesAnswer):
            counts = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
            named = [f"{count} {name}" for name, count in zip(self.classes, counts, strict=True) if count]
            return ", ".join(named) or "nothing"
        known = self.against(truth)
        found = int(known.right.sum()) if known.right is not None else 0
        return f"{found} of {len(truth.labels)} found, {len(known.labels) - found} false"


def _framed(image: Tensor, frame: Tensor, colour: Tensor, thick: int) -> Tensor:
    """The frame on the image, with a dark rim, without which some colours vanish on some grounds."""
    rim = F.max_pool2d(frame[None].float(), 2 * thick + 1, stride=1, padding=thick)[0] > 0
    darker = torch.where(rim, (_RIM * image.float()).to(torch.uint8), image)
    return torch.where(frame, colour[:, None, None], darker)


def _frame(box: Tensor, height: int, width: int, thick: int, *, drawn: int, of: int) -> Tensor:
    """The pixels of a frame, bool ``[height, width]``: along it, so many steps drawn of so many."""
    left, top, right, bottom = (round(value) for value in box.tolist())
    y, x = torch.arange(height)[:, None], torch.arange(width)[None, :]
    inside: Tensor = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    core = (x >= left + thick) & (x < right - thick) & (y >= top + thick) & (y < bottom - thick)
    frame: Tensor = inside & ~core & (((x + y) // thick) % of < drawn)
    return frame
