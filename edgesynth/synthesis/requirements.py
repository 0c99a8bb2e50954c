"""The operational requirements ``r`` and their indicator ``1_r`` (arXiv 1809.05989, eq. 1).

A requirement bounds one metric from one side. The indicator is hard: it is judged, never traded
against performance. How a value was obtained decides what it can prove:

=================  ==========================================================================
provenance         what it proves
=================  ==========================================================================
computed           exact: satisfied or violated
measured           satisfied or violated; inconclusive when its interval straddles the bound
simulated          as measured, but the best verdict is ``satisfied (simulated)``
predicted          nothing: unknown
(missing)          nothing: unknown
=================  ==========================================================================

**Sign convention, everywhere in this package: a margin is negative when the bound is violated.**
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from edgesynth.errors import RequirementError
from edgesynth.metrics import SHARES, Metric, Provenance, metric_kind

__all__ = ["Judgement", "Requirement", "Requirements", "Sense", "Verdict", "VerdictStatus"]

Sense = Literal[">=", "<="]

_SUFFIXES: Final = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "%": 1e-2}
_NUMBER: Final = r"[+-]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_BOUND: Final = re.compile(rf"^(>=|<=|≥|≤)\s*({_NUMBER})\s*([kKMG%]?)$")
_RANGE: Final = re.compile(rf"^({_NUMBER})\s*([kKMG%]?)\s*\.\.\s*({_NUMBER})\s*([kKMG%]?)$")


class VerdictStatus(StrEnum):
    """What is known about one requirement."""

    SATISFIED = "satisfied"
    SIMULATED = "satisfied (simulated)"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Requirement:
    """One bound on one metric.

    Attributes:
        metric: A key of :data:`edgesynth.metrics.METRICS`.
        sense: ``>=`` (a floor) or ``<=`` (a ceiling); bounds are closed.
        bound: The bound, in the unit of the metric.
    """

    metric: str
    sense: Sense
    bound: float

    @property
    def text(self) -> str:
        """The stable text form, e.g. ``macs <= 4e+06``; it reads back to the same requirement."""
        return f"{self.metric} {self.condition}"

    @property
    def condition(self) -> str:
        """The text form without the metric, e.g. ``<= 4e+06``."""
        short = format(self.bound, ".6g")
        return f"{self.sense} {short if float(short) == self.bound else repr(self.bound)}"

    def margin(self, value: float) -> float:
        """How far ``value`` is inside the bound, relative to the bound; negative when violated."""
        distance = value - self.bound if self.sense == ">=" else self.bound - value
        return distance / (abs(self.bound) or 1.0)

    def satisfiable_by(self, closest: float) -> None:
        """Refuse a bound that not even the closest value meets.

        Raises:
            RequirementError: The message gives the requirement and that value.
        """
        if self.margin(closest) < 0:
            end, change = ("least", "raise it to at least") if self.sense == "<=" else ("most", "lower it to")
            raise RequirementError(
                f"requirement {self.text!r} cannot be met: the {end} that was found is {self.metric} = "
                f"{closest:.6g}; {change} that, or free more dimensions of the prototype"
            )

    def judge(self, metric: Metric | None) -> Verdict:
        """Judge one value by the provenance rules of this module."""
        if metric is None or math.isnan(metric.value):
            return Verdict(self, VerdictStatus.UNKNOWN, metric, reason=f"{self.metric} was not obtained")
        margin = self.margin(metric.value)
        if metric.provenance is Provenance.PREDICTED:
            return Verdict(self, VerdictStatus.UNKNOWN, metric, margin, "predicted")
        if metric.provenance is not Provenance.COMPUTED and metric.interval is not None:
            ends = [self.margin(end) >= 0 for end in metric.interval]
            if any(ends) and not all(ends):
                low, high = metric.interval
                reason = f"the interval {low:.6g} .. {high:.6g} straddles the bound"
                return Verdict(self, VerdictStatus.INCONCLUSIVE, metric, margin, reason)
        if margin < 0:
            return Verdict(self, VerdictStatus.VIOLATED, metric, margin)
        if metric.provenance is Provenance.SIMULATED:
            return Verdict(self, VerdictStatus.SIMULATED, metric, margin)
        return Verdict(self, VerdictStatus.SATISFIED, metric, margin)


@dataclass(frozen=True)
class Verdict:
    """What one value proved about one requirement.

    Attributes:
        requirement: The bound.
        status: What is known about it.
        metric: The value that was judged; ``None`` when there was none.
        margin: Its margin relative to the bound, negative when violated; ``None`` when there is no value.
        reason: Why the status is neither satisfied nor violated.
    """

    requirement: Requirement
    status: VerdictStatus
    metric: Metric | None = None
    margin: float | None = None
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether the bound holds, be it on the simulated board."""
        return self.status in {VerdictStatus.SATISFIED, VerdictStatus.SIMULATED}

    @property
    def text(self) -> str:
        """The status, with its reason when there is one."""
        return f"{self.status}: {self.reason}" if self.reason else str(self.status)

    def to_json(self) -> dict[str, Any]:
        """The JSON form that stores and ``--json`` use."""
        return {
            "requirement": self.requirement.text,
            "status": str(self.status),
            "metric": self.metric.to_json() if self.metric else None,
            "margin": self.margin,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Judgement:
    """The indicator ``1_r`` of one network, requirement by requirement."""

    verdicts: tuple[Verdict, ...]

    def __bool__(self) -> bool:
        return self.feasible

    @property
    def feasible(self) -> bool:
        """Whether every requirement is satisfied, counting the simulated board."""
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def verified(self) -> bool:
        """Whether every requirement is satisfied with nothing simulated."""
        return all(verdict.status is VerdictStatus.SATISFIED for verdict in self.verdicts)

    @property
    def binding(self) -> Requirement | None:
        """The requirement with the smallest margin: the worst violation, else the tightest bound."""
        known = [verdict for verdict in self.verdicts if verdict.margin is not None]
        if not known:
            return None
        return min(known, key=lambda verdict: verdict.margin or 0.0).requirement

    @property
    def violation(self) -> float:
        """The sum of the relative violations of the known values; 0 when none is violated."""
        return sum(max(0.0, -(verdict.margin or 0.0)) for verdict in self.verdicts)

    def statuses(self) -> dict[str, str]:
        """Verdict text by requirement text, as network records keep it."""
        return {verdict.requirement.text: str(verdict.status) for verdict in self.verdicts}

    def to_json(self) -> dict[str, Any]:
        """The JSON form that stores and ``--json`` use."""
        binding = self.binding
        return {
            "feasible": self.feasible,
            "verified": self.verified,
            "binding": binding.text if binding else None,
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
        }


class Requirements:
    """Every bound a network must hold, as a job file writes them.

    Usage::

        Requirements({"accuracy": ">= 0.92", "macs": "<= 4M"})
        Requirements({"latency_ms": "2 .. 10", "power_mean_mw": [">= 1k", "<= 7.5k"]})

    Args:
        bounds: By metric name: ``">= x"``, ``"<= x"``, ``"low .. high"``, or a list of them. A number
            may end in ``k``, ``M``, ``G`` or ``%``.

    Raises:
        RequirementError: A name is unknown, a bound cannot be read, or bounds contradict each other.
    """

    def __init__(self, bounds: Mapping[str, str | Sequence[str]]) -> None:
        if not isinstance(bounds, Mapping):
            raise RequirementError(
                f'requirements go by metric name, got {bounds!r}; write e.g. {{"macs": "<= 4M"}}'
            )
        parsed: list[Requirement] = []
        for name, conditions in bounds.items():
            metric_kind(str(name))
            if isinstance(conditions, str):
                conditions = [conditions]  # noqa: PLW2901
            if not isinstance(conditions, Sequence):
                raise RequirementError(
                    f"the requirement on {name!r} is {conditions!r}; "
                    'write a bound as text, such as ">= 0.92" or "<= 4M"'
                )
            for condition in conditions:
                parsed.extend(_parse(name, condition))
        self._items = tuple(dict.fromkeys(parsed))
        self._refuse_contradictions()

    @classmethod
    def of(cls, bounds: Requirements | Mapping[str, str | Sequence[str]]) -> Requirements:
        """The requirements, be they given as such or in their mapping form."""
        return bounds if isinstance(bounds, Requirements) else cls(bounds)

    def __iter__(self) -> Iterator[Requirement]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Requirements) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        return f"Requirements({self.text!r})"

    @property
    def text(self) -> str:
        """The stable text form: every bound, joined by commas."""
        return ", ".join(item.text for item in self._items)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The bounded metrics, each once, in order."""
        return tuple(dict.fromkeys(item.metric for item in self._items))

    def judge(self, metrics: Mapping[str, Metric]) -> Judgement:
        """Judge a network by what is known of it; a missing metric is unknown, never a pass."""
        return Judgement(tuple(item.judge(metrics.get(item.metric)) for item in self._items))

    def satisfiable_by(
        self,
        least: Mapping[str, float | Metric],
        most: Mapping[str, float | Metric] | None = None,
    ) -> None:
        """Check ceilings against the least that computed metrics can be, floors against the most.

        Args:
            least: Of each metric, over all networks; ceilings on other metrics are skipped.
            most: Likewise; floors on other metrics are skipped.

        Raises:
            RequirementError: As of :meth:`Requirement.satisfiable_by`.
        """
        for item in self._items:
            known = least if item.sense == "<=" else most or {}
            if item.metric not in known:
                continue
            given = known[item.metric]
            item.satisfiable_by(given.value if isinstance(given, Metric) else float(given))

    def vector(self, reference: Requirements | None = None) -> tuple[float, ...]:
        """Encode the bounds for the generator's input.

        Args:
            reference: The requirements that encode to zeros; by default these ones.

        Returns:
            One number per bound of the reference: the natural logarithm of the ratio of the bounds
            where both are positive, else their difference relative to the reference's bound.

        Raises:
            RequirementError: The two do not bound the same metrics from the same sides.
        """
        reference = self if reference is None else reference
        mine = {(item.metric, item.sense): item.bound for item in self._items}
        theirs = {(item.metric, item.sense): item.bound for item in reference._items}
        if mine.keys() != theirs.keys():
            raise RequirementError(
                f"the generator was taught bounds on {sorted({m for m, _ in theirs})} "
                f"({reference.text}), got {self.text!r}; give a bound for each of them, on the same side"
            )
        return tuple(
            math.log(mine[key] / bound)
            if bound > 0 and mine[key] > 0
            else (mine[key] - bound) / (abs(bound) or 1.0)
            for key, bound in theirs.items()
        )

    def moved(self, vector: Iterable[float]) -> Requirements:
        """The requirements whose :meth:`vector` against these is the given one."""
        bounds: dict[str, list[str]] = {}
        for item, ratio in zip(self._items, vector, strict=True):
            apart = item.bound + ratio * (abs(item.bound) or 1.0)
            bound = float(item.bound * math.exp(ratio) if item.bound > 0 else apart)
            bounds.setdefault(item.metric, []).append(f"{item.sense} {bound!r}")
        return Requirements(bounds)

    def replaced(self, others: Requirements) -> Requirements:
        """These requirements with the others' bounds in place of those on the same metric and side.

        Raises:
            RequirementError: There is no such bound to replace.
        """
        mine = {(item.metric, item.sense): item for item in self._items}
        for item in others:
            if (item.metric, item.sense) not in mine:
                raise RequirementError(
                    f"{item.text!r} replaces no requirement; those that can be replaced: {self.text}"
                )
            mine[item.metric, item.sense] = item
        return Requirements(
            {name: [i.condition for i in mine.values() if i.metric == name] for name in self.metrics}
        )

    def to_json(self) -> dict[str, list[str]]:
        """The JSON form: conditions by metric, which :meth:`from_json` and a job file read."""
        return {
            name: [item.condition for item in self._items if item.metric == name] for name in self.metrics
        }

    @classmethod
    def from_json(cls, data: Mapping[str, str | Sequence[str]]) -> Requirements:
        """Read what :meth:`to_json` wrote."""
        return cls(data)

    def _refuse_contradictions(self) -> None:
        for name in self.metrics:
            floors = [item for item in self._items if item.metric == name and item.sense == ">="]
            ceilings = [item for item in self._items if item.metric == name and item.sense == "<="]
            if len(floors) > 1 or len(ceilings) > 1:
                twice = (floors if len(floors) > 1 else ceilings)[:2]
                raise RequirementError(
                    f"{twice[0].text!r} and {twice[1].text!r} bound {name} from the same side; keep one"
                )
            if floors and ceilings and floors[0].bound > ceilings[0].bound:
                raise RequirementError(
                    f"{floors[0].text!r} and {ceilings[0].text!r} contradict each other; swap or widen them"
                )


def _parse(name: str, condition: object) -> list[Requirement]:
    """Read one condition; a range gives two requirements."""
    if not isinstance(condition, str):
        raise RequirementError(
            f'the requirement on {name!r} is {condition!r}; write ">= {condition}" or "<= {condition}"'
        )
    text = condition.strip()
    if match := _RANGE.match(text):
        low, low_suffix, high, high_suffix = match.groups()
        pairs: list[tuple[Sense, str, str]] = [(">=", low, low_suffix), ("<=", high, high_suffix)]
    elif match := _BOUND.match(text):
        sense, number, suffix = match.groups()
        pairs = [(">=" if sense in {">=", "≥"} else "<=", number, suffix)]
    elif re.match(r"^[<>](?!=)", text):
        raise RequirementError(
            f"the requirement on {name!r} is {condition!r}; bounds are closed, write {text[0]}= instead"
        )
    else:
        raise RequirementError(
            f"the requirement on {name!r} cannot be read: {condition!r}; "
            'write ">= 0.92", "<= 4M" or "0.1 .. 0.2"'
        )
    found = [Requirement(name, sense, float(number) * _SUFFIXES[suffix]) for sense, number, suffix in pairs]
    for item in found:
        if not math.isfinite(item.bound):
            raise RequirementError(f"the requirement on {name!r} is not finite: {condition!r}")
        if name in SHARES and not 0 <= item.bound <= 1:
            raise RequirementError(
                f"the requirement on {name!r} is {condition!r}, but {name} lies in 0 .. 1; "
                f'write "{item.sense} {item.bound / 100:g}" or "{item.sense} {item.bound:g}%"'
            )
    return found
