"""Files of a folder, whatever the case of their endings, and those that links lead to."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from edgesynth.errors import DataError
from edgesynth.tasks.images import IMAGE_SUFFIXES

__all__ = ["check_class_name", "entries", "entries_below", "pictures_below"]


def entries(folder: Path, pattern: str) -> list[Path]:
    """What is visible in a folder and matches a pattern once in lower case, in order; of no folder, nothing.

    Raises:
        DataError: The folder cannot be read.
    """
    return [path for path in _visible(folder) if fnmatchcase(path.name.lower(), pattern)]


def entries_below(folder: Path, suffix: str) -> list[Path]:
    """What is visible in a folder and in those inside and ends in ``suffix``, in any case, in order.

    Links to folders are followed, except to one that the link lies in.

    Raises:
        DataError: A folder cannot be read.
    """
    return sorted(path for path in _below(folder, ()) if path.suffix.lower() == suffix)


def pictures_below(folder: Path) -> list[Path]:
    """The pictures among what is visible in a folder and in those inside, links followed, in order.

    Raises:
        DataError: A folder cannot be read.
    """
    found = (path for path in _below(folder, ()) if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(path for path in found if path.is_file())


def check_class_name(file: Path, name: str) -> None:
    """Refuse what no report could write down.

    Raises:
        DataError: The name of a class is empty, or no text.
    """
    if not name.strip():
        raise DataError(f"{file} has a class whose name is empty; name it")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{file} names a class {name!r}, which holds half a character; correct it") from None


def _visible(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error}") from error
    return [path for path in found if not path.name.startswith(".")]


def _below(folder: Path, outer: tuple[Path, ...]) -> Iterator[Path]:
    """Everything visible; ``outer`` are the folders this one lies in, as they are without links."""
    here = (*outer, folder.resolve())
    for path in _visible(folder):
        yield path
        if path.is_dir() and path.resolve() not in here:
            yield from _below(path, here)
