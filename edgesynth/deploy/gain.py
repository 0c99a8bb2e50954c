"""What a lower precision gains on a board, measured there: a reason to use it, or to stay with a higher one.

Latency is measured first, in seconds, as the time of a call on the GPU: what a precision changes. Energy is
measured only where latency does not tell, since it needs a load that lasts longer than a power sensor
averages. The lower precision is measured before and after the higher one, so that a board that warms up or is
busier for a while favours neither, and the worse of its two figures counts: it has to lie beyond the other's
interval, and by more than clocks wander.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgesynth.errors import DeviceError, LinkError, MeasurementError
from edgesynth.metrics import Metric
from edgesynth.profiler import MeasurementPlan, profile
from edgesynth.profiler.judgement import judge_latency
from edgesynth.profiler.profile import bench_request
from edgesynth.profiler.surroundings import settle_doubt

if TYPE_CHECKING:
    from edgesynth.deploy.engine import EngineOnBoard
    from edgesynth.devices import Device, Precision

__all__ = ["Gain", "Made", "measure_gain"]

_LEAST: Final = 0.01
"""Share by which one must be better: medians of one engine differ by less from pass to pass."""
_LATENCY_S: Final = 5.0
"""The longest that calls are timed for."""


@dataclass(frozen=True)
class Made:
    """An engine in one precision.

    Attributes:
        precision: Which one.
        engine: On the board.
        cuda_graph: Whether its calls are launched as a CUDA graph.
    """

    precision: Precision
    engine: EngineOnBoard
    cuda_graph: bool = False


@dataclass(frozen=True)
class Gain:
    """A precision and the next higher one that the network runs in, measured one after the other.

    Attributes:
        precision: The lower one.
        higher: The other one.
        figures: By metric, what was measured of the lower and of the higher one.
        doubt: Why there is nothing to compare; empty where there is.
    """

    precision: str
    higher: str
    figures: Mapping[str, tuple[Metric, Metric]]
    doubt: str = ""

    @property
    def worthwhile(self) -> bool:
        """Whether the lower precision is faster or more efficient."""
        return any(_better(*pair) for pair in self.figures.values())

    @property
    def says(self) -> str:
        """What was found in a sentence, and what to do where nothing was."""
        if self.doubt:
            return (
                f"whether {self.precision} is faster than {self.higher} here could not be measured "
                f"({self.doubt}); ask for it with --precision {self.precision}, or repeat"
            )
        told = [_told(name, *pair, self.higher) for name, pair in self.figures.items()]
        return f"{self.precision} is measured {', and '.join(told)}"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "precision": self.precision,
            "higher": self.higher,
            "worthwhile": self.worthwhile,
            "says": self.says,
            "doubt": self.doubt,
            "figures": {
                name: {self.precision: lower.to_json(), self.higher: higher.to_json()}
                for name, (lower, higher) in self.figures.items()
            },
        }


def measure_gain(device: Device, source: Path, lower: Made, higher: Made) -> Gain:
    """Measure two engines of a network on a board, as far as it takes to tell which is better.

    Args:
        device: Open, and a board.
        source: The network's file, which names it.
        lower: In the lower precision.
        higher: In the higher one.

    Raises:
        LinkError: The connection was lost.
    """
    found = Gain(lower.precision, higher.precision, {})
    ways: dict[str, Callable[[Made], Metric]] = {"latency_ms": lambda made: _latency(device, made)}
    if device.profile.sensor is not None:
        ways["inferences_per_joule"] = lambda made: _efficiency(device, source, made)
    for name, measured in ways.items():
        try:
            first, other, second = (measured(made) for made in (lower, higher, lower))
        except LinkError:
            raise
        except DeviceError as error:
            return found if found.figures else replace(found, doubt=str(error))
        worse = max((first, second), key=_badness)
        found = replace(found, figures={**found.figures, name: (worse, other)})
        if found.worthwhile:
            return found
    return found


def _latency(device: Device, made: Made) -> Metric:
    """The median time of a call on the GPU, where the board tells that, else as its caller sees it.

    Raises:
        MeasurementError: It was not steady, twice.
    """
    plan = replace(_plan(made), window_s=0.0, latency_limit_s=_LATENCY_S)
    request = bench_request({"model": made.engine.plan}, device, plan)
    for attempt in range(plan.attempts):
        if attempt:
            device.clock.sleep(plan.cool_down_s)
        recording = device.bench(replace(request, attempt=attempt))
        if recording.failure:
            raise MeasurementError(recording.failure)
        times = recording.gpu_latencies_ms or recording.latencies_ms
        judged = judge_latency(times, plan, unsuited=settle_doubt(recording.conditions))
        if not judged.doubt:
            figure, source = judged.figures["latency_ms"], device.source(plan.precision, plan.batch)
            interval = (figure.low, figure.high)
            return Metric("latency_ms", figure.value, device.provenance, figure.samples, interval, source)
    raise MeasurementError(judged.doubt)


def _efficiency(device: Device, source: Path, made: Made) -> Metric:
    """Inferences per joule.

    Raises:
        MeasurementError: They could not be told.
    """
    told = profile(source, device, _plan(made), engine=made.engine.plan)
    if "inferences_per_joule" not in told.metrics:
        raise MeasurementError(told.reason or f"the board told no energy of {made.precision}")
    return told.metrics["inferences_per_joule"]


def _plan(made: Made) -> MeasurementPlan:
    return MeasurementPlan(made.precision, made.engine.batches.usual, cuda_graph=made.cuda_graph)


def _better(lower: Metric, higher: Metric) -> bool:
    """Whether the first is better than the second by more than their intervals and the least that counts."""
    one, other = lower.value, higher.value
    (low, high), (other_low, other_high) = lower.interval or (one, one), higher.interval or (other, other)
    if lower.name == "latency_ms":
        return high < other_low and one < other * (1 - _LEAST)
    return low > other_high and one > other * (1 + _LEAST)


def _badness(metric: Metric) -> float:
    return metric.value if metric.name == "latency_ms" else -metric.value


def _told(name: str, lower: Metric, higher: Metric, than: str) -> str:
    one, other = lower.value, higher.value
    if name == "latency_ms":
        how = f"{other / one:.2f} times as fast" if _better(lower, higher) else "no faster"
        return f"{how} ({one:.3g} ms a call, {other:.3g} ms in {than})"
    how = f"{one / other:.2f} times as efficient" if _better(lower, higher) else "no more efficient"
    return f"{how} ({one:.3g} inferences per joule, {other:.3g} in {than})"
