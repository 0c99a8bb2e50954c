"""What an annotation says about one picture, whatever the format it was read from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgesynth.errors import DataError
from edgesynth.tasks.images import IMAGE_SUFFIXES
from edgesynth.tasks.protocol import Split

__all__ = ["BoxRecord", "Corrupt", "pictures_in"]


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
    """

    path: Path
    source: Path
    boxes: tuple[tuple[float, float, float, float], ...]
    labels: tuple[str, ...]
    split: Split | None = None
    size: tuple[int, int] | None = None
    relative: bool = False


class Corrupt(DataError):
    """An annotation of one picture that cannot be read; the picture may be left out instead."""


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder, sorted; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
