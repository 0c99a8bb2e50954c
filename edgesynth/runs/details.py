"""What a score on test data says of one network besides its metric: a file beside the network's others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from edgesynth.errors import EdgesynthError, RunError
from edgesynth.metrics import Metric
from edgesynth.runs.atomic import write_json_atomic

__all__ = ["DETAILS", "Confusion", "CurvePoints", "Details", "read_details", "write_details"]

DETAILS: Final = "details.json"
"""Its name in the folder of a network."""

_FORMAT: Final = 1


@dataclass(frozen=True)
class Confusion:
    """What was answered for what was true, as counts.

    Attributes:
        classes: Names, in the order of the counts.
        counts: Row the truth, column the answer; empty where there are too many classes to keep them all.
        pairs: Truth, answer and count of the most frequent mistakes, most frequent first.
        totals: How often each class was true.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[str, str, int], ...]
    totals: tuple[int, ...]


@dataclass(frozen=True)
class CurvePoints:
    """Precision against recall of one class, thinned out to what can be seen.

    Attributes:
        recall: From 0 to 1, rising.
        precision: From 0 to 1.
    """

    recall: tuple[float, ...]
    precision: tuple[float, ...]


@dataclass(frozen=True)
class Details:
    """A network on test data.

    Attributes:
        metric: The task's metric.
        others: What else was measured on the same samples.
        per_class: The metric of every class that has samples.
        confusion: Where answers are classes.
        curves: By class, where answers have confidences.
    """

    metric: Metric
    others: tuple[Metric, ...] = ()
    per_class: Mapping[str, float] = field(default_factory=dict)
    confusion: Confusion | None = None
    curves: Mapping[str, CurvePoints] = field(default_factory=dict)


def write_details(folder: Path, details: Details) -> Path:
    """Write the file; its folder must exist.

    Raises:
        RunError: The disk is full, or the folder cannot be written.
    """
    data = asdict(details)
    data["metric"] = details.metric.to_json()
    data["others"] = [metric.to_json() for metric in details.others]
    return write_json_atomic(folder / DETAILS, {"format": _FORMAT, **data})


def read_details(path: Path) -> Details | None:
    """What :func:`write_details` wrote; ``None`` where there is no such file.

    Raises:
        RunError: It is damaged.
    """
    if not path.is_file():
        return None
    try:
        return _decoded(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, EdgesynthError) as error:
        raise RunError(f"{path} is damaged ({error!r}); remove it, or restore it from a copy") from error


def _decoded(data: Mapping[str, Any]) -> Details:
    if data["format"] != _FORMAT:
        raise ValueError(f"format {data['format']}, this version reads {_FORMAT}")
    confusion = data["confusion"]
    return Details(
        metric=Metric.from_json(data["metric"]),
        others=tuple(Metric.from_json(metric) for metric in data["others"]),
        per_class={str(name): float(value) for name, value in data["per_class"].items()},
        confusion=None
        if confusion is None
        else Confusion(
            tuple(map(str, confusion["classes"])),
            tuple(tuple(map(int, row)) for row in confusion["counts"]),
            tuple((str(truth), str(answer), int(count)) for truth, answer, count in confusion["pairs"]),
            tuple(map(int, confusion["totals"])),
        ),
        curves={
            str(name): CurvePoints(tuple(map(float, curve["recall"])), tuple(map(float, curve["precision"])))
            for name, curve in data["curves"].items()
        },
    )
