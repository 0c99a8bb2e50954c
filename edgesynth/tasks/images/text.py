"""Text files beside pictures: lists of classes, of pictures, of boxes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from edgesynth.errors import DataError, InputError
from edgesynth.tasks.images.files import Corrupt

__all__ = ["check_named", "listed_names", "read_text"]


def check_named(classes: Collection[str]) -> None:
    """Refuse classes that somebody gave, and that are none.

    Raises:
        InputError: There is no name, one text where there should be several, or what is no text.
    """
    if isinstance(classes, str):
        raise InputError(f"classes = {classes!r} is one text; give a list of names, e.g. [{classes!r}]")
    if not isinstance(classes, Collection) or not all(isinstance(name, str) for name in classes):
        raise InputError(f"classes = {classes!r} is no list of names; write each as text")
    if not classes:
        raise InputError(
            "classes is empty, so there would be nothing to learn; name them, or leave classes out to take "
            "what the folder says"
        )


def listed_names(path: Path) -> tuple[str, ...]:
    """The names in a file, one a line.

    Raises:
        DataError: It has none, or cannot be read.
    """
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not names:
        raise DataError(f"{path} names no class; write one name a line, or remove the file")
    return names


def read_text(path: Path) -> str:
    """Read UTF-8, with or without the mark that some editors put before it.

    Raises:
        Corrupt: The file is none, or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Corrupt(
            path,
            f"{path} is no text in UTF-8 ({error.reason}, byte {error.start}); save it as such",
            f"no text in UTF-8, byte {error.start}",
        ) from error
    except OSError as error:
        raise Corrupt(path, f"cannot read {path}: {error}", error.strerror) from error
