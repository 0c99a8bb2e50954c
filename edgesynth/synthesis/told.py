"""What was told of one architecture: read, refused where it cannot be, and carried over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from edgesynth.errors import InputError
from edgesynth.metrics import SHARES, Metric, Provenance, impossible, metric_kind
from edgesynth.synthesis.checks import number

__all__ = ["Mean", "Told"]

_FORGOTTEN: Final = 0.05
"""An observation worth less than this many fresh ones is dropped."""

_SUREST: Final = 0.03
"""The least that a deviation counts beside another: intervals without width are not believed to the end."""


@dataclass(frozen=True)
class Mean:
    """The mean of repeated noisy observations of one metric, the surer ones counting more.

    Attributes:
        value: The weighted mean.
        weight: How many observations it is worth.
        deviation: Of one such observation, in the unit of the metric, as intervals tell; ``None`` where any
            of them came without one.
    """

    value: float
    weight: float = 1.0
    deviation: float | None = None

    def joined(self, other: Mean) -> Mean:
        """The mean of both: by one over the variance where both are known, else as of observations alike."""
        weight, mine, its = self.weight + other.weight, self.weight, other.weight
        deviation = None
        if self.deviation is not None and other.deviation is not None:
            most = max(self.deviation, other.deviation)
            one, two = (
                max(each, _SUREST * most) / (most or 1.0) for each in (self.deviation, other.deviation)
            )
            mine, its = (mine / one**2, its / two**2) if most > 0 else (mine, its)
            deviation = most * math.sqrt(weight / (mine + its))
        return Mean((self.value * mine + other.value * its) / (mine + its), weight, deviation)

    def to_json(self) -> list[float | None]:
        """The JSON form."""
        return [self.value, self.weight, self.deviation]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> Mean:
        """Read what :meth:`to_json` gave; the first versions knew no deviation.

        Raises:
            ValueError: It cannot be one.
        """
        value, weight, deviation = (None if part is None else float(part) for part in (*data, None)[:3])
        if value is None or weight is None or not (math.isfinite(value) and 0 < weight < math.inf):
            raise ValueError(f"no mean: {list(data)}")
        if deviation is not None and not 0 <= deviation < math.inf:
            raise ValueError(f"no deviation: {deviation}")
        return cls(value, weight, deviation)


@dataclass
class Told:
    """What was told of one architecture.

    Attributes:
        values: What was observed, by metric.
        pinned: What holds for good and never drifts, by metric.
        slack: By metric, the distance from value to the (low, high) end of its last interval.
        failures: Why evaluations failed.
        successes: How many did not fail.
        responses: Probe responses by name.
        stale: Whether an observation has drifted so far that it was dropped.
    """

    values: dict[str, Mean] = field(default_factory=dict)
    pinned: dict[str, Mean] = field(default_factory=dict)
    slack: dict[str, tuple[float, float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    successes: int = 0
    responses: dict[str, float] = field(default_factory=dict)
    stale: bool = False

    @classmethod
    def read(
        cls,
        metrics: Mapping[str, Metric | float] | str,
        responses: Mapping[str, float] | None = None,
        *,
        pinned: bool = False,
    ) -> Told:
        """One observation. Predicted values teach nothing; a value that is not finite is a failure.

        Raises:
            InputError: Nothing was told, or something that cannot be: no number, a share outside of 0..1, a
                cost that is not positive, an interval that is not finite, a response that is no number.
            RequirementError: A metric has an unknown name.
        """
        told = cls(responses=_responses(responses))
        if isinstance(metrics, str):
            told.failures.append(metrics)
            return told
        if not isinstance(metrics, Mapping):
            raise InputError(
                f"what was told of an architecture is {metrics!r}; give its values by metric name, such as "
                '{"accuracy": 0.9}, or the reason why its evaluation failed'
            )
        values = told.pinned if pinned else told.values
        failure = ""
        for name, metric in metrics.items():
            if isinstance(metric, Metric) and metric.name != name:
                raise InputError(f"{name!r} was told a metric {metric.name!r}; tell it under its own name")
            metric_kind(str(name))
            if isinstance(metric, Metric) and metric.provenance is Provenance.PREDICTED:
                continue
            value = number(name, metric.value if isinstance(metric, Metric) else metric)
            if not math.isfinite(value):
                failure = f"{name} is {value}"
                continue
            ends = metric.interval if isinstance(metric, Metric) else None
            if wrong := impossible(name, value, ends):
                raise InputError(f"an architecture was told {wrong}")
            values[name] = Mean(value, deviation=metric.deviation if isinstance(metric, Metric) else None)
            if ends is not None:
                told.slack[name] = (value - ends[0], ends[1] - value)
        if failure:
            told.failures.append(failure)
        elif values:
            told.successes = 1
        elif not told.responses:
            raise InputError(
                f"nothing was told of an architecture{': every value is predicted' if metrics else ''}; tell "
                "what was measured or computed, or the reason why its evaluation failed"
            )
        return told

    @property
    def evaluated(self) -> bool:
        """Whether anything but probe responses was told."""
        return bool(self.values or self.pinned or self.failures)

    @property
    def tries(self) -> int:
        """How often an evaluation was tried."""
        return self.successes + len(self.failures)

    @property
    def metrics(self) -> set[str]:
        """The metrics of which there is a value."""
        return {*self.values, *self.pinned}

    def mean(self, metric: str) -> Mean:
        """All that was told of a metric; not a number, with weight 1, if there is nothing."""
        seen, pinned = self.values.get(metric), self.pinned.get(metric)
        if seen is not None and pinned is not None:
            return seen.joined(pinned)
        return seen or pinned or Mean(math.nan)

    def add(self, other: Told) -> None:
        """Take in another observation of the same architecture."""
        for mine, new in ((self.values, other.values), (self.pinned, other.pinned)):
            for name, value in new.items():
                mine[name] = mine[name].joined(value) if name in mine else value
        self.slack.update(other.slack)
        self.responses.update(other.responses)
        self.failures.extend(other.failures)
        self.successes += other.successes
        self.stale = self.stale and not other.evaluated

    def drift(self, metric: str, offset: float, trust: float) -> None:
        """Shift and discount what was told of a metric; fractions stay within 0..1."""
        if metric not in self.values:
            return
        told = self.values.pop(metric)
        weight, moved = trust * told.weight, told.value + offset
        if weight < _FORGOTTEN:
            self.stale = True
            return
        value = min(1.0, max(0.0, moved)) if metric in SHARES else moved
        self.values[metric] = replace(told, value=value, weight=weight)

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "values": {name: mean.to_json() for name, mean in self.values.items()},
            "pinned": {name: mean.to_json() for name, mean in self.pinned.items()},
            "slack": {name: list(ends) for name, ends in self.slack.items()},
            "failures": list(self.failures),
            "successes": self.successes,
            "responses": dict(self.responses),
            "stale": self.stale,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Told:
        """Read what :meth:`to_json` gave."""
        return cls(
            {name: Mean.from_json(mean) for name, mean in data["values"].items()},
            {name: Mean.from_json(mean) for name, mean in data["pinned"].items()},
            {name: (float(low), float(high)) for name, (low, high) in data["slack"].items()},
            list(data["failures"]),
            int(data["successes"]),
            {name: float(v) for name, v in data["responses"].items()},
            bool(data["stale"]),
        )


def _responses(responses: Mapping[str, float] | None) -> dict[str, float]:
    """Responses by name, without those that are not finite: a stimulus may make a network overflow."""
    if responses is None:
        return {}
    if not isinstance(responses, Mapping):
        raise InputError(f"probe responses go by dimension.stimulus, got {responses!r}; give a mapping")
    read = {name: number(f"the probe response {name!r}", value) for name, value in responses.items()}
    for name in read:
        if not isinstance(name, str):
            raise InputError(f"probe responses go by dimension.stimulus, got {name!r}; give a text")
    return {name: value for name, value in read.items() if math.isfinite(value)}
