"""What the networks answer, for the report: pictures side by side, classes, mistakes, curves."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgesynth.metrics import METRICS, Metric
from edgesynth.report import formatting, plots
from edgesynth.runs.details import Confusion, CurvePoints, Details, read_details
from edgesynth.runs.pictures import Picture, read_pictures
from edgesynth.runs.records import NetworkRecord
from edgesynth.runs.run import Run

__all__ = ["AnswerSection", "answer_section"]

_NETWORKS: Final = 5
_WHOLE: Final = 20
"""Classes up to which a confusion matrix can be read as one."""
_PAIRS: Final = 15
_ROWS: Final = 30
"""Classes up to which a table shows them all."""
_CURVES: Final = 9
_DASH: Final = "\N{EN DASH}"
_TINY: Final = 64
"""Pixels up to which a picture is enlarged as it is, without smoothing."""


@dataclass(frozen=True)
class Shown:
    """One picture on the page.

    Attributes:
        label: Whose answer it is.
        caption: The answer in words.
        uri: The PNG file itself, as a data URI.
    """

    label: str
    caption: str
    uri: str


@dataclass(frozen=True)
class Group:
    """Samples that were chosen for one reason.

    Attributes:
        chosen: The reason.
        rows: Per sample the truth, then the answers.
    """

    chosen: str
    rows: tuple[tuple[Shown, ...], ...]


@dataclass(frozen=True)
class Pictures:
    """Answers side by side.

    Attributes:
        source: The data.
        rule: How samples were chosen.
        labels: ``truth``, ``prototype``, then the networks.
        groups: The samples.
        alike: Whether no answer changes the picture, so that one picture and words are enough.
        tiny: Whether pictures have so few pixels that each should be seen.
    """

    source: str
    rule: str
    labels: tuple[str, ...]
    groups: tuple[Group, ...]
    alike: bool
    tiny: bool


@dataclass(frozen=True)
class Matrix:
    """One confusion matrix.

    Attributes:
        label: Of which network.
        classes: Names.
        rows: Per true class its name, the share of each answer in percent, and how often it was true.
    """

    label: str
    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...], int], ...]


@dataclass(frozen=True)
class Mistakes:
    """The most frequent mistakes, where there are too many classes for a matrix.

    Attributes:
        labels: The networks.
        rows: Truth, answer, and the share of the truth per network; empty where it is not known.
        classes: How many classes there are.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]
    classes: int


@dataclass(frozen=True)
class ClassTable:
    """The metric class by class.

    Attributes:
        metric: Its name for people.
        labels: The networks.
        chosen: The network whose change is shown.
        rows: Class, value per network, change of the chosen network.
        left_out: Classes that are not shown, having changed less.
    """

    metric: str
    labels: tuple[str, ...]
    chosen: str
    rows: tuple[tuple[str, tuple[str, ...], str], ...]
    left_out: int


@dataclass(frozen=True)
class OtherTable:
    """What else was measured.

    Attributes:
        columns: Metrics for people.
        rows: Network, and per metric value and interval.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True)
class AnswerSection:
    """Everything the section shows; each part may be missing.

    Attributes:
        source: The data the numbers are from.
        pictures: Answers side by side.
        matrices: Of the prototype and one network.
        mistakes: In place of matrices.
        classes: The metric by class.
        curves: Precision against recall.
        others: Other metrics.
        chosen: The network beside the prototype.
    """

    source: str
    pictures: Pictures | None
    matrices: tuple[Matrix, ...]
    mistakes: Mistakes | None
    classes: ClassTable | None
    curves: tuple[plots.Figure, ...]
    others: OtherTable | None
    chosen: str


def answer_section(
    run: Run, records: Sequence[NetworkRecord], chosen: NetworkRecord | None
) -> AnswerSection | None:
    """What the run keeps of its networks' answers; ``None`` for a run that keeps nothing.

    Args:
        run: Open.
        records: All of its networks.
        chosen: The network to look at closely.

    Raises:
        RunError: A file is damaged.
    """
    known = _details(run, records)
    pictures = _pictures(run)
    label = f"seed {chosen.seed}" if chosen is not None and chosen.role == "generated" else ""
    label = label if label in known else next((name for name in known if name != "prototype"), "prototype")
    pair = {name: known[name] for name in dict.fromkeys(("prototype", label)) if name in known}
    confusions = {name: found.confusion for name, found in pair.items() if found.confusion is not None}
    small = all(len(found.classes) <= _WHOLE and found.counts for found in confusions.values())
    section = AnswerSection(
        source=next((found.metric.source for found in known.values()), ""),
        pictures=pictures,
        matrices=tuple(_matrix(name, found) for name, found in confusions.items()) if small else (),
        mistakes=None if small else _mistakes(confusions),
        classes=_class_table(known, label),
        curves=_curves(pair),
        others=_others(known),
        chosen=label,
    )
    parts = (section.pictures, section.matrices, section.mistakes, section.classes, section.others)
    return section if any(parts) or section.curves else None


def _details(run: Run, records: Sequence[NetworkRecord]) -> dict[str, Details]:
    """By label: the prototype, then the reported networks."""
    found = {}
    for role in ("prototype", "generated"):
        for record in records:
            if record.role == role and "details" in record.files:
                details = read_details(run.path / record.files["details"])
                if details is not None:
                    found["prototype" if role == "prototype" else f"seed {record.seed}"] = details
    return found


def _pictures(run: Run) -> Pictures | None:
    read = read_pictures(run.path)
    if read is None or not read[0].rows:
        return None
    found, files = read
    uris = {name: f"data:image/png;base64,{base64.b64encode(data).decode()}" for name, data in files.items()}

    def shown(label: str, picture: Picture) -> Shown:
        return Shown(label, picture.caption, uris[picture.file])

    groups: dict[str, list[tuple[Shown, ...]]] = {}
    for row in found.rows:
        answers = (shown(label, answer) for label, answer in zip(found.networks, row.answers, strict=True))
        groups.setdefault(row.chosen, []).append((shown("truth", row.truth), *answers))
    alike = all(answer.file == row.truth.file for row in found.rows for answer in row.answers)
    return Pictures(
        source=found.source,
        rule=found.rule,
        labels=("truth", *found.networks),
        groups=tuple(Group(chosen, tuple(rows)) for chosen, rows in groups.items()),
        alike=alike,
        tiny=max(found.width, found.height) <= _TINY,
    )


def _matrix(label: str, confusion: Confusion) -> Matrix:
    rows = tuple(
        (name, tuple(100.0 * count / total if total else 0.0 for count in counts), total)
        for name, counts, total in zip(confusion.classes, confusion.counts, confusion.totals, strict=True)
    )
    return Matrix(label, confusion.classes, rows)


def _mistakes(confusions: Mapping[str, Confusion]) -> Mistakes | None:
    last = list(confusions.values())[-1]
    rows = tuple(
        (truth, answer, tuple(_share(found, truth, answer) for found in confusions.values()))
        for truth, answer, _ in last.pairs[:_PAIRS]
    )
    return Mistakes(tuple(confusions), rows, len(last.classes)) if rows else None


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


def _class_table(known: Mapping[str, Details], chosen: str) -> ClassTable | None:
    shown = {name: found for name, found in known.items() if found.per_class}
    if len(shown) > _NETWORKS + 1:
        names = [*dict.fromkeys(("prototype", chosen, *shown))][: _NETWORKS + 1]
        shown = {name: found for name, found in shown.items() if name in names}
    if "prototype" not in shown:
        return None
    reference, network = shown["prototype"], shown.get(chosen, shown["prototype"])
    metric = reference.metric
    # With many classes, those are shown that changed most.
    order = list(reference.per_class)
    if len(order) > _ROWS:
        worst = sorted(order, key=lambda name: network.per_class.get(name, 0.0) - reference.per_class[name])
        order = worst[:_ROWS]
    rows = tuple(
        (
            name,
            tuple(
                formatting.figure(metric.name, found.per_class[name]) if name in found.per_class else _DASH
                for found in shown.values()
            ),
            _change(metric, reference.per_class[name], network.per_class.get(name)),
        )
        for name in order
    )
    label = formatting.titled(METRICS[metric.name].label)
    return ClassTable(label, tuple(shown), chosen, rows, len(reference.per_class) - len(order))


def _change(metric: Metric, before: float, after: float | None) -> str:
    if after is None:
        return _DASH
    one, two = (Metric(metric.name, value, metric.provenance) for value in (after, before))
    return formatting.compare(one, two)


def _others(known: Mapping[str, Details]) -> OtherTable | None:
    names = list(dict.fromkeys(metric.name for found in known.values() for metric in found.others))
    if not names:
        return None
    rows = []
    for label, found in known.items():
        values = {metric.name: metric for metric in found.others}
        cells = tuple(
            (formatting.figure(name, values[name].value), formatting.interval(values[name]))
            if name in values
            else (_DASH, "")
            for name in names
        )
        rows.append((label, cells))
    labels = (METRICS[name].label for name in names)
    return OtherTable(tuple(formatting.titled(label) for label in labels), tuple(rows))


def _curves(pair: Mapping[str, Details]) -> tuple[plots.Figure, ...]:
    names = list(dict.fromkeys(name for found in pair.values() for name in found.curves))[:_CURVES]
    drawn = []
    for index, name in enumerate(names):
        curves: dict[str, CurvePoints] = {
            label: found.curves[name] for label, found in pair.items() if name in found.curves
        }
        values = {
            label: formatting.figure(found.metric.name, found.per_class[name])
            for label, found in pair.items()
            if name in found.per_class
        }
        drawn.append(plots.recall_curves(index, name, curves, values))
    return tuple(drawn)
