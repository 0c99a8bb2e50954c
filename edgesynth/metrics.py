"""What a figure is: a value, its unit, where it came from, and how sure we are of it."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from edgesynth.errors import InputError, RequirementError

__all__ = [
    "METRICS",
    "SHARES",
    "Z_95",
    "Metric",
    "MetricKind",
    "Provenance",
    "metric_kind",
    "own_metrics",
    "register_metric",
    "wilson_interval",
]


class Provenance(StrEnum):
    """How a value was obtained; printed beside every figure."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    PREDICTED = "predicted"
    COMPUTED = "computed"


@dataclass(frozen=True)
class MetricKind:
    """The definition of a metric, independent of any value.

    Attributes:
        name: The key used in requirements, job files, stores and tables.
        label: The words used in tables and plots.
        unit: The unit of every value under this name; empty when dimensionless.
        better: Whether more or less of it is wanted.
        source: ``task`` (needs data), ``network`` (computed from the graph) or ``device``.
        energy: Whether it needs a power counter.
        share: Whether its values lie between 0 and 1 and people read them in percent.
    """

    name: str
    label: str
    unit: str
    better: Literal["higher", "lower"]
    source: Literal["task", "network", "device"]
    energy: bool = False
    share: bool = False

    def to_json(self) -> dict[str, Any]:
        """The JSON form that runs keep, so that they can be read where no task defines the metric."""
        return asdict(self)


METRICS: Final[dict[str, MetricKind]] = {
    kind.name: kind
    for kind in (
        MetricKind("accuracy", "accuracy", "", "higher", "task", share=True),
        MetricKind("miou", "mean IoU", "", "higher", "task", share=True),
        MetricKind("pixel_accuracy", "pixel accuracy", "", "higher", "task", share=True),
        MetricKind("map", "mAP@[.5:.95]", "", "higher", "task", share=True),
        MetricKind("map50", "mAP@.5", "", "higher", "task", share=True),
        MetricKind("macs", "MACs", "", "lower", "network"),
        MetricKind("parameters", "parameters", "", "lower", "network"),
        MetricKind("bytes", "weight bytes", "B", "lower", "network"),
        MetricKind("netscore", "NetScore", "", "higher", "task"),
        MetricKind("information_density", "information density", "%/M", "higher", "task"),
        MetricKind("latency_ms", "latency (median)", "ms", "lower", "device"),
        MetricKind("latency_p90_ms", "latency (p90)", "ms", "lower", "device"),
        MetricKind("latency_p99_ms", "latency (p99)", "ms", "lower", "device"),
        MetricKind("throughput_ips", "throughput", "1/s", "higher", "device"),
        MetricKind("inferences_per_joule", "inferences per joule", "1/J", "higher", "device", True),
        MetricKind(
            "inferences_per_joule_dynamic",
            "inferences per joule (dynamic)",
            "1/J",
            "higher",
            "device",
            True,
        ),
        MetricKind("energy_mj", "energy per inference", "mJ", "lower", "device", True),
        MetricKind("power_mean_mw", "mean power", "mW", "lower", "device", True),
        MetricKind("power_peak_mw", "peak power", "mW", "lower", "device", True),
        MetricKind("memory_peak_bytes", "peak memory", "B", "lower", "device"),
    )
}
"""Every metric a requirement may bound, by name; :func:`register_metric` adds to them."""

SHARES: Final[list[str]] = [kind.name for kind in METRICS.values() if kind.share]
"""Metrics between 0 and 1 that people read in percent."""

Z_95: Final = 1.959964
"""Standard deviations from a mean to either end of its 95 % interval."""

_ROUNDING: Final = 1e-6
"""How far outside of 0..1 rounding may leave a share."""

_BUILT_IN: Final = frozenset(METRICS)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


def register_metric(kind: MetricKind) -> MetricKind:
    """Make a metric of your own task known to requirements, job files, runs, tables and reports.

    Call it where the task is defined, so that whoever imports the task knows the metric. The same
    definition may be registered any number of times. What a task is scored by (``Task.metric``)
    must be a share of which more is better; what a score has besides (``Score.others``) may be any.

        register_metric(MetricKind("pck", "PCK@0.1", "", "higher", "task", share=True))

    Args:
        kind: With ``source="task"``: what networks cost and what devices measure is not for tasks to define.

    Returns:
        The kind.

    Raises:
        InputError: The name is no lower-case identifier or means something else already, or the kind cannot
            be one of a task.
    """
    if not _NAME.fullmatch(kind.name):
        raise InputError(
            f"a metric's name has lower-case letters, digits and '_', got {kind.name!r}; choose e.g. 'pck'"
        )
    if kind.source != "task" or kind.energy:
        raise InputError(
            f"the metric {kind.name!r} is of a {kind.source}; only those of tasks can be registered, with "
            "source='task'"
        )
    if kind.better not in ("higher", "lower") or not kind.label:
        raise InputError(
            f"the metric {kind.name!r} needs a label, and better='higher' or 'lower'; "
            f"got {kind.label!r} and {kind.better!r}"
        )
    if METRICS.setdefault(kind.name, kind) != kind:
        raise InputError(
            f"the metric {kind.name!r} is already defined as {METRICS[kind.name]}; choose another name"
        )
    if kind.share and kind.name not in SHARES:
        SHARES.append(kind.name)
    return kind


def own_metrics() -> tuple[MetricKind, ...]:
    """The metrics that :func:`register_metric` added, in that order."""
    return tuple(kind for name, kind in METRICS.items() if name not in _BUILT_IN)


def metric_kind(name: str) -> MetricKind:
    """Look a metric up by name.

    Raises:
        RequirementError: No metric has this name; the nearest one is suggested.
    """
    import difflib

    try:
        return METRICS[name]
    except KeyError:
        near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known metrics: {', '.join(METRICS)}"
        raise RequirementError(
            f"unknown metric {name!r}; {hint} (a task's own is made known by edgesynth.register_metric)"
        ) from None


def impossible(name: str, value: float, interval: tuple[float, float] | None = None) -> str:
    """What is wrong with a value that no network can have, or with its interval; empty where nothing is.

    Args:
        name: Of the metric.
        value: Finite, or not judged.
        interval: Its 95 % confidence interval.
    """
    kind = metric_kind(name)
    if interval is not None and not (interval[0] <= interval[1] and math.isfinite(interval[1] - interval[0])):
        return f"the interval of {name} is {interval[0]:g} .. {interval[1]:g}; give finite ends in order"
    if not math.isfinite(value):
        return ""
    if kind.share and not -_ROUNDING <= value <= 1 + _ROUNDING:
        return f"{name} = {value:g}; give a share in 0 .. 1, such as 0.93 for 93 %"
    if (kind.source == "network" and value <= 0) or (kind.source == "device" and value < 0):
        least = "above 0" if kind.source == "network" else "not below 0"
        return f"{name} = {value:g}; that of a network is {least}"
    return ""


@dataclass(frozen=True)
class Metric:
    """One value with its provenance.

    Attributes:
        name: A key of :data:`METRICS`.
        value: The value, in the unit of its kind.
        provenance: How it was obtained.
        samples: How many independent samples stand behind it; 0 when it is exact or predicted.
        interval: The 95 % confidence interval (low, high); ``None`` when the value is exact.
        source: On what it was obtained: a data split, or a device with its clocks.
    """

    name: str
    value: float
    provenance: Provenance
    samples: int = 0
    interval: tuple[float, float] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse names that no requirement could refer to."""
        metric_kind(self.name)

    @property
    def unit(self) -> str:
        """The unit of :attr:`value`."""
        return METRICS[self.name].unit

    @property
    def deviation(self) -> float | None:
        """The value's standard deviation, as its 95 % interval tells: 0 if computed, ``None`` if unknown."""
        if self.interval is None:
            return 0.0 if self.provenance is Provenance.COMPUTED else None
        return (self.interval[1] - self.interval[0]) / (2 * Z_95)

    def to_json(self) -> dict[str, Any]:
        """The JSON form that stores and ``--json`` use."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "provenance": str(self.provenance),
            "samples": self.samples,
            "interval": list(self.interval) if self.interval else None,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Metric:
        """Read what :meth:`to_json` wrote."""
        low_high = data.get("interval")
        return cls(
            name=data["name"],
            value=float(data["value"]),
            provenance=Provenance(data["provenance"]),
            samples=int(data.get("samples", 0)),
            interval=(float(low_high[0]), float(low_high[1])) if low_high else None,
            source=data.get("source", ""),
        )


def wilson_interval(successes: float, samples: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a proportion (E. B. Wilson, JASA 22, 1927).

    Args:
        successes: How many of the samples succeeded.
        samples: How many samples were drawn, at least one.
        z: The quantile of the normal distribution; the default gives 95 %.
    """
    share = successes / samples
    scale = 1.0 + z * z / samples
    centre = (share + z * z / (2 * samples)) / scale
    half = z * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)
