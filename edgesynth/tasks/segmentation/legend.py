"""Which class a stored value, or a colour, means in the masks of a folder."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesynth.errors import DataError, InputError
from edgesynth.tasks.images import check_named, listed_names, read_text
from edgesynth.tasks.segmentation.layouts import Layout
from edgesynth.tasks.segmentation.samples import VALUES

__all__ = ["IGNORED", "Colour", "Legend", "find_legend", "packed"]

IGNORED: Final = 255
"""What masks hold, once read, where a pixel does not count."""

Colour = tuple[int, int, int]

_NAMES_FILES = ("classes.txt", "class_names.txt")
_COLOURS_FILES = ("label_colors.txt", "class_dict.csv")
_VOID = frozenset({"void", "unlabelled", "unlabeled", "ignore", "ignored"})


@dataclass(frozen=True)
class Legend:
    """What masks mean.

    Attributes:
        classes: The names of the classes; ``None`` where there is one for every value that occurs.
        meanings: The class index of each stored value, or :data:`IGNORED`.
        colours: The stored value that each colour stands for, by :func:`packed` colour.
        rest_ignored: Whether values without a meaning are ignored instead of refused.
    """

    classes: tuple[str, ...] | None
    meanings: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[int, int] = field(default_factory=dict)
    rest_ignored: bool = False

    def completed(self, seen: Sequence[int]) -> Legend:
        """With a class for every value that was seen, where classes have no names."""
        if self.classes is not None:
            return self
        counted = [value for value in sorted(seen) if value not in self.meanings]
        meanings = {**self.meanings, **{value: index for index, value in enumerate(counted)}}
        return Legend(tuple(str(value) for value in counted), meanings)

    def unknown(self, seen: Sequence[int]) -> list[int]:
        """The stored values that mean nothing; none where there is a class for every value."""
        if self.classes is None or self.rest_ignored:
            return []
        return [value for value in seen if value not in self.meanings]

    @property
    def table(self) -> Tensor:
        """The class index of every value, uint8 ``[256]``."""
        table = np.full(VALUES, IGNORED, dtype=np.uint8)
        for value, index in self.meanings.items():
            table[value] = index
        return torch.from_numpy(table)


def find_legend(
    folder: Path, layout: Layout, classes: Sequence[str] | Mapping[str, Colour] | None, ignore_label: int
) -> Legend:
    """What the masks of a folder mean.

    In this order: colours given; ``label_colors.txt`` in the folder (lines of red, green, blue and a name) or
    ``class_dict.csv`` (name, red, green, blue), from which names given pick; values of the layout, from which
    names given pick; names given; ``classes.txt`` or ``class_names.txt``, one name a line; the names of the
    layout; one class for every value. What is called void, unlabelled or ignore is ignored in all of them.

    Args:
        folder: Where the files are.
        layout: What was found there.
        classes: Names, or names with colours.
        ignore_label: The value of pixels that do not count, where masks hold values. Where names are those of
            values in order, it is a value without a name, or one that is called void, unlabelled or ignore.

    Raises:
        DataError: A file cannot be read as such, or a name that is to be picked is not there.
        InputError: The ignore label is no value that a mask can hold, or is that of a class; or there are
            classes, but none.
    """
    if not isinstance(ignore_label, int | np.integer) or not 0 <= ignore_label < VALUES:
        raise InputError(f"ignore_label is a value of 8 bits, 0 to {VALUES - 1}, got {ignore_label!r}")
    if classes is not None:
        check_named(classes)
    if isinstance(classes, Mapping):
        return _coloured(tuple(classes), tuple(classes.values()), tuple(classes), ignore_label, folder)
    for path in (folder / name for name in _COLOURS_FILES):
        if path.is_file():
            names, colours = _colours(path)
            return _coloured(names, colours, classes, ignore_label, path)
    if layout.values is not None and layout.classes is not None:
        picked = _picked(classes or layout.classes, layout.classes, folder)
        values = dict(zip(layout.classes, layout.values, strict=True))
        meanings = {values[name]: index for name, index in picked.items()}
        if ignore_label in meanings:
            _refuse(ignore_label, tuple(picked)[meanings[ignore_label]], "leave that one out of classes")
        return Legend(tuple(picked), meanings, rest_ignored=True)
    return _numbered(classes or _names(folder) or layout.classes, ignore_label)


def packed(colours: NDArray[np.uint8]) -> NDArray[np.int64]:
    """One number for each colour: int64 ``[...]`` of ``[..., 3]``."""
    parts = colours.astype(np.int64)
    return np.asarray(parts[..., 0] << 16 | parts[..., 1] << 8 | parts[..., 2])


def _coloured(
    names: Sequence[str],
    colours: Sequence[Colour],
    wanted: Sequence[str] | None,
    ignore_label: int,
    source: Path,
) -> Legend:
    """Colours, and where a mask holds values instead, values in the same order."""
    if wanted is None:
        ignored = names[ignore_label : ignore_label + 1]
        wanted = [name for name in names if name not in ignored]
    picked = _picked(wanted, names, source)
    if names[ignore_label : ignore_label + 1] and names[ignore_label] in picked:
        _refuse(ignore_label, names[ignore_label], "leave that one out of classes")
    meanings = {index: picked.get(name, IGNORED) for index, name in enumerate(names)}
    meanings.setdefault(ignore_label, IGNORED)
    return Legend(tuple(picked), meanings, _by_colour(source, names, colours))


def _numbered(names: Sequence[str] | None, ignore_label: int) -> Legend:
    """Values in the order of the names; one of them is the ignored value only where its name says so."""
    if names is None:
        return Legend(None, {ignore_label: IGNORED})
    if ignore_label < len(names) and not _void(names[ignore_label]):
        called = f'where that value does not count, let classes have "void" in place {ignore_label}, from 0'
        _refuse(ignore_label, names[ignore_label], f"names stand for the values 0, 1, 2 and so on; {called}")
    counted = [value for value, name in enumerate(names) if not _void(name)]
    ignored = {ignore_label, *range(len(names))}.difference(counted)
    meanings = {value: index for index, value in enumerate(counted)} | dict.fromkeys(ignored, IGNORED)
    return Legend(tuple(names[value] for value in counted), meanings)


def _void(name: str) -> bool:
    """Whether it is what people call pixels that do not count."""
    return name.strip().lower() in _VOID


def _refuse(ignore_label: int, name: str, otherwise: str) -> NoReturn:
    raise InputError(
        f"ignore_label = {ignore_label} is the value of the class {name!r}; {otherwise}, or set ignore_label "
        "to a value that is no class, e.g. 255"
    )


def _picked(wanted: Sequence[str], known: Sequence[str], source: Path) -> dict[str, int]:
    """The index that each wanted name gets; pixels that do not count are no class."""
    wanted = [name for name in wanted if not _void(name)]
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known classes: {', '.join(known)}"
            raise DataError(f"{source} knows no class {name!r}; {hint}")
    return {name: index for index, name in enumerate(dict.fromkeys(wanted))}


def _by_colour(source: Path, names: Sequence[str], colours: Sequence[Colour]) -> dict[int, int]:
    found: dict[int, int] = {}
    for value, (name, colour) in enumerate(zip(names, colours, strict=True)):
        parts = tuple(colour) if isinstance(colour, Iterable) else ()
        whole = all(isinstance(part, int | np.integer) for part in parts)
        if len(parts) != 3 or not whole or not all(0 <= part <= 255 for part in parts):
            raise DataError(f"class {name!r} has the colour {colour!r}; give red, green, blue of 0 to 255")
        key = int(packed(np.array(colour, dtype=np.uint8)))
        if key in found:
            raise DataError(f"{source}: classes {names[found[key]]!r} and {name!r} have one colour, {colour}")
        found[key] = value
    return found


def _csv_words(line: str) -> list[str]:
    """Red, green, blue and the name of a line that begins with the name."""
    cells = [cell.strip() for cell in next(csv.reader([line]), [])]
    return [*cells[1:4], *cells[:1]]


def _colours(path: Path) -> tuple[tuple[str, ...], tuple[Colour, ...]]:
    """Names and colours of a file of lines such as ``64 128 64<tab>Animal``, or ``Animal,64,128,64``."""
    table = path.suffix == ".csv"
    names: list[str] = []
    colours: list[Colour] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = _csv_words(line) if table else line.split(None, 3)
        titles = table and number == 1 and not any(word.isdigit() for word in words[:3])
        if not words or words[0].startswith("#") or titles:
            continue
        if len(words) < 4 or not all(word.isdigit() for word in words[:3]):
            expected = "a name, red, green and blue" if table else "red, green, blue and a name"
            raise DataError(f"{path} line {number}: expected {expected}, got {line.strip()!r}")
        names.append(words[3].strip())
        colours.append((int(words[0]), int(words[1]), int(words[2])))
    if len(set(names)) < len(names) or not 2 <= len(names) < VALUES:
        raise DataError(
            f"{path} names {len(names)} classes, {len(set(names))} of them distinct; give 2 to 255"
        )
    return tuple(names), tuple(colours)


def _names(folder: Path) -> tuple[str, ...] | None:
    for name in _NAMES_FILES:
        path = folder / name
        if path.is_file():
            return listed_names(path)
    return None
