"""What a run found, as rows: prototype first, then the networks it generated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from edgesynth.metrics import METRICS, SHARES, Metric, Provenance
from edgesynth.report import formatting
from edgesynth.runs.records import NetworkRecord, Role, Status
from edgesynth.runs.run import Run

__all__ = [
    "COLUMNS",
    "Headline",
    "RequirementRow",
    "SummaryCell",
    "SummaryRow",
    "chosen_network",
    "headlines",
    "is_feasible",
    "quality_metric",
    "requirement_rows",
    "summary_table",
    "weakest",
]

COLUMNS: Final = ("macs", "parameters", "netscore", "latency_ms", "inferences_per_joule")
"""Metrics of the headline table, after task quality."""

_NOUNS: Final = {
    "accuracy": "of accuracy",
    "miou": "of mean IoU",
    "map50": "of mAP@.5",
    "map": "of mAP",
    "latency_ms": "(median latency)",
}
_SATISFIED: Final = frozenset({"satisfied", "satisfied (simulated)"})


@dataclass(frozen=True)
class SummaryCell:
    """One figure of one network.

    Attributes:
        metric: The value with its provenance.
        text: The value for people, with its unit.
        interval: The 95 % interval for people; empty when there is none.
        comparison: The change against the prototype in words; empty for the prototype itself.
        improvement: How many times better than the prototype; ``None`` where a ratio means nothing.
    """

    metric: Metric
    text: str
    interval: str
    comparison: str = ""
    improvement: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The form that ``--json`` prints."""
        return {**self.metric.to_json(), "improvement": self.improvement}


@dataclass(frozen=True)
class SummaryRow:
    """One network of the headline table.

    Attributes:
        label: What the table calls it: ``prototype`` or ``seed 1000``.
        key: Identity of its architecture.
        role: ``prototype`` or ``generated``.
        seed: The seed it came from, if any.
        status: ``ok``, ``inconclusive`` or ``failed``.
        reason: Why the status is not ``ok``.
        feasible: Whether every requirement is satisfied, counting the simulated board; ``None`` when
            none was judged.
        cells: Figures by metric name, on test data where there are some.
    """

    label: str
    key: str
    role: Role
    seed: int | None
    status: Status
    reason: str
    feasible: bool | None
    cells: Mapping[str, SummaryCell]

    def to_json(self) -> dict[str, Any]:
        """The form that ``--json`` prints."""
        return {
            "label": self.label,
            "key": self.key,
            "role": self.role,
            "seed": self.seed,
            "status": self.status,
            "reason": self.reason,
            "feasible": self.feasible,
            "metrics": {name: cell.to_json() for name, cell in self.cells.items()},
        }


@dataclass(frozen=True)
class Headline:
    """One figure of the family against the prototype: the median over the generated networks.

    Attributes:
        name: The metric.
        amount: How much it changed: ``10.3×`` or ``−0.42``.
        words: Of what: ``fewer MACs``.
        spread: From the worst to the best network; empty when they are alike.
        networks: How many networks stand behind it.
        provenance: That of the least certain value in it.
    """

    name: str
    amount: str
    words: str
    spread: str
    networks: int
    provenance: Provenance


@dataclass(frozen=True)
class RequirementRow:
    """One requirement, and how prototype and generated networks stand to it.

    Attributes:
        text: The requirement for people.
        prototype: The prototype's value and verdict; empty when unknown.
        prototype_verdict: The prototype's verdict; empty when it was not judged.
        networks: The range over the judged networks.
        verdicts: How many networks got which verdict, most frequent first.
        provenance: How the networks' values were obtained.
        source: On what they were obtained.
    """

    text: str
    prototype: str
    prototype_verdict: str
    networks: str
    verdicts: tuple[tuple[str, int], ...]
    provenance: tuple[str, ...]
    source: str


def summary_table(run: Run) -> list[SummaryRow]:
    """The headline table: the prototype, then every generated network in the order it was drawn."""
    prototypes, generated = run.networks("prototype"), run.networks("generated")
    columns = (quality_metric((*prototypes, *generated)), *COLUMNS)
    reference = _figures(prototypes[0]) if prototypes else {}
    return [_row(record, columns, reference) for record in (*prototypes, *generated)]


def quality_metric(records: Iterable[NetworkRecord]) -> str:
    """The name of the task's metric in these records; ``accuracy`` when there are none."""
    for record in records:
        for name in (*record.metrics, *record.test_metrics):
            if name in SHARES:
                return name
    return "accuracy"


def is_feasible(record: NetworkRecord) -> bool | None:
    """Whether every requirement was satisfied; ``None`` when none was judged."""
    return all(v in _SATISFIED for v in record.verdicts.values()) if record.verdicts else None


def chosen_network(records: Iterable[NetworkRecord]) -> NetworkRecord | None:
    """The network to look at closely: feasible if any is, generated if any is, then by NetScore."""

    def rank(record: NetworkRecord) -> tuple[bool, bool, float]:
        score = _figures(record).get("netscore")
        value = score.value if score and not math.isnan(score.value) else -math.inf
        return bool(is_feasible(record)), record.role == "generated", value

    usable = [record for record in records if record.role != "prototype" and record.status != "failed"]
    return max(usable, key=rank, default=None)


def headlines(rows: Iterable[SummaryRow]) -> list[Headline]:
    """The family in a few figures: change of quality, then every ratio, as median and range."""
    rows = list(rows)
    prototype = next((row for row in rows if row.role == "prototype"), None)
    family = [row for row in rows if row.role == "generated" and row.status != "failed"]
    if prototype is None:
        return []
    out = []
    for name, reference in prototype.cells.items():
        cells = [row.cells[name] for row in family if name in row.cells]
        if not cells or name == "netscore":
            continue
        values = sorted((cell.metric.value for cell in cells), reverse=METRICS[name].better == "lower")
        changes = [
            _change(name, value, reference.metric) for value in (median(values), values[0], values[-1])
        ]
        (amount, word), *ends = changes
        shared = {end[1] for end in ends} == {word}
        spread = dict.fromkeys(end[0] if shared else " ".join(end) for end in ends)
        out.append(
            Headline(
                name=name,
                amount=amount,
                words=f"{word} {_NOUNS.get(name, METRICS[name].label)}".strip(),
                spread=" to ".join(spread) if len(spread) > 1 else "",
                networks=len(cells),
                provenance=weakest(cell.metric.provenance for cell in (*cells, reference)),
            )
        )
    return out


def requirement_rows(records: Iterable[NetworkRecord]) -> list[RequirementRow]:
    """Every requirement that was judged, over the generated networks or, without any, all candidates."""
    records = list(records)
    prototype = next((record for record in records if record.role == "prototype"), None)
    judged = [r for r in records if r.role == "generated"] or [r for r in records if r.role == "candidate"]
    texts = dict.fromkeys(text for record in (*judged, prototype) if record for text in record.verdicts)
    out = []
    for text in texts:
        name = text.partition(" ")[0]
        metrics = [record.metrics[name] for record in judged if name in record.metrics]
        own = prototype.metrics.get(name) if prototype else None
        ends = dict.fromkeys(
            formatting.figure(name, end(metric.value for metric in metrics)) for end in (min, max) if metrics
        )
        out.append(
            RequirementRow(
                text=formatting.requirement(text),
                prototype=formatting.figure(name, own.value) if own else "",
                prototype_verdict=prototype.verdicts.get(text, "") if prototype else "",
                networks=" to ".join(ends),
                verdicts=tuple(Counter(r.verdicts.get(text, "unknown") for r in judged).most_common()),
                provenance=tuple(sorted({str(metric.provenance) for metric in metrics})),
                source=", ".join(dict.fromkeys(metric.source for metric in metrics if metric.source)),
            )
        )
    return out


def weakest(provenances: Iterable[Provenance]) -> Provenance:
    """The provenance that a figure made of several others has: that of the least certain one."""
    order = (Provenance.COMPUTED, Provenance.MEASURED, Provenance.SIMULATED, Provenance.PREDICTED)
    return max(provenances, key=order.index)


def _figures(record: NetworkRecord) -> dict[str, Metric]:
    # Select on validation data, report on test data.
    return {**record.metrics, **record.test_metrics}


def _row(record: NetworkRecord, columns: Iterable[str], reference: Mapping[str, Metric]) -> SummaryRow:
    figures = _figures(record)
    cells = {}
    for name in columns:
        metric = figures.get(name)
        if metric is None:
            continue
        against = reference.get(name) if record.role != "prototype" else None
        cells[name] = SummaryCell(
            metric,
            formatting.figure(name, metric.value),
            formatting.interval(metric),
            formatting.compare(metric, against) if against else "",
            formatting.improvement(metric, against) if against else None,
        )
    label = "prototype" if record.role == "prototype" else f"seed {record.seed}"
    return SummaryRow(
        label,
        record.key,
        record.role,
        record.seed,
        record.status,
        record.reason,
        is_feasible(record),
        cells,
    )


def _change(name: str, value: float, reference: Metric) -> tuple[str, str]:
    return formatting.change(Metric(name, value, reference.provenance), reference)
