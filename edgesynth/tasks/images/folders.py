"""Folders of pictures: which split a directory means, and what is held out for the splits there are not."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeVar

from edgesynth.errors import DataError
from edgesynth.tasks.images.files import IMAGE_SUFFIXES
from edgesynth.tasks.protocol import Split

__all__ = [
    "NAMED",
    "SPLIT_NAMES",
    "by_name",
    "check_filled",
    "directories",
    "draw",
    "entries",
    "files_below",
    "first_few",
    "held_out",
    "not_read",
    "pictures_in",
    "split_directories",
]

SPLIT_NAMES: Final[Mapping[str, Split]] = MappingProxyType(
    {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
)
"""What people call the splits, in lower case."""

_SHARES: Final[Mapping[Split, float]] = MappingProxyType({"test": 0.15, "validation": 0.15})
NAMED: Final = 5
"""How many of many files a message names."""

_OTHER_KINDS: Final = frozenset(
    {
        *(".apng", ".avif", ".dcm", ".dds", ".exr", ".hdr", ".heic", ".heif", ".ico", ".j2k", ".jp2", ".jpe"),
        *(".jxl", ".mpo", ".pbm", ".pcx", ".pnm", ".psd", ".qoi", ".svg", ".tga"),
        *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
    }
)
"""Pictures too, but none that is read."""

_File = TypeVar("_File")


def draw(key: str) -> float:
    """A number in [0, 1) that depends on the key alone, wherever the folder lies."""
    # A name that is no UTF-8 has lone surrogates in place of its bytes.
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def directories(folder: Path) -> list[Path]:
    """The visible directories of a folder, in order."""
    return [path for path in _visible(folder) if path.is_dir()]


def split_directories(folder: Path) -> list[tuple[Split, Path]]:
    """The directories of a folder that are called as a split, with the split, in order."""
    return [
        (SPLIT_NAMES[part.name.lower()], part)
        for part in directories(folder)
        if part.name.lower() in SPLIT_NAMES
    ]


def entries(folder: Path, pattern: str) -> list[Path]:
    """What is visible in a folder and matches a pattern once in lower case, in order; of no folder, nothing.

    Raises:
        DataError: The folder cannot be looked into.
    """
    if not folder.is_dir():
        return []
    return [path for path in _visible(folder) if fnmatchcase(path.name.lower(), pattern)]


def pictures_in(folder: Path, pattern: Literal["*", "**/*"] = "*") -> list[Path]:
    """The visible pictures of a folder, in order; none where there is no folder.

    Links are followed. One that leads nowhere is listed too, as a picture that cannot be read.

    Args:
        folder: Where to look.
        pattern: ``*`` for the folder itself, ``**/*`` for all folders inside it as well.

    Raises:
        DataError: A folder cannot be looked into.
    """
    if not folder.is_dir():
        return []
    found = files_below(folder) if pattern == "**/*" else filter(_is_file, _visible(folder))
    return sorted(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES)


def not_read(folders: Iterable[Path]) -> str:
    """How many files in folders are pictures of a kind that is not read, to add to a description."""
    kinds = Counter(path.suffix.lower() for folder in set(folders) for path in _visible(folder))
    found = sorted(kinds.keys() & _OTHER_KINDS)
    count = sum(kinds[kind] for kind in found)
    files = "file of a kind that is" if count == 1 else "files of kinds that are"
    return f"; {count} {files} not read: {', '.join(found)}" if found else ""


def files_below(folder: Path) -> Iterator[Path]:
    """The visible files of a folder and of all inside it, each folder once, whatever links lead to it.

    What links lead to comes last: a picture keeps the name that it has without them, and none is in two
    splits because of them.

    Raises:
        DataError: A folder cannot be looked into.
    """
    real = folder.resolve()
    seen = set(real.parents)
    own, linked = [folder], list[Path]()
    while own or linked:
        place = own.pop() if own else linked.pop(0)
        real = place.resolve()
        if real in seen:
            continue
        seen.add(real)
        for path in _visible(place):
            if path.is_dir():
                (linked if path.is_symlink() else own).append(path)
            elif _is_file(path):
                yield path


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, in order.

    Raises:
        DataError: The folder cannot be looked into.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot look into {folder}: {error.strerror}; give a folder you may read") from error


def _is_file(path: Path) -> bool:
    """Whether it is a file, or a link that leads nowhere."""
    return path.is_file() or (path.is_symlink() and not path.exists())


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
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


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
