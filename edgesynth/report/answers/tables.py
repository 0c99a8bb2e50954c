"""The metric class by class, and what else was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgesynth.metrics import METRICS, Metric, wilson_interval
from edgesynth.report import formatting
from edgesynth.report.answers.confusion import COUNTED
from edgesynth.runs.details import Details

__all__ = ["ClassTable", "OtherTable", "by_loss", "class_table", "other_table"]

_NETWORKS: Final = 5
"""Networks beside the prototype at the most."""
_ROWS: Final = 30
"""Classes up to which a table shows them all."""
_DASH: Final = "\N{EN DASH}"
_OF_A_CLASS: Final = {"miou": "IoU", "map50": "AP@.5", "map": "AP@[.5:.95]"}
"""What a metric is called where it is of one class, and no mean."""


@dataclass(frozen=True)
class ClassTable:
    """The metric class by class.

    Attributes:
        metric: Its name for people.
        labels: The networks.
        chosen: The network whose change is shown.
        rows: Class, value and 95 % interval per network, change of the chosen network, and how often the
            class is true; the interval is empty and the number ``None`` where they are not known.
        left_out: Classes that are not shown, having changed less.
        counted: What is counted; empty where nothing is.
    """

    metric: str
    labels: tuple[str, ...]
    chosen: str
    rows: tuple[tuple[str, tuple[tuple[str, str], ...], str, int | None], ...]
    left_out: int
    counted: str


@dataclass(frozen=True)
class OtherTable:
    """What else was measured.

    Attributes:
        columns: Metrics for people.
        rows: Network, and per metric its value, the value for people and its interval; ``None`` where it was
            not measured.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[Metric, str, str] | None, ...]], ...]


def class_table(known: Mapping[str, Details], chosen: str) -> ClassTable | None:
    """The metric of each class, for the prototype and some networks; ``None`` where it is not known.

    Args:
        known: What is known of each network.
        chosen: The network whose change is shown.
    """
    shown = {name: found for name, found in known.items() if found.per_class}
    if len(shown) > _NETWORKS + 1:
        names = [*dict.fromkeys(("prototype", chosen, *shown))][: _NETWORKS + 1]
        shown = {name: found for name, found in shown.items() if name in names}
    if "prototype" not in shown:
        return None
    reference, network = shown["prototype"], shown.get(chosen, shown["prototype"])
    metric = reference.metric
    totals = {}
    if reference.confusion is not None and metric.name in COUNTED:
        totals = dict(zip(reference.confusion.classes, reference.confusion.totals, strict=True))
    # With many classes, those are shown that lost most.
    order = list(reference.per_class)
    if len(order) > _ROWS:
        order = by_loss(order, reference, network)[:_ROWS]
    rows = tuple(
        (
            name,
            tuple(_cell(metric, found.per_class.get(name), totals.get(name)) for found in shown.values()),
            _change(metric, reference.per_class[name], network.per_class.get(name)),
            totals.get(name),
        )
        for name in order
    )
    label = _OF_A_CLASS.get(metric.name, formatting.titled(METRICS[metric.name].label))
    left_out = len(reference.per_class) - len(order)
    return ClassTable(label, tuple(shown), chosen, rows, left_out, COUNTED[metric.name] if totals else "")


def by_loss(names: Sequence[str], reference: Details, network: Details) -> list[str]:
    """Classes by how much a network lost on them, most first."""
    return sorted(
        names, key=lambda name: network.per_class.get(name, 0.0) - reference.per_class.get(name, 0.0)
    )


def _cell(metric: Metric, value: float | None, total: int | None) -> tuple[str, str]:
    """A class's value for people, and its interval where it is a share of samples that were counted."""
    if value is None:
        return _DASH, ""
    interval = ""
    if total and metric.name == "accuracy":
        ends = wilson_interval(value * total, total)
        interval = formatting.interval(Metric(metric.name, value, metric.provenance, total, ends))
    return formatting.figure(metric.name, value), interval


def _change(metric: Metric, before: float, after: float | None) -> str:
    if after is None:
        return _DASH
    one, two = (Metric(metric.name, value, metric.provenance) for value in (after, before))
    return formatting.compare(one, two)


def other_table(known: Mapping[str, Details]) -> OtherTable | None:
    """Every metric beside the task's own; ``None`` where none was measured."""
    names = list(dict.fromkeys(metric.name for found in known.values() for metric in found.others))
    if not names:
        return None
    rows = []
    for label, found in known.items():
        values = {metric.name: metric for metric in found.others}
        cells = tuple(
            (values[name], formatting.figure(name, values[name].value), formatting.interval(values[name]))
            if name in values
            else None
            for name in names
        )
        rows.append((label, cells))
    labels = (METRICS[name].label for name in names)
    return OtherTable(tuple(formatting.titled(label) for label in labels), tuple(rows))
