"""What the networks answer, for the report: pictures side by side, classes, mistakes, curves."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgesynth.metrics import METRICS, Metric, wilson_interval
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
_OF_A_CLASS: Final = {"miou": "IoU", "map50": "AP@.5", "map": "AP@[.5:.95]"}
"""What a metric is called where it is of one class, and no mean."""
_COUNTED: Final = {"accuracy": "test samples", "miou": "test pixels"}
_WORDS: Final = re.compile(r"(?P<said>.*?)(?: (?P<sure>\d+%))?(?: (?P<mark>[✓✗]))?")


@dataclass(frozen=True)
class Shown:
    """One picture on the page.

    Attributes:
        label: Whose answer it is.
        caption: The answer in words.
        uri: The PNG file itself, as a data URI.
        said: The words without how sure the network is and whether it is right.
        sure: How sure it is; empty where that is not told.
        mark: ``✓`` or ``✗``; empty likewise.
    """

    label: str
    caption: str
    uri: str
    said: str
    sure: str
    mark: str

    @classmethod
    def of(cls, label: str, picture: Picture, uri: str) -> Shown:
        """With the words taken apart, so that they can stand in columns."""
        parts = _WORDS.fullmatch(picture.caption)
        said, sure, mark = parts.group("said", "sure", "mark") if parts else (picture.caption, None, None)
        sure = (sure or "").replace("%", "\N{NARROW NO-BREAK SPACE}%")
        return cls(label, picture.caption, uri, said, sure, mark or "")


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
        legend: Classes and their colours; no colour for those that leave the picture as it is.
        reading: What else is drawn.
    """

    source: str
    rule: str
    labels: tuple[str, ...]
    groups: tuple[Group, ...]
    alike: bool
    tiny: bool
    legend: tuple[tuple[str, str], ...]
    reading: str


@dataclass(frozen=True)
class Matrix:
    """One confusion matrix.

    Attributes:
        label: Of which network.
        classes: Names.
        rows: Per true class its name, the share of each answer in percent, and how often it was true.
        counted: What is counted.
    """

    label: str
    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...], int], ...]
    counted: str


@dataclass(frozen=True)
class Mistakes:
    """The most frequent mistakes, where there are too many classes for a matrix.

    Attributes:
        labels: The networks.
        rows: Truth, answer, the share of the truth per network, empty where it is not known, and how often
            that was true.
        classes: How many classes there are.
        counted: What is counted.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[str, ...], int], ...]
    classes: int
    counted: str


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
        curves_of: How many classes have some.
        others: Other metrics.
        chosen: The network beside the prototype.
    """

    source: str
    pictures: Pictures | None
    matrices: tuple[Matrix, ...]
    mistakes: Mistakes | None
    classes: ClassTable | None
    curves: tuple[plots.Figure, ...]
    curves_of: int
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
        matrices=tuple(_matrix(name, known[name]) for name in confusions) if small else (),
        mistakes=None if small else _mistakes(confusions, next(iter(pair.values()))),
        classes=_class_table(known, label),
        curves=_curves(pair),
        curves_of=len({name for found in pair.values() for name in found.curves}),
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
        return Shown.of(label, picture, uris[picture.file])

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
        legend=found.legend,
        reading=found.reading,
    )


def _matrix(label: str, details: Details) -> Matrix:
    confusion = details.confusion
    assert confusion is not None
    rows = tuple(
        (name, tuple(100.0 * count / total if total else 0.0 for count in counts), total)
        for name, counts, total in zip(confusion.classes, confusion.counts, confusion.totals, strict=True)
    )
    return Matrix(label, confusion.classes, rows, _COUNTED.get(details.metric.name, "times"))


def _mistakes(confusions: Mapping[str, Confusion], details: Details) -> Mistakes | None:
    last = list(confusions.values())[-1]
    totals = dict(zip(last.classes, last.totals, strict=True))
    rows = tuple(
        (truth, answer, tuple(_share(found, truth, answer) for found in confusions.values()), totals[truth])
        for truth, answer, _ in last.pairs[:_PAIRS]
    )
    counted = _COUNTED.get(details.metric.name, "times")
    return Mistakes(tuple(confusions), rows, len(last.classes), counted) if rows else None


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
    totals = {}
    if reference.confusion is not None and metric.name in _COUNTED:
        totals = dict(zip(reference.confusion.classes, reference.confusion.totals, strict=True))
    # With many classes, those are shown that lost most.
    order = list(reference.per_class)
    if len(order) > _ROWS:
        order = _by_loss(order, reference, network)[:_ROWS]
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
    return ClassTable(label, tuple(shown), chosen, rows, left_out, _COUNTED[metric.name] if totals else "")


def _by_loss(names: Sequence[str], reference: Details, network: Details) -> list[str]:
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


def _others(known: Mapping[str, Details]) -> OtherTable | None:
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


def _curves(pair: Mapping[str, Details]) -> tuple[plots.Figure, ...]:
    names = list(dict.fromkeys(name for found in pair.values() for name in found.curves))
    if len(names) > _CURVES:
        first, *_, last = (*pair.values(), *pair.values())
        names = _by_loss(names, first, last)[:_CURVES]
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
