"""Boxes on a picture, as reports show what a detector says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgesynth.tasks.detection.boxes import iou
from edgesynth.tasks.images import HUES
from edgesynth.tasks.protocol import Answer

__all__ = ["BoxesAnswer"]

_OVERLAP = 0.5
_DASH = 3


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
    """

    boxes: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    scores: Tensor | None = None
    right: Tensor | None = None

    def drawn_on(self, image: Tensor) -> Tensor:
        """The image, uint8 ``[3, height, width]``, with a frame in its class's colour around every object."""
        drawn = image.clone()
        thick = max(1, round(min(image.shape[1:]) / 96))
        # The best are drawn last, over the others.
        for index in reversed(range(len(self.labels))):
            colour = torch.tensor(HUES[int(self.labels[index]) % len(HUES)], dtype=torch.uint8)
            wrong = self.right is not None and not bool(self.right[index])
            frame = _frame(self.boxes[index], image.shape[1], image.shape[2], thick, dashed=wrong)
            drawn = torch.where(frame, colour[:, None, None], drawn)
        return drawn

    def against(self, truth: Answer) -> BoxesAnswer:
        """The same, knowing which boxes are right.

        The best box of its class that covers a true object at an overlap of one half or more finds it; every
        other box is wrong.
        """
        if not isinstance(truth, BoxesAnswer):
            return self
        free = torch.ones(len(truth.labels), dtype=torch.bool)
        right = torch.zeros(len(self.labels), dtype=torch.bool)
        for index in range(len(self.labels)):
            overlap = iou(self.boxes[index], truth.boxes) * (truth.labels == self.labels[index]) * free
            if len(overlap) and float(overlap.max()) >= _OVERLAP:
                right[index] = True
                free[overlap.argmax()] = False
        return replace(self, right=right)

    def caption(self, truth: Answer) -> str:
        """How many of the objects are found and how many boxes are false; the objects, for a truth."""
        if self.scores is None or not isinstance(truth, BoxesAnswer):
            counts = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
            named = [f"{count} {name}" for name, count in zip(self.classes, counts, strict=True) if count]
            return ", ".join(named) or "nothing"
        right = self.against(truth).right
        found = int(right.sum()) if right is not None else 0
        return f"{found} of {len(truth.labels)} found, {len(self.labels) - found} false"


def _frame(box: Tensor, height: int, width: int, thick: int, *, dashed: bool) -> Tensor:
    """The pixels of a frame, bool ``[height, width]``."""
    left, top, right, bottom = (round(value) for value in box.tolist())
    y, x = torch.arange(height)[:, None], torch.arange(width)[None, :]
    inside: Tensor = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    core = (x >= left + thick) & (x < right - thick) & (y >= top + thick) & (y < bottom - thick)
    frame: Tensor = inside & ~core
    if dashed:
        frame = frame & (((x + y) // (_DASH * thick)) % 2 == 0)
    return frame
