"""The universal performance function ``U`` (arXiv 1809.05989, eq. 1): what "better" means.

``U`` is computed from metrics by name. It never holds a floor or a ceiling: those are requirements.
A function that also offers :class:`Differentiable` lets the inquisitor take its exact gradient; any
other callable is accepted, and then the inquisitor learns it from examples.
"""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import torch
from torch import Tensor

from edgesynth.errors import InputError, JobError

__all__ = [
    "PERFORMANCES",
    "CustomScore",
    "Differentiable",
    "EnergyAwareScore",
    "InformationDensity",
    "NetScore",
    "Performance",
    "Quality",
    "as_performance",
    "performance_by_name",
]

_LEAST_PERCENT: Final = 1e-3


class Performance(Protocol):
    """A performance function; larger is better."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """The metrics it reads."""
        ...

    def __call__(self, metrics: Mapping[str, float], /) -> float:
        """Score a network whose :attr:`needs` are all known.

        One that has no form for tensors is also asked about values nearby, where metrics have intervals.
        """
        ...


@runtime_checkable
class Differentiable(Protocol):
    """A performance function that also works on tensors, so that its gradient can be taken."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The metrics it reads."""
        ...

    def tensor(self, metrics: Mapping[str, Tensor], /) -> Tensor:
        """Score many networks at once: each metric and the result have the same shape."""
        ...


@dataclass(frozen=True)
class _QualityScore(ABC):
    """A differentiable score of the task's quality and, mostly, of what it costs.

    Attributes:
        quality: The task's quality metric, a fraction in 0..1.
    """

    quality: str = "accuracy"

    @property
    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """The metrics it reads."""

    @abstractmethod
    def tensor(self, metrics: Mapping[str, Tensor], /) -> Tensor:
        """Score many networks at once."""

    def __call__(self, metrics: Mapping[str, float], /) -> float:
        """Score one network."""
        return _scalar(self, metrics)


@dataclass(frozen=True)
class NetScore(_QualityScore):
    """NetScore, ``20 log10(a^2 / (sqrt(p) sqrt(m)))`` (A. Wong, arXiv 1806.05512).

    ``a`` is the task quality in percent, ``p`` the parameters in millions, ``m`` the MACs in billions.
    """

    name: str = "netscore"

    @property
    def needs(self) -> tuple[str, ...]:
        """The metrics it reads."""
        return (self.quality, "parameters", "macs")

    def tensor(self, metrics: Mapping[str, Tensor], /) -> Tensor:
        """Score many networks at once."""
        percent = (100.0 * metrics[self.quality]).clamp_min(_LEAST_PERCENT)
        cost = (metrics["parameters"] / 1e6).log10() + (metrics["macs"] / 1e9).log10()
        return 40.0 * percent.log10() - 10.0 * cost


@dataclass(frozen=True)
class InformationDensity(_QualityScore):
    """Quality in percent per million parameters (arXiv 1809.05989, section 3)."""

    name: str = "information_density"

    @property
    def needs(self) -> tuple[str, ...]:
        """The metrics it reads."""
        return (self.quality, "parameters")

    def tensor(self, metrics: Mapping[str, Tensor], /) -> Tensor:
        """Score many networks at once."""
        return 100.0 * metrics[self.quality] / (metrics["parameters"] / 1e6)


@dataclass(frozen=True)
class EnergyAwareScore(_QualityScore):
    """Quality against energy on the device, ``20 log10(a^2 sqrt(e))``: ours, in NetScore's manner.

    ``a`` is the task quality in percent and ``e`` the inferences per joule: twice the inferences per
    joule are worth 3 points, as much as NetScore gives for half the MACs at equal parameters.
    """

    name: str = "energy_aware"

    @property
    def needs(self) -> tuple[str, ...]:
        """The metrics it reads."""
        return (self.quality, "inferences_per_joule")

    def tensor(self, metrics: Mapping[str, Tensor], /) -> Tensor:
        """Score many networks at once."""
        percent = (100.0 * metrics[self.quality]).clamp_min(_LEAST_PERCENT)
        return 40.0 * percent.log10() + 10.0 * metrics["inferences_per_joule"].log10()


@dataclass(frozen=True)
class Quality(_QualityScore):
    """Task quality in percent and nothing else: for jobs whose requirements already say what it may cost."""

    name: str = "quality"

    @property
    def needs(self) -> tuple[str, ...]:
        """The metrics it reads."""
        return (self.quality,)

    def tensor(self, metrics: Mapping[str, Tensor], /) -> Tensor:
        """Score many networks at once."""
        return 100.0 * metrics[self.quality]


@dataclass(frozen=True)
class CustomScore:
    """A user's own function of the metrics.

    Attributes:
        function: Called with a mapping from metric name to value; larger is better.
        needs: The metrics it reads.
        name: What tables call it.
    """

    function: Callable[[Mapping[str, float]], float]
    needs: tuple[str, ...]
    name: str

    def __call__(self, metrics: Mapping[str, float], /) -> float:
        """Score one network."""
        return float(self.function(metrics))


PERFORMANCES: Final[dict[str, Callable[[str], Performance]]] = {
    "netscore": NetScore,
    "information_density": InformationDensity,
    "energy_aware": EnergyAwareScore,
    "quality": Quality,
}
"""Performance functions by the name a job file uses; each takes the task's quality metric."""


def performance_by_name(name: str, quality: str = "accuracy") -> Performance:
    """Make the performance function a job file names.

    Raises:
        JobError: No function has this name; the nearest one is suggested.
    """
    if name in PERFORMANCES:
        return PERFORMANCES[name](quality)
    near = difflib.get_close_matches(name, PERFORMANCES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known names: {', '.join(PERFORMANCES)}"
    raise JobError(f"unknown performance function {name!r}; {hint}")


def as_performance(function: Performance | Callable[[Mapping[str, float]], float]) -> Performance:
    """Accept a performance function, or any callable on a mapping of metrics.

    Which metrics a plain callable reads is found by calling it once with every metric at 1.

    Raises:
        InputError: It is a class, or the callable fails on that call, or reads no metric.
    """
    if isinstance(function, type):
        raise InputError(
            f"the performance function is a class, {function.__name__}; write {function.__name__}()"
        )
    name = str(getattr(function, "name", None) or getattr(function, "__name__", "custom"))
    needs = getattr(function, "needs", None)
    if needs is not None:
        if isinstance(getattr(function, "name", None), str):
            return function  # type: ignore[return-value]
        return CustomScore(function, tuple(needs), name)
    reader = _Reader()
    try:
        float(function(reader))
    except Exception as error:
        raise InputError(
            f"the performance function {name!r} failed when every metric is 1: {error}; "
            "give it a `needs` attribute (a tuple of metric names) to skip this check"
        ) from error
    if not reader.names:
        raise InputError(f"the performance function {name!r} reads no metric; it must depend on one")
    return CustomScore(function, tuple(reader.names), name)


class _Reader(Mapping[str, float]):
    """Answers 1 for every metric, and remembers which were read."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def __getitem__(self, name: str) -> float:
        self.names[name] = None
        return 1.0

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def _scalar(function: Differentiable, metrics: Mapping[str, float]) -> float:
    """One formula for floats and tensors alike."""
    missing = [name for name in function.needs if name not in metrics]
    if missing:
        raise InputError(f"the performance function needs {missing}, got only {sorted(metrics)}")
    values = {name: torch.tensor(float(metrics[name]), dtype=torch.float64) for name in function.needs}
    score = float(function.tensor(values))
    return score if not math.isnan(score) else -math.inf
