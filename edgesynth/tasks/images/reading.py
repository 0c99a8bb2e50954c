"""Reading the files of a folder: what cannot be read is set apart, what is too much stays in its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from edgesynth.errors import DataError
from edgesynth.tasks.images.files import Corrupt, ImageFormat, in_parallel, read_images
from edgesynth.tasks.images.folders import first_few
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


def left_out(corrupt: Sequence[Corrupt], complaint: str, *, skip_corrupt: bool) -> str:
    """Refuse what cannot be read, unless it may be left out.

    Args:
        corrupt: What cannot be read.
        complaint: What to say of it, after its number.
        skip_corrupt: Whether it may be left out.

    Returns:
        What to add to the description of the division.

    Raises:
        DataError: There is some, and it may not.
    """
    if not corrupt:
        return ""
    if skip_corrupt:
        return f"; {len(corrupt)} unreadable files left out"
    raise DataError(
        f"{len(corrupt)} of the {complaint}; "
        "repair or remove them, or leave them out with skip_corrupt = true"
    )


def corrupt_names(folder: Path, corrupt: Iterable[Corrupt]) -> str:
    """The first few of them, as they are called inside ``folder``, and what is wrong with the first."""
    found = sorted(corrupt, key=lambda error: error.path)
    names = first_few([str(error.path.relative_to(folder)) for error in found])
    return f"{names} (the first: {found[0].__cause__ or found[0]})" if found else ""
