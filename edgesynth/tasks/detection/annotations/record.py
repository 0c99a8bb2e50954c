"""What an annotation says about one picture, whatever the format it was read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgesynth.tasks.detection.samples import BoxMark
from edgesynth.tasks.images import Corrupt
from edgesynth.tasks.protocol import Split

__all__ = ["BadEntry", "BoxRecord"]


class BadEntry(Corrupt):
    """One object of an annotation that cannot be used; the others of its picture can."""


@dataclass(frozen=True)
class BoxRecord:
    """One picture and its objects.

    Attributes:
        path: The picture.
        source: The annotation, for messages; the picture where it has none.
        boxes: Left, top, right, bottom, in pixels of the picture, or in shares of its sides.
        labels: The class of each box, by name.
        split: Where it belongs; ``None`` where nothing says.
        size: Height and width that the annotation tells.
        relative: Whether boxes are shares of the sides.
        marks: What each box means; empty where all are objects to be found.
    """

    path: Path
    source: Path
    boxes: tuple[tuple[float, float, float, float], ...]
    labels: tuple[str, ...]
    split: Split | None = None
    size: tuple[int, int] | None = None
    relative: bool = False
    marks: tuple[BoxMark, ...] = ()

    def only(self, indices: Sequence[int]) -> BoxRecord:
        """The same picture with the objects at ``indices``."""
        return replace(
            self,
            boxes=tuple(self.boxes[index] for index in indices),
            labels=tuple(self.labels[index] for index in indices),
            marks=tuple(self.marks[index] for index in indices) if self.marks else (),
        )
