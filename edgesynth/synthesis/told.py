"""What was told of one architecture: read, refused where it cannot be, and carried over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.errors import InputError
from edgesynth.metrics import SHARES, Metric, Provenance, impossible, metric_kind
from edgesynth.synthesis.checks import number

__all__ = ["Mean", "Told", "relative_noise"]

_FORGOTTEN: Final = 0.05
"""An observation worth less than this many fresh ones is dropped."""

_SHARED: Final = 0.003
"""Noise that no interval tells of, over the usual: a model that is not quite right, most of all."""

_SUREST: Final = 1e-3
"""The least that one variance counts over another: intervals without width are not believed to the end."""


@dataclass(frozen=True)
class Mean:
    """The mean of repeated noisy observations of one metric, the surer ones counting more.

    Attributes:
        value: The weighted mean.
        weight: How many fresh observations of this variance it is worth.
        variance: Of one observation, in the unit of the metric squared, as its interval tells; ``None`` where
            it came without one.
    """

    value: float
    weight: float = 1.0
    variance: float | None = None

    def joined(self, other: Mean) -> Mean:
        """The mean of both, each weighted by one over its variance (where both have one)."""
        its = other.weight * self._as_many(other)
        weight = self.weight + its
        variance = other.variance if self.variance is None else self.variance
        return Mean((self.value * self.weight + other.value * its) / weight, weight, variance)

    def _as_many(self, other: Mean) -> float:
        """How many observations like these one of the other's is worth."""
        if self.variance is None or other.variance is None or self.variance == other.variance:
            return 1.0
        least = _SUREST * max(self.variance, other.variance)
        return max(self.variance, least) / max(other.variance, least)

    def to_json(self) -> list[float | None]:
        """The JSON form."""
        return [self.value, self.weight, self.variance]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> Mean:
        """Read what :meth:`to_json` gave; the first versions knew no variance."""
        value, weight, variance = (*data, None)[:3]
        return cls(float(value), float(weight), None if variance is None else float(variance))


def relative_noise(means: Sequence[Mean]) -> NDArray[np.float64]:
    """How noisy each of several means is, over a single observation of the usual width: ``[N]``.

    Intervals say little of how noisy networks are beside each other, which were judged on the same samples;
    but which of them are the surer ones, they do say. Those that came without one are as usual.
    """
    known = [mean.variance for mean in means if mean.variance is not None]
    usual = sum(known) / max(1, len(known))
    noise = np.array([1.0 / mean.weight for mean in means])
    if usual > 0:
        own = np.array([usual if mean.variance is None else mean.variance for mean in means])
        noise *= (own / usual + _SHARED) / (1.0 + _SHARED)
    return noise


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
            values[name] = Mean(value, variance=metric.variance if isinstance(metric, Metric) else None)
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
