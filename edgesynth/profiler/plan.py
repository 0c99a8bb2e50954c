"""How a network is measured: the plan a measurement follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from edgesynth.devices import Precision
from edgesynth.errors import InputError

__all__ = ["MeasurementPlan"]


@dataclass(frozen=True)
class MeasurementPlan:
    """How long and how often.

    The defaults are for search; :meth:`report` is for figures that are published.

    Attributes:
        precision: Numeric precision.
        batch: Samples per call.
        warm_up_s: How long to run before timing, at least; clocks settle in it. A host then times calls for
            three times as long at least, but no more than 3 s of them: see ``devices/latency_pass.py``.
        latency_runs: Single calls to time; of a host, at least. The 99th percentile has an interval from 368
            on.
        latency_limit_s: Stop timing after this long, with fewer calls.
        idle_s: Rest before and after the load, for the dynamic figure.
        window_s: How long power is integrated; the load runs ``settle_s`` longer. 0 leaves power out.
        settle_s: Start of the load that is not integrated: the sensor still averages the rest before it.
        rate_hz: Power samples per second; the device's own rate is the limit. More of them than the sensor's
            averaging window holds apart say nothing new.
        cool_down_s: Rest before a measurement is repeated.
        attempts: How often to try before the measurement stays inconclusive.
        layer_runs: Calls of a last pass that tells how long every layer takes; 0 skips it. Of a GPU of this
            machine torch tells, and ONNX Runtime does not.
        cuda_graph: Whether a board launches calls as a CUDA graph, where the engine can be recorded. Figures
            with and without one are not comparable; conditions and sources say which they are.
        warm_up_limit_s: A warm-up goes on until the latency has settled, but not for longer; 0 is three
            times ``warm_up_s`` and five seconds. What has not settled by then is inconclusive.
    """

    precision: Precision = "fp16"
    batch: int = 1
    warm_up_s: float = 1.0
    latency_runs: int = 400
    latency_limit_s: float = 10.0
    idle_s: float = 2.0
    window_s: float = 10.0
    settle_s: float = 1.0
    rate_hz: float = 5.0
    cool_down_s: float = 5.0
    attempts: int = 2
    layer_runs: int = 0
    cuda_graph: bool = False
    warm_up_limit_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse plans that cannot give a figure."""
        for name, least in (
            ("batch", 1),
            ("latency_runs", 10),
            ("latency_limit_s", 0.1),
            ("window_s", 2.0 if self.window_s else 0.0),
            ("rate_hz", 0.1),
            ("attempts", 1),
            ("warm_up_s", 0.0),
            ("warm_up_limit_s", 0.0),
            ("idle_s", 0.0),
            ("settle_s", 0.0),
            ("cool_down_s", 0.0),
            ("layer_runs", 0),
        ):
            if not getattr(self, name) >= least:
                raise InputError(
                    f"measurement plan: {name} must be at least {least}, got {getattr(self, name)}"
                )

    @classmethod
    def report(
        cls,
        precision: Precision = "fp16",
        batch: int = 1,
        window_s: float = 30.0,
        *,
        cuda_graph: bool = False,
    ) -> Self:
        """The plan for figures that are reported: a window of 30 s and a thousand calls.

        Args:
            precision: Numeric precision.
            batch: Samples per call.
            window_s: How long power is integrated; the rests before and after take a third of it each.
            cuda_graph: Whether a board launches calls as a CUDA graph.
        """
        return cls(
            precision=precision,
            batch=batch,
            warm_up_s=3.0,
            latency_runs=1000,
            latency_limit_s=60.0,
            idle_s=window_s / 3,
            window_s=window_s,
            rate_hz=10.0,
            layer_runs=50,
            cuda_graph=cuda_graph,
        )
