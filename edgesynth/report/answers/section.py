"""The section of a report on what the networks answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgesynth.report import formatting, plots
from edgesynth.report.answers.confusion import Matrix, Mistakes, confused
from edgesynth.report.answers.pictures import Pictures, shown_pictures
from edgesynth.report.answers.tables import ClassTable, OtherTable, by_loss, class_table, other_table
from edgesynth.runs.details import CurvePoints, Details, read_details
from edgesynth.runs.records import NetworkRecord
from edgesynth.runs.run import Run

__all__ = ["AnswerSection", "answer_section"]

_CURVES: Final = 9
"""Classes whose curves are drawn at the most."""


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
    label = f"seed {chosen.seed}" if chosen is not None and chosen.role == "generated" else ""
    label = label if label in known else next((name for name in known if name != "prototype"), "prototype")
    pair = {name: known[name] for name in dict.fromkeys(("prototype", label)) if name in known}
    matrices, mistakes = confused(pair)
    section = AnswerSection(
        source=next((found.metric.source for found in known.values()), ""),
        pictures=shown_pictures(run),
        matrices=matrices,
        mistakes=mistakes,
        classes=class_table(known, label),
        curves=_curves(pair),
        curves_of=len({name for found in pair.values() for name in found.curves}),
        others=other_table(known),
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


def _curves(pair: Mapping[str, Details]) -> tuple[plots.Figure, ...]:
    names = list(dict.fromkeys(name for found in pair.values() for name in found.curves))
    if len(names) > _CURVES:
        first, *_, last = (*pair.values(), *pair.values())
        names = by_loss(names, first, last)[:_CURVES]
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
