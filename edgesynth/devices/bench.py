"""What host and device say to each other about one benchmark.

The host starts a bench program over the link and writes one :class:`BenchRequest` as JSON to its input.
The program answers with one JSON object per line, each with an ``event``:

======== ================================= ==================================================
event    other keys                        meaning
======== ================================= ==================================================
start    any conditions                    the program runs; what it found (mode, versions)
alive                                      still working; resets the host's patience
latency  ``ms`` (list)                     times of single calls, in order
phase    ``name``, ``at``                  idle_before, load, idle_after or end begins
sensor   ``at``, ``line``                  one line of the power sensor's text
count    ``at``, ``calls``                 calls finished since the load began
end      ``memory_bytes``                  done
failed   ``reason``                        the network cannot run here: a result, not a fault
======== ================================= ==================================================

``at`` is the device's monotonic clock in seconds. Other lines, and events with impossible values, are counted
and skipped: boards print warnings, and a damaged line must not become a figure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

from edgesynth.devices.link import Line
from edgesynth.devices.profile import Precision
from edgesynth.errors import InputError, LinkError

__all__ = ["BenchRequest", "Phase", "Recording", "read_recording"]

Phase = Literal["idle_before", "load", "idle_after", "end"]

_PHASES: Final = ("idle_before", "load", "idle_after", "end")


@dataclass(frozen=True)
class BenchRequest:
    """What the bench program is asked to do.

    Attributes:
        network: A workload in JSON form, or ``{"model": path on the device}``.
        precision: Numeric precision.
        batch: Samples per call.
        warm_up_s: How long to run before timing.
        latency_runs: Single calls to time.
        latency_limit_s: Stop timing after this long, with fewer calls.
        idle_s: Rest before and after the load; 0 together with ``load_s`` 0 skips the power pass.
        load_s: How long to run back to back while power is read.
        rate_hz: Power samples per second.
        mode: Power mode to be in.
        attempt: Counted from 0; a repeated measurement says so.
    """

    network: Mapping[str, Any]
    precision: Precision
    batch: int
    warm_up_s: float
    latency_runs: int
    latency_limit_s: float
    idle_s: float
    load_s: float
    rate_hz: float
    mode: str
    attempt: int = 0

    def to_json(self) -> str:
        """One line."""
        return json.dumps(vars(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises:
            InputError: It is not a request.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise InputError(f"not a bench request: {error}") from error


@dataclass(frozen=True)
class Recording:
    """Everything a bench program reported, before any judgement.

    Attributes:
        conditions: What the program found when it started.
        latencies_ms: Times of single calls in order.
        sensor: Lines of the power sensor's text with their time stamps.
        phases: When each phase of the power pass began.
        counts: (when, calls finished since the load began), in order.
        memory_bytes: Device memory the network took, if known.
        failure: Why the network cannot run on the device; empty when it ran.
        skipped_lines: Lines that were no event.
    """

    conditions: Mapping[str, Any] = field(default_factory=dict)
    latencies_ms: tuple[float, ...] = ()
    sensor: tuple[Line, ...] = ()
    phases: Mapping[str, float] = field(default_factory=dict)
    counts: tuple[tuple[float, int], ...] = ()
    memory_bytes: int | None = None
    failure: str = ""
    skipped_lines: int = 0


def read_recording(lines: Iterable[Line]) -> Recording:
    """Collect the events of one bench program.

    Raises:
        LinkError: The output ended without a result, or the stream broke.
    """
    conditions: dict[str, Any] = {}
    latencies: list[float] = []
    sensor: list[Line] = []
    phases: dict[str, float] = {}
    counts: list[tuple[float, int]] = []
    memory: int | None = None
    failure = ""
    skipped = 0
    ended = False
    for line in lines:
        try:
            event = json.loads(line.text)
            kind = event["event"]
            if kind == "sensor":
                sensor.append(Line(_instant(event, sensor[-1].at_s if sensor else 0.0), str(event["line"])))
            elif kind == "latency":
                latencies.extend([_positive(value) for value in event["ms"]])
            elif kind == "count":
                counts.append((_instant(event, counts[-1][0] if counts else 0.0), int(event["calls"])))
            elif kind == "phase" and event["name"] in _PHASES:
                phases[event["name"]] = _instant(event, max(phases.values(), default=0.0))
            elif kind == "start":
                conditions.update({key: value for key, value in event.items() if key != "event"})
            elif kind == "end":
                memory = None if event.get("memory_bytes") is None else int(event["memory_bytes"])
                ended = True
            elif kind == "failed":
                failure = str(event["reason"])
                ended = True
            elif kind != "alive":
                skipped += 1
        except (ValueError, TypeError, KeyError):
            skipped += 1
    if not ended:
        raise LinkError(
            f"the bench program ended without a result after {len(latencies)} latencies and {len(sensor)} "
            "power samples; look at the device's own log"
        )
    return Recording(
        conditions=conditions,
        latencies_ms=tuple(latencies),
        sensor=tuple(sensor),
        phases=phases,
        counts=tuple(counts),
        memory_bytes=memory,
        failure=failure,
        skipped_lines=skipped,
    )


def _instant(event: Mapping[str, Any], earliest_s: float) -> float:
    """The event's time stamp; one that went back cannot be integrated over."""
    at_s = float(event["at"])
    if not earliest_s <= at_s < math.inf:
        raise ValueError(f"time stamp {at_s} before {earliest_s}")
    return at_s


def _positive(value: float) -> float:
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{number} is no duration")
    return number
