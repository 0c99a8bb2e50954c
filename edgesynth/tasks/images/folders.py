"""Folders of pictures: which split a directory means, and what is held out for the splits there are not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from edgesynth.errors import DataError
from edgesynth.tasks.images.files import IMAGE_SUFFIXES
from edgesynth.tasks.protocol import Split

__all__ = [
    "SPLIT_NAMES",
    "by_name",
    "check_filled",
    "directories",
    "draw",
    "first_few",
    "held_out",
    "pictures_in",
    "split_directories",
]

SPLIT_NAMES: Final[Mapping[str, Split]] = MappingProxyType(
    {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
)
"""What people call the splits, in lower case."""

_SHARES: Final[Mapping[Split, float]] = MappingProxyType({"test": 0.15, "validation": 0.15})
_NAMED: Final = 5

_File = TypeVar("_File")


def draw(key: str) -> float:
    """A number in [0, 1) that depends on the key alone, wherever the folder lies."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def directories(folder: Path) -> list[Path]:
    """The visible directories of a folder, in order."""
    return sorted(part for part in folder.iterdir() if part.is_dir() and not part.name.startswith("."))


def split_directories(folder: Path) -> list[tuple[Split, Path]]:
    """The directories of a folder that are called as a split, with the split, in order."""
    return [
        (SPLIT_NAMES[part.name.lower()], part)
        for part in directories(folder)
        if part.name.lower() in SPLIT_NAMES
    ]


def pictures_in(folder: Path, pattern: str = "*") -> list[Path]:
    """The visible pictures of a folder that match a pattern, in order; none where there is no folder."""
    return [
        path
        for path in sorted(folder.glob(pattern))
        if path.suffix.lower() in IMAGE_SUFFIXES and _visible(path, folder) and path.is_file()
    ]


def _visible(path: Path, folder: Path) -> bool:
    """Whether neither a file nor a directory that it lies in is hidden."""
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def by_name(folder: Path, paths: Sequence[Path]) -> dict[str, Path]:
    """Files by their path inside ``folder`` without ending, by which annotations find their picture.

    Raises:
        DataError: Two of them have one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise DataError(
                f"{folder} holds two files of one name, {found[name].name} and {path.name}; "
                "rename or remove one of them"
            )
        found[name] = path
    return found


def first_few(names: Sequence[str]) -> str:
    """The first five of many names, and how many there are more."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


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


def check_filled(folder: Path, parts: Mapping[Split, Sized], own: str = "splits") -> None:
    """Refuse a division that leaves a split empty.

    Args:
        folder: What was divided.
        parts: What each split has.
        own: What people may make of their own instead.

    Raises:
        DataError: A split has nothing.
    """
    for split, part in parts.items():
        if not len(part):
            raise DataError(f"{folder} leaves no picture for {split}; add pictures, or {own} of your own")
