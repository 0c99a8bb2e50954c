"""Folders of files: which split a directory means, and what is held out for the splits there are not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from edgesynth.errors import DataError
from edgesynth.tasks.protocol import Split

__all__ = ["SPLIT_NAMES", "check_readable", "directories", "draw", "held_out"]

SPLIT_NAMES: Final[Mapping[str, Split]] = MappingProxyType(
    {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
)
"""What people call the splits, in lower case."""

_SHARES: Final[Mapping[Split, float]] = MappingProxyType({"test": 0.15, "validation": 0.15})
_NAMED_FILES = 5

_File = TypeVar("_File")


def draw(key: str) -> float:
    """A number in [0, 1) that depends on the key alone, wherever the folder lies."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def directories(folder: Path) -> list[Path]:
    """The visible directories of a folder, in order."""
    return sorted(part for part in folder.iterdir() if part.is_dir() and not part.name.startswith("."))


def held_out(
    given: Mapping[Split, Sequence[_File]], drawn: Callable[[_File], float]
) -> tuple[dict[Split, list[_File]], str]:
    """Complete a division: what is missing of test and validation is held out of train, 15 % each.

    Args:
        given: The files of each split there is; ``train`` is one of them.
        drawn: A file's number in [0, 1), from :func:`draw`: a file added later moves no other.

    Returns:
        The files of all three splits, and one line that says how they came there.
    """
    bounds: list[tuple[Split, float]] = []
    for split, share in _SHARES.items():
        if split not in given:
            bounds.append((split, share + (bounds[-1][1] if bounds else 0.0)))
    divided: dict[Split, list[_File]] = {
        split: list(given.get(split, ())) if split != "train" else []
        for split in ("train", "validation", "test")
    }
    for file in given["train"]:
        divided[next((split for split, bound in bounds if drawn(file) < bound), "train")].append(file)
    held = " and ".join(split for split, _ in bounds)
    return divided, f"{held} held out of train by a hash of the file names" if held else "splits as given"


def check_readable(folder: Path, skipped: Collection[Path], what: str, *, skip_corrupt: bool) -> str:
    """Refuse a folder with unreadable files, unless they may be left out.

    Args:
        folder: What the files are named relative to.
        skipped: The files.
        what: What they should have been.
        skip_corrupt: Whether they may be left out.

    Returns:
        What to add to the description of the division.

    Raises:
        DataError: There are some, and they may not; they are counted, and the first five named.
    """
    if not skipped:
        return ""
    if skip_corrupt:
        return f"; {len(skipped)} unreadable files left out"
    paths = sorted(skipped)
    named = ", ".join(str(path.relative_to(folder)) for path in paths[:_NAMED_FILES])
    more = f" and {len(paths) - _NAMED_FILES} more" if len(paths) > _NAMED_FILES else ""
    raise DataError(
        f"{len(paths)} of the {what} in {folder} cannot be read: {named}{more}; "
        "repair or remove them, or leave them out with skip_corrupt = true"
    )
