"""Reading the files of a folder: what cannot be read is set apart, what is too much stays in its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from edgesynth.errors import DataError, printable
from edgesynth.tasks.images.files import Corrupt, ImageFormat, in_parallel, read_images
from edgesynth.tasks.images.folders import NAMED
from edgesynth.tasks.protocol import Split

__all__ = ["PictureFiles", "corrupt_names", "left_out", "picked", "read_splits"]

Item = TypeVar("Item")
Read = TypeVar("Read")


class PictureFiles:
    """Pictures decoded each time they are needed, by several threads; samples add what is true of each.

    Attributes:
        paths: One file per picture.
        form: What every picture is brought to.
    """

    paths: tuple[Path, ...]
    form: ImageFormat

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return self.form.shape

    def take(self, indices: Tensor) -> Tensor:
        """Decode the pictures at ``indices`` (int64 ``[n]``).

        Raises:
            DataError: A file cannot be read.
        """
        return read_images(picked(self.paths, indices), self.form)


def picked(items: Sequence[Item], indices: Tensor) -> tuple[Item, ...]:
    """The items at ``indices`` (int64 ``[n]``)."""
    return tuple(items[index] for index in indices.tolist())


def read_splits(
    divided: Mapping[Split, Sequence[Item]], read: Callable[[Item], Read]
) -> tuple[dict[Split, list[tuple[Item, Read]]], list[Corrupt]]:
    """Read every item of every split once, by several threads.

    Args:
        divided: The items of each split: files, or what names some.
        read: What is to be known of an item. Where it finds a file :class:`Corrupt`, the item is left out.

    Returns:
        Per split the items that can be read, each with what was read; and why the others cannot.
    """

    def attempt(item: Item) -> Read | Corrupt:
        try:
            return read(item)
        except Corrupt as error:
            return error

    parts: dict[Split, list[tuple[Item, Read]]] = {}
    corrupt: list[Corrupt] = []
    for split, items in divided.items():
        parts[split] = []
        for item, found in zip(items, in_parallel(attempt, items), strict=True):
            if isinstance(found, Corrupt):
                corrupt.append(found)
            else:
                parts[split].append((item, found))
    return parts, corrupt


def left_out(
    corrupt: Sequence[Corrupt], complaint: str, *, skip_corrupt: bool, called: str = "unreadable files"
) -> str:
    """Refuse what cannot be used, unless it may be left out.

    Args:
        corrupt: What cannot be used.
        complaint: What to say of it, after its number.
        skip_corrupt: Whether it may be left out.
        called: What it is called in the description.

    Returns:
        What to add to the description of the division.

    Raises:
        DataError: There is some, and it may not.
    """
    if not corrupt:
        return ""
    if skip_corrupt:
        return f"; {len(corrupt)} {called} left out"
    raise DataError(
        f"{len(corrupt)} of the {complaint}; "
        "repair or remove them, or leave them out with skip_corrupt = true"
    )


def corrupt_names(folder: Path, corrupt: Iterable[Corrupt]) -> str:
    """The first five of them, as they are called inside ``folder``, with what is wrong with each."""
    found = sorted(corrupt, key=lambda error: error.path)
    told = [
        f"{', '.join(printable(error.path.relative_to(folder)) for error in alike)} ({reason})"
        for reason, alike in groupby(found[:NAMED], lambda error: error.reason)
    ]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{', '.join(told)}{more}"
