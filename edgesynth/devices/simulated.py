"""A board that is not there, behind the same link a real one is behind.

The bench program of the simulated board speaks the events of :mod:`edgesynth.devices.bench` and prints
``tegrastats`` text, so everything from the link upwards (events, parser, integrator, statistics,
judgement) is the code that measures real boards. Time is virtual, and everything follows from the seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from edgesynth.devices.bench import BenchRequest
from edgesynth.devices.clock import VirtualClock
from edgesynth.devices.link import Completed, Line
from edgesynth.devices.profile import Profile
from edgesynth.devices.roofline import Estimate, Roofline
from edgesynth.devices.sensor import PowerCurve, SimulatedSensor
from edgesynth.devices.workload import Workload
from edgesynth.errors import EdgesynthError, LinkError

__all__ = ["BENCH_COMMAND", "Faults", "SimulatedLink"]

BENCH_COMMAND = ("edgesynth-bench",)

Program: TypeAlias = Callable[[Sequence[str], str], Iterator[str]]


class _ExitError(Exception):
    """A program of the board ends with a status other than zero."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Faults:
    """How the board misbehaves, for trying out what happens then.

    Attributes:
        lost_rail: A rail that is missing from every line of the sensor.
        throttle_to_mhz: GPU clock that the board falls to in the middle of the load.
        drift: Relative growth of the latency over the latency pass.
        hang: The bench program stops talking when the load begins.
        crash: The bench program ends there instead.
        garbage_share: Share of sensor lines that are cut to nonsense.
        swapped_rails: A part rail reports more than the total.
        out_of_memory: The network does not fit.
        benches: How many benches misbehave before the board recovers; ``None`` for all.
    """

    lost_rail: str | None = None
    throttle_to_mhz: float | None = None
    drift: float = 0.0
    hang: bool = False
    crash: bool = False
    garbage_share: float = 0.0
    swapped_rails: bool = False
    out_of_memory: bool = False
    benches: int | None = None


class SimulatedStream:
    """The output of one program of the simulated board."""

    def __init__(self, lines: Iterator[str], clock: VirtualClock, silence_s: float) -> None:
        self._lines = lines
        self._clock = clock
        self._silence_s = silence_s
        self._ended = Completed(0, "", "")
        self._closed = False

    def __iter__(self) -> Iterator[Line]:
        """Yield lines; the board's clock moves while they are made."""
        while not self._closed:
            before = self._clock.monotonic()
            try:
                text = next(self._lines)
            except StopIteration:
                return
            except _ExitError as error:
                self._ended = Completed(error.status, "", f"{error}\n")
                return
            if self._clock.monotonic() - before > self._silence_s:
                self.close()
                raise LinkError(
                    f"the device printed nothing for {self._silence_s:g} s; "
                    "check that it is not busy or hung, then repeat"
                )
            yield Line(self._clock.monotonic(), text)

    def close(self) -> Completed:
        """End the program."""
        self._closed = True
        return self._ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class SimulatedLink:
    """A simulated board of one profile.

    Args:
        profile: Must have ``gpu``, ``rails``, ``sensor`` and ``simulation``.
        seed: Two boards of one seed behave alike; the noise of a bench depends on the seed and on what
            is benched, not on what was benched before, so a resumed run sees the same figures.
        faults: How it misbehaves.

    Raises:
        DeviceError: The profile cannot be simulated.
    """

    name = "simulated"

    def __init__(self, profile: Profile, *, seed: int = 0, faults: Faults | None = None) -> None:
        self.clock = VirtualClock()
        self._profile = profile
        self._seed = seed
        self._faults = faults or Faults()
        self._benches = 0
        self._files: dict[str, bytes] = {}
        self._closed = False
        Roofline(profile, profile.mode())  # refuses profiles that cannot be simulated, before any use
        self._programs: dict[str, Program] = {
            BENCH_COMMAND[0]: self._bench,
            "cat": self._cat,
            "echo": _echo,
            "false": _false,
            "nvpmodel": self._nvpmodel,
            "sleep": self._sleep,
            "tegrastats": self._tegrastats,
        }

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 30.0) -> Completed:
        """Run one of the board's programs to its end."""
        start = self.clock.monotonic()
        lines = []
        try:
            for text in self._start(command, stdin):
                lines.append(text + "\n")
                if self.clock.monotonic() - start > timeout_s:
                    break
        except _ExitError as error:
            return Completed(error.status, "".join(lines), f"{error}\n")
        if self.clock.monotonic() - start > timeout_s:
            raise LinkError(f"{command[0]} did not end within {timeout_s:g} s on the simulated board")
        return Completed(0, "".join(lines), "")

    def stream(self, command: Sequence[str], *, stdin: str = "", silence_s: float = 30.0) -> SimulatedStream:
        """Start one of the board's programs."""
        return SimulatedStream(self._start(command, stdin), self.clock, silence_s)

    def put(self, source: Path, target: str) -> None:
        """Keep the file in the board's memory."""
        self._refuse_when_closed()
        try:
            self._files[target] = Path(source).read_bytes()
        except OSError as error:
            raise LinkError(f"cannot read {source}: {error.strerror}") from error

    def get(self, source: str, target: Path) -> None:
        """Write a kept file to this machine."""
        self._refuse_when_closed()
        if source not in self._files:
            raise LinkError(f"no file {source!r} on the simulated board")
        try:
            Path(target).write_bytes(self._files[source])
        except OSError as error:
            raise LinkError(f"cannot write {target}: {error.strerror}") from error

    def path(self, target: str) -> str:
        """Names are paths already."""
        return target

    def close(self) -> None:
        """Switch the board off."""
        self._closed = True

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise LinkError("the link to the simulated board is closed; open the device again")

    def _start(self, command: Sequence[str], stdin: str) -> Iterator[str]:
        self._refuse_when_closed()
        program = self._programs.get(command[0]) if command else None
        if program is None:
            raise LinkError(f"no program {command[0] if command else ''!r} on the simulated board")
        return program(command[1:], stdin)

    def _cat(self, arguments: Sequence[str], stdin: str) -> Iterator[str]:
        if not arguments:
            yield from stdin.splitlines()
        for name in arguments:
            if name not in self._files:
                raise _ExitError(1, f"cat: {name}: No such file or directory")
            yield from self._files[name].decode(errors="replace").splitlines()

    def _sleep(self, arguments: Sequence[str], stdin: str) -> Iterator[str]:
        self.clock.sleep(float(arguments[0]))
        yield from ()

    def _nvpmodel(self, arguments: Sequence[str], stdin: str) -> Iterator[str]:
        yield f"NV Power Mode: {self._profile.mode().name}"
        yield "0"

    def _tegrastats(self, arguments: Sequence[str], stdin: str) -> Iterator[str]:
        interval_s = int(arguments[arguments.index("--interval") + 1]) / 1000 if arguments else 1.0
        mode = self._profile.mode()
        model = Roofline(self._profile, mode)
        curve = PowerCurve(self.clock.monotonic(), _all_rails(model, model.idle_mw()))
        sensor = self._sensor(curve, mode.name, f"{self._seed}:tegrastats")
        while True:
            self.clock.sleep(interval_s)
            yield self._sensor_line(sensor, self.clock.monotonic(), False, mode.gpu_clock_mhz)

    def _sensor(
        self, curve: PowerCurve, mode: str, seed: str, lost_rail: str | None = None
    ) -> SimulatedSensor:
        parameters = self._profile.simulation
        return SimulatedSensor(
            self._profile,
            self._profile.mode(mode),
            curve,
            noise_mw=parameters.noise_mw if parameters else 0.0,
            seed=seed,
            lost_rail=lost_rail,
        )

    def _sensor_line(self, sensor: SimulatedSensor, at_s: float, busy: bool, clock_mhz: float) -> str:
        parameters = self._profile.simulation
        warmth = (6.0 if busy else 0.0) + (parameters.temperature_c if parameters else 0.0)
        return sensor.line(at_s, busy=busy, gpu_clock_mhz=clock_mhz, temperature_c=warmth)

    def _bench(self, arguments: Sequence[str], stdin: str) -> Iterator[str]:
        try:
            request = BenchRequest.from_json(stdin)
            workload = Workload.from_json(dict(request.network))
            mode = self._profile.mode(request.mode)
            model = Roofline(self._profile, mode)
            estimate = model.estimate(workload, request.precision, request.batch)
        except EdgesynthError as error:
            raise _ExitError(2, str(error)) from error
        faults = self._faults
        if faults.benches is not None and self._benches >= faults.benches:
            faults = Faults()
        self._benches += 1
        seed = f"{self._seed}:{workload.digest}:{request.precision}:{request.batch}:{mode.name}:{request.attempt}"
        yield _event(
            "start", mode=mode.name, gpu_clock_mhz=mode.gpu_clock_mhz, l4t=self._profile.software.l4t
        )
        free_bytes = 0.75 * self._profile.memory.size_mb * 2**20
        if faults.out_of_memory or estimate.memory_bytes > free_bytes:
            yield _event(
                "failed", reason=f"out of memory: {workload.name} needs {estimate.memory_bytes} bytes"
            )
            return
        self.clock.sleep(request.warm_up_s)
        yield _event("alive")
        yield from self._latency_pass(request, estimate, faults, random.Random(seed))
        if request.load_s > 0:
            yield from self._power_pass(request, workload, model, estimate, faults, seed)
        yield _event("end", memory_bytes=estimate.memory_bytes)

    def _latency_pass(
        self, request: BenchRequest, estimate: Estimate, faults: Faults, noise: random.Random
    ) -> Iterator[str]:
        parameters = Roofline(self._profile, self._profile.mode(request.mode)).parameters
        runs = min(request.latency_runs, max(1, int(request.latency_limit_s / estimate.seconds)))
        latencies = []
        for run in range(runs):
            factor = 1.0 + noise.gauss(0.0, parameters.jitter)
            if noise.random() < parameters.outlier_share:
                factor *= noise.uniform(1.0, parameters.outlier_factor)
            factor *= 1.0 + faults.drift * run / runs
            latencies.append(round(1e3 * estimate.seconds * max(0.9, factor), 6))
        self.clock.sleep(sum(latencies) / 1e3)
        yield _event("latency", ms=latencies)

    def _power_pass(
        self,
        request: BenchRequest,
        workload: Workload,
        model: Roofline,
        estimate: Estimate,
        faults: Faults,
        seed: str,
    ) -> Iterator[str]:
        clock = self.clock
        start = clock.monotonic()
        load, rest, end = (
            start + request.idle_s,
            start + request.idle_s + request.load_s,
            start + 2 * request.idle_s + request.load_s,
        )
        idle = _all_rails(model, model.idle_mw())
        full_mhz = model.mode.gpu_clock_mhz
        # (from when, GPU clock, seconds per call) of the load
        pace = [(load, full_mhz, estimate.seconds)]
        if faults.throttle_to_mhz is not None:
            slow = model.estimate(workload, request.precision, request.batch, faults.throttle_to_mhz)
            pace.append((load + request.load_s / 2, faults.throttle_to_mhz, slow.seconds))
        curve = PowerCurve(start, idle)
        for begin, _, seconds in pace:
            curve.change(begin, _all_rails(model, model.busy_mw(estimate, request.precision, seconds)))
        curve.change(rest, idle)
        sensor = self._sensor(curve, request.mode, seed, faults.lost_rail)
        garbage = random.Random(seed + ":garbage")

        yield _event("phase", name="idle_before", at=start)
        begun = {"idle_before"}
        next_count = load
        samples = int((end - start) * request.rate_hz)
        for index in range(1, samples + 1):
            at = start + index / request.rate_hz
            clock.sleep_until(at)
            if at >= load and "load" not in begun:
                begun.add("load")
                yield _event("phase", name="load", at=load)
                if faults.hang:
                    clock.sleep(3600.0)
                    yield _event("alive")
                if faults.crash:
                    raise _ExitError(139, "Segmentation fault")
            if at >= rest and "idle_after" not in begun:
                begun.add("idle_after")
                finished, calls = _finished(pace, rest)
                yield _event("count", at=finished, calls=calls)
                yield _event("phase", name="idle_after", at=rest)
            busy = load <= at < rest
            clock_mhz = next((mhz for begin, mhz, _ in reversed(pace) if begin <= at), full_mhz)
            line = self._sensor_line(sensor, at, busy, clock_mhz)
            if faults.swapped_rails:
                line = line.replace("VDD_SYS_GPU ", "VDD_SYS_GPU 9", 1)
            if garbage.random() < faults.garbage_share:
                line = line[: garbage.randrange(len(line) // 4)] + "\N{REPLACEMENT CHARACTER}#"
            yield _event("sensor", at=at, line=line)
            if busy and at >= next_count:
                finished, calls = _finished(pace, at)
                yield _event("count", at=finished, calls=calls)
                next_count = at + 0.5
        yield _event("phase", name="end", at=end)


def _finished(pace: list[tuple[float, float, float]], at_s: float) -> tuple[float, int]:
    """When the last call before ``at_s`` finished, and how many had by then."""
    begin, calls, carried = pace[0][0], 0, 0.0
    finished = begin
    for index, (start, _, seconds) in enumerate(pace):
        end = min(at_s, pace[index + 1][0]) if index + 1 < len(pace) else at_s
        done = carried + max(0.0, end - start) / seconds
        whole = int(done + 1e-9)
        if whole:
            finished = start + (whole - carried) * seconds
        calls += whole
        carried = done - whole
    return finished, calls


def _all_rails(model: Roofline, parts_mw: dict[str, float]) -> dict[str, float]:
    """The parts together with the total, whose rails share it evenly when there are several."""
    rails = model.profile.rails
    if rails is None:
        return dict(parts_mw)
    inputs = [name for name in rails.total if name not in parts_mw]
    return {**parts_mw, **dict.fromkeys(inputs, model.total_mw(parts_mw) / max(1, len(inputs)))}


def _event(kind: str, **values: object) -> str:
    return json.dumps({"event": kind, **values})


def _echo(arguments: Sequence[str], stdin: str) -> Iterator[str]:
    yield " ".join(arguments)


def _false(arguments: Sequence[str], stdin: str) -> Iterator[str]:
    yield from ()
    raise _ExitError(1, "")
