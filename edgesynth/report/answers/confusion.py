"""Which class was taken for which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edgesynth.runs.details import Confusion, Details

__all__ = ["COUNTED", "Matrix", "Mistakes", "confused"]

COUNTED: Final = {
    "accuracy": "test samples",
    "miou": "test pixels",
    "map50": "test objects",
    "map": "test objects",
}
"""What the confusion of a metric counts."""

_OF_BOXES: Final = (
    "Boxes of a confidence of at least 0.3 are matched to objects of any class, each once, at an overlap of "
    "one half or more. An object answered as background is missed; where background is true, a box means no "
    "object, and n counts such boxes. Crowds, difficult objects and boxes on them count as neither."
)
_READING: Final = {"map50": _OF_BOXES, "map": _OF_BOXES}
"""How answers came to be matched to what is true, where that is not plain."""

_WHOLE: Final = 21
"""Classes up to which a confusion matrix can be read as one: those of VOC, and the background."""
_PAIRS: Final = 15


@dataclass(frozen=True)
class Matrix:
    """One confusion matrix.

    Attributes:
        label: Of which network.
        classes: Names.
        rows: Per true class its name, the share of each answer in percent, and how often it was true.
        counted: What is counted.
        reading: How answers were matched to what is true; empty where that is plain.
    """

    label: str
    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...], int], ...]
    counted: str
    reading: str


@dataclass(frozen=True)
class Mistakes:
    """The most frequent mistakes, where there are too many classes for a matrix.

    Attributes:
        labels: The networks.
        rows: Truth, answer, the share of the truth per network, empty where it is not known, and how often
            that was true.
        classes: How many classes there are.
        counted: What is counted.
        reading: How answers were matched to what is true; empty where that is plain.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[str, ...], int], ...]
    classes: int
    counted: str
    reading: str


def confused(known: Mapping[str, Details]) -> tuple[tuple[Matrix, ...], Mistakes | None]:
    """A matrix for each network, or the most frequent mistakes of all where that is more than can be read.

    Args:
        known: What is known of each network; the mistakes are those of the last that tells any.
    """
    confusions = {name: found.confusion for name, found in known.items() if found.confusion is not None}
    if all(len(found.classes) <= _WHOLE and found.counts for found in confusions.values()):
        return tuple(_matrix(name, known[name]) for name in confusions), None
    return (), _mistakes(confusions, next(iter(known.values())))


def _matrix(label: str, details: Details) -> Matrix:
    confusion = details.confusion
    assert confusion is not None
    rows = tuple(
        (name, tuple(100.0 * count / total if total else 0.0 for count in counts), total)
        for name, counts, total in zip(confusion.classes, confusion.counts, confusion.totals, strict=True)
    )
    return Matrix(label, confusion.classes, rows, *_told(details))


def _mistakes(confusions: Mapping[str, Confusion], details: Details) -> Mistakes | None:
    last = list(confusions.values())[-1]
    totals = dict(zip(last.classes, last.totals, strict=True))
    rows = tuple(
        (truth, answer, tuple(_share(found, truth, answer) for found in confusions.values()), totals[truth])
        for truth, answer, _ in last.pairs[:_PAIRS]
    )
    # Beside the classes of a detector stands the background.
    classes = len(last.classes) - (details.metric.name in _READING)
    return Mistakes(tuple(confusions), rows, classes, *_told(details)) if rows else None


def _told(details: Details) -> tuple[str, str]:
    """What is counted, and how answers were matched to it."""
    return COUNTED.get(details.metric.name, "times"), _READING.get(details.metric.name, "")


def _share(confusion: Confusion, truth: str, answer: str) -> str:
    """How much of a class got a wrong answer, in percent; empty where the run did not keep it."""
    row, column = confusion.classes.index(truth), confusion.classes.index(answer)
    if confusion.counts:
        count = confusion.counts[row][column]
    else:
        kept = {(one, other): number for one, other, number in confusion.pairs}
        if (truth, answer) not in kept:
            return ""
        count = kept[truth, answer]
    return f"{100 * count / max(1, confusion.totals[row]):.1f}\N{NARROW NO-BREAK SPACE}%"
