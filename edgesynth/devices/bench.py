"""What host and device say to each other about one benchmark.

The host starts a bench program over the link and writes one :class:`BenchRequest` as JSON to its input.
The program answers with one JSON object per line, each with an ``event``:

========= ======================= ===================================================================
event     other keys              meaning
========= ======================= ===================================================================
start     any conditions          the program runs; what it found (mode, versions). A later one adds to it
alive                             still working, at least every 5 s; resets the host's patience
stage     ``name``, ``done`` ...  how far the builder of an engine is; see ``stage.py``
latency   ``ms``, ``gpu_ms``      times of single calls in order: of the caller, and of the GPU (optional)
reference ``ms``, ``medians_ms``  time of the reference load by block; medians of calls by stretch (optional)
layers    ``layers``              [name, mean time in ms] of layers as they run, in order (optional)
phase     ``name``, ``at``        idle_before, load, idle_after or end begins
sensor    ``at``, ``line``        one line of the power sensor's text
count     ``at``, ``calls``       calls finished since the load began
end       ``memory_bytes``        done
failed    ``reason``, ``kind``    the network cannot run here: a result, not a fault
error     ``reason``, ``kind``    the device could not do what was asked: nothing is said of the network
========= ======================= ===================================================================

``at`` is the device's monotonic clock in seconds. Other lines, and events with impossible values, are counted
and skipped: boards print warnings, and a damaged line must not become a figure. Of a ``start`` the conditions
that are impossible are left out; see ``facts.py``.

The sensor's text is a line of ``tegrastats``, whatever it was read from: where a board is read through sysfs,
its agent writes the same ``NAME 1234mW/1234mW`` fields, with the GPU clock before them where it is known.

An agent of a board says whether calls were launched as a CUDA graph, ``cuda_graph``, in a ``start``; with
``no_cuda_graph``, the reason, where they were to be and were not, and ``no_cuda_graphs_here``, whether that
holds for every network on this board.

How long the warm-up lasted is in a ``start``, ``warm_up_s``, and whether the latency had settled by then,
``settled``, which is null where too few calls fit in to tell. ``warm_up_trend`` is by which share it still
changed at the end. A program that tells none of them did not look.

A program that shares its processor with others may tell how long its threads waited for it, per time passed,
in a ``start``: ``waited_share`` of the latency pass and ``load_waited_share`` of the load. One that has a
reference load tells the times of calls as of one speed of the machine, at which the load takes ``speed_ms``;
how many ``blocks`` of calls there were, how many of them were ``blocks_at_speed``, the others being left out;
and the median of the calls as they were timed, ``latency_as_timed_ms``. See ``speed.py``.

A GPU that says why it slows its clocks does so in a ``start``: ``throttled`` names the reasons right after
the latency pass, ``load_throttled`` has the share of the readings under load by reason.

A sensor that prints far more than it was asked for does not fill the board's disk: how many of its lines were
left out is in a ``start``, ``sensor_lines_left_out``.

An agent that could not put the board back says so in a ``start``, ``not_put_back``: what is not as it was,
and what to do. ``mode_after`` is the power mode at the end; where it or the one before cannot be told,
``mode_unknown`` says why.

Kinds of ``failed`` are ``out_of_memory``, ``unsupported``, ``timeout`` and ``crash``. Kinds of ``error`` are
``sensor`` (no power rail), ``mode``, ``clocks``, ``request``, ``tensorrt``, ``cuda``, ``engine``, ``fault``;
``dla`` (there is no such core);
``disk`` (no space left); ``type`` (an output is not of the type that was said); and ``hung``,
``interrupted``, ``job`` (it is not there any more) and ``stale`` (a kept engine that was damaged), which may
go well the next time.

The agent of a board has more verbs than ``bench``: ``info`` answers with one event ``info`` (``facts``, and
``missing``: the reason of every fact that is null), ``build`` and ``clean`` with ``start`` and ``end``. See
``edgesynth/agent/program.py``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

from edgesynth.devices.facts import known_facts
from edgesynth.devices.link import Line, Link
from edgesynth.devices.message import DAMAGED
from edgesynth.devices.profile import Precision
from edgesynth.errors import (
    DeviceError,
    EdgesynthError,
    InputError,
    LinkError,
    MeasurementError,
    SensorError,
)

__all__ = ["BenchRequest", "Phase", "Recording", "Unfinished", "listen", "read_recording"]

Phase = Literal["idle_before", "load", "idle_after", "end"]

_PHASES: Final = ("idle_before", "load", "idle_after", "end")
_ERRORS: Final[Mapping[str, type[EdgesynthError]]] = {
    "sensor": SensorError,
    "hung": MeasurementError,
    "interrupted": MeasurementError,
    "stale": MeasurementError,
    "type": InputError,
    "job": MeasurementError,
}


class Unfinished(LinkError):
    """The output of a bench program came to its end, and held no result."""


@dataclass(frozen=True)
class BenchRequest:
    """What the bench program is asked to do.

    Attributes:
        network: A workload in JSON form, or ``{"model": path on the device}``.
        precision: Numeric precision.
        batch: Samples per call.
        warm_up_s: How long to run before timing, at least.
        latency_runs: Single calls to time; of a host, at least.
        latency_limit_s: Stop timing after this long, with fewer calls.
        idle_s: Rest before and after the load; 0 together with ``load_s`` 0 skips the power pass.
        load_s: How long to run back to back while power is read.
        rate_hz: Power samples per second.
        mode: Power mode to be in.
        attempt: Counted from 0; a repeated measurement says so.
        set_mode: Whether to change to ``mode``, and back afterwards; otherwise the device only says its mode.
        clocks: ``found``: leave them as they are; ``fixed``: hold them at the highest of the mode.
        rails: Power rails that must be readable; any will do when there are none.
        workspace_mb: Most scratch memory of an engine builder; 0 leaves it to the device.
        layer_runs: Calls of a last pass that tells the time of every layer, where the device can; 0 skips it.
        typed: Whether the types of the graph decide the precision, instead of flags of an engine builder.
        dla_core: Of a board: the core of its DLA to run on, with the GPU for what a DLA does not take.
        folder: Where the device keeps engines and jobs; empty leaves it to the device.
        cuda_graph: Whether calls are to be launched as a CUDA graph; the ``start`` says whether they were.
        warm_up_limit_s: Start timing after this long though the latency has not settled; 0 leaves it to the
            device.
        speed_ms: Of a host: time of its reference load at the speed at which calls count, ms; 0 to choose it,
            see ``speed.clear_speed``.
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
    set_mode: bool = False
    clocks: Literal["found", "fixed"] = "found"
    rails: tuple[str, ...] = ()
    workspace_mb: int = 0
    folder: str = ""
    layer_runs: int = 0
    typed: bool = False
    cuda_graph: bool = False
    dla_core: int | None = None
    warm_up_limit_s: float = 0.0
    speed_ms: float = 0.0

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
        latencies_ms: Times of single calls in order, as the caller sees them.
        gpu_latencies_ms: Their times on the GPU, where the program tells them.
        references_ms: Times of one run of a fixed load around each block of calls, where the program has one.
        medians_ms: The medians of the calls of every stretch of such blocks.
        layers: Name and mean time in ms of every layer as the device runs it, where it tells them.
        sensor: Lines of the power sensor's text with their time stamps.
        phases: When each phase of the power pass began.
        counts: (when, calls finished since the load began), in order.
        memory_bytes: Device memory the network took, if known.
        failure: Why the network cannot run on the device; empty when it ran.
        failure_kind: The same in one word, if it was told.
        skipped_lines: Lines that were no event, or not all of one.
    """

    conditions: Mapping[str, Any] = field(default_factory=dict)
    latencies_ms: tuple[float, ...] = ()
    gpu_latencies_ms: tuple[float, ...] = ()
    references_ms: tuple[float, ...] = ()
    medians_ms: tuple[float, ...] = ()
    layers: tuple[tuple[str, float], ...] = ()
    sensor: tuple[Line, ...] = ()
    phases: Mapping[str, float] = field(default_factory=dict)
    counts: tuple[tuple[float, int], ...] = ()
    memory_bytes: int | None = None
    failure: str = ""
    failure_kind: str = ""
    skipped_lines: int = 0


def listen(
    link: Link,
    command: Sequence[str],
    request: str,
    *,
    silence_s: float,
    through: Callable[[Iterable[Line]], Iterable[Line]] = iter,
    late: Callable[[Line], None] | None = None,
    mended: bool = False,
) -> Recording:
    """Start a bench program and collect what it tells.

    Args:
        link: To where it runs.
        command: The program.
        request: What it reads.
        silence_s: How long it may say nothing.
        through: Sees every line on its way.
        late: Sees what the program still says when it is ended before its time.
        mended: Whether a link that breaks is the caller's business, and not the end of the benchmark.

    Raises:
        LinkError: There is no such program; or, if it is to be mended, the link broke.
        MeasurementError: The device hung, or the program broke off without a result.
        SensorError: The device has no power rail that can be read.
        DeviceError: The device cannot do what was asked.
    """
    with link.stream(command, stdin=request, silence_s=silence_s) as stream:
        try:
            return read_recording(through(stream))
        except LinkError as error:
            if mended and not isinstance(error, Unfinished):
                raise
            told = stream.close().stderr.strip().splitlines()
            raise MeasurementError(f"{error}; it said: {told[-1]}" if told else str(error)) from error
        finally:
            if late is not None:
                for text in stream.close().stdout.splitlines():
                    late(Line(link.clock.monotonic(), text))


def read_recording(lines: Iterable[Line]) -> Recording:
    """Collect the events of one bench program.

    Raises:
        Unfinished: The output ended without a result.
        LinkError: The stream broke.
        SensorError: The device has no power rail that can be read.
        MeasurementError: The device broke off; it may go well the next time.
        DeviceError: The device cannot do what was asked.
    """
    conditions: dict[str, Any] = {}
    latencies: list[float] = []
    on_gpu: list[float] = []
    references: list[float] = []
    medians: list[float] = []
    layers: list[tuple[str, float]] = []
    sensor: list[Line] = []
    phases: dict[str, float] = {}
    counts: list[tuple[float, int]] = []
    memory: int | None = None
    failure = ""
    failure_kind = ""
    skipped = 0
    ended = False
    for line in lines:
        try:
            event = json.loads(line.text)
            kind = event["event"]
            _raise_error(event)
            if kind == "sensor":
                sensor.append(Line(_instant(event, sensor[-1].at_s if sensor else 0.0), str(event["line"])))
            elif kind == "latency":
                latencies.extend([_positive(value) for value in event["ms"]])
                on_gpu.extend([_positive(value) for value in event.get("gpu_ms", ())])
            elif kind in ("reference", "layers"):
                references.extend([_positive(value) for value in event.get("ms", ())])
                medians.extend([_positive(value) for value in event.get("medians_ms", ())])
                layers.extend([(str(name), _duration(ms)) for name, ms in event.get("layers", ())])
            elif kind == "count":
                counts.append((_instant(event, counts[-1][0] if counts else 0.0), int(event["calls"])))
            elif kind == "phase" and event["name"] in _PHASES:
                phases[event["name"]] = _instant(event, max(phases.values(), default=0.0))
            elif kind == "start":
                facts = known_facts(event)
                skipped += len(facts) < len(event) - 1
                conditions.update(facts)
            elif kind == "end":
                memory = None if event.get("memory_bytes") is None else int(event["memory_bytes"])
                ended = True
            elif kind == "failed":
                failure, failure_kind = str(event["reason"]), str(event.get("kind", ""))
                ended = True
            elif kind not in ("alive", "stage"):
                skipped += 1
        except DAMAGED:
            skipped += 1
    if not ended:
        raise Unfinished(
            f"the bench program ended without a result after {len(latencies)} latencies and {len(sensor)} "
            "power samples; look at the device's own log"
        )
    return Recording(
        conditions=conditions,
        latencies_ms=tuple(latencies),
        gpu_latencies_ms=tuple(on_gpu),
        references_ms=tuple(references),
        medians_ms=tuple(medians),
        layers=tuple(layers),
        sensor=tuple(sensor),
        phases=phases,
        counts=tuple(counts),
        memory_bytes=memory,
        failure=failure,
        failure_kind=failure_kind,
        skipped_lines=skipped,
    )


def _raise_error(event: Mapping[str, Any]) -> None:
    """Raise what an event ``error`` tells; do nothing for any other."""
    if event["event"] == "error":
        raise _ERRORS.get(event.get("kind", ""), DeviceError)(str(event["reason"]))


def _instant(event: Mapping[str, Any], earliest_s: float) -> float:
    """The event's time stamp; one that went back cannot be integrated over."""
    at_s = float(event["at"])
    if not earliest_s <= at_s < math.inf:
        raise ValueError(f"time stamp {at_s} before {earliest_s}")
    return at_s


def _duration(value: float) -> float:
    """Of a layer, which may take less than can be told."""
    return _positive(value) if value else 0.0


def _positive(value: float) -> float:
    if isinstance(value, str | bool):
        raise TypeError(f"{value!r} is no number")
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{number} is no duration")
    return number
