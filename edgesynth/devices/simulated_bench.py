"""The bench program of the simulated board: what a network would do there, told event by event."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from edgesynth.devices.bench import BenchRequest
from edgesynth.devices.clock import VirtualClock
from edgesynth.devices.profile import Profile, needed
from edgesynth.devices.roofline import Roofline
from edgesynth.devices.sensor import PowerCurve, SimulatedSensor
from edgesynth.devices.workload import Workload
from edgesynth.errors import DeviceError

__all__ = ["Faults", "ProgramExit", "SimulatedBench"]

_USABLE_MEMORY = 0.75  # share of the module's memory that is left for engines
_COUNT_EVERY_S = 0.5
_WARMTH_C = 6.0  # how much warmer the module is under load


class ProgramExit(Exception):
    """A program of the simulated board ends with a status other than zero.

    Attributes:
        status: The exit status.
    """

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
        mislabelled_rail: A part rail that reports ten times the total.
        out_of_memory: The network does not fit.
        benches: How many benches misbehave before the board recovers; ``None`` for all.
    """

    lost_rail: str | None = None
    throttle_to_mhz: float | None = None
    drift: float = 0.0
    hang: bool = False
    crash: bool = False
    garbage_share: float = 0.0
    mislabelled_rail: str | None = None
    out_of_memory: bool = False
    benches: int | None = None


@dataclass(frozen=True)
class _Pace:
    """From when on the load runs at which clock, and how long one call then takes."""

    begin_s: float
    gpu_clock_mhz: float
    call_s: float


class SimulatedBench:
    """One run of the bench program.

    Time is counted from the start of the program, so a bench tells the same whenever it is run.

    Args:
        profile: Of the board.
        clock: Of the board; moves while events are made.
        request: What to do; its network is a workload.
        seed: Of the board; noise depends on it and on the request alone.
        faults: How the board misbehaves this time.

    Raises:
        InputError: The request names an unknown mode or precision, or holds no workload.
        DeviceError: The profile cannot be simulated.
    """

    def __init__(
        self, profile: Profile, clock: VirtualClock, request: BenchRequest, *, seed: int, faults: Faults
    ) -> None:
        if profile.sensor is None and request.load_s > 0:
            raise DeviceError(f"{profile.name} has no power sensor; ask for no power pass")
        self._profile = profile
        self._clock = clock
        self._request = request
        self._faults = faults
        self._workload = Workload.from_json(dict(request.network))
        self._model = Roofline(profile, profile.mode(request.mode))
        self._call = self._model.estimate(self._workload, request.precision, request.batch)
        work = (self._workload.digest, request.precision, request.batch, request.mode, request.attempt)
        self._seed = f"{seed}:{work}"
        self._elapsed_s = 0.0  # of this program; the board's own clock differs in its last digits

    def events(self) -> Iterator[str]:
        """The lines the program prints."""
        mode = self._model.mode
        l4t = self._profile.software.l4t
        yield _event("start", mode=mode.name, gpu_clock_mhz=self._model.gpu_clock_mhz, l4t=l4t)
        if (taken := self._workload.batch) not in (None, self._request.batch):
            reason = f"the network has a fixed batch of {taken}, not {self._request.batch}"
            yield _event("failed", reason=f"{reason}; export it with a free one", kind="unsupported")
            return
        usable = _USABLE_MEMORY * needed(self._profile.memory.size_mb, "memory.size_mb") * 2**20
        if self._faults.out_of_memory or self._call.memory_bytes > usable:
            wanted = f"{self._call.memory_bytes / 2**20:.0f} MB of device memory"
            yield _event(
                "failed", reason=f"out of memory: {self._workload.name} needs {wanted}; use a smaller batch"
            )
            return
        self._wait(self._request.warm_up_s)
        yield _event("alive")
        yield self._latency_pass()
        if self._request.load_s > 0:
            yield from self._power_pass()
        if self._request.layer_runs > 0:
            yield self._layers()
        yield _event("end", memory_bytes=self._call.memory_bytes)

    def _latency_pass(self) -> str:
        request, parameters, typical_s = self._request, self._model.parameters, self._call.seconds
        noise = random.Random(self._seed)
        runs = min(request.latency_runs, max(1, int(request.latency_limit_s / typical_s)))
        latencies_ms = []
        for run in range(runs):
            factor = max(0.5, noise.gauss(1.0, parameters.jitter))
            if noise.random() < parameters.outlier_share:
                factor *= noise.uniform(1.0, parameters.outlier_factor)
            factor *= 1.0 + self._faults.drift * run / runs
            latencies_ms.append(round(1e3 * typical_s * factor, 6))
        self._wait(sum(latencies_ms) / 1e3)
        return _event("latency", ms=latencies_ms)

    def _layers(self) -> str:
        """The time of every kernel, without noise: the model has none for them."""
        self._wait(self._request.layer_runs * self._call.seconds)
        kernels = zip(self._workload.kernels, self._call.kernels_s, strict=True)
        return _event(
            "layers", layers=[[kernel.name, round(1e3 * seconds, 6)] for kernel, seconds in kernels]
        )

    def _power_pass(self) -> Iterator[str]:
        request = self._request
        begin_s = self._elapsed_s
        load_s = begin_s + request.idle_s
        rest_s = load_s + request.load_s
        end_s = rest_s + request.idle_s
        paces = self._paces(load_s)
        sensor = self._sensor(begin_s, paces, rest_s)
        damage = random.Random(self._seed + ":damage")
        pending = [(load_s, "load"), (rest_s, "idle_after")]
        next_count_s = load_s + _COUNT_EVERY_S
        yield _event("phase", name="idle_before", at=begin_s)
        for index in range(1, int((end_s - begin_s) * request.rate_hz) + 1):
            at_s = begin_s + index / request.rate_hz
            self._wait(at_s - self._elapsed_s)
            while pending and at_s >= pending[0][0]:
                phase_s, name = pending.pop(0)
                if name == "idle_after":
                    yield _count(paces, rest_s)
                yield _event("phase", name=name, at=phase_s)
                if name == "load":
                    self._misbehave()
            pace = next((entry for entry in reversed(paces) if entry.begin_s <= at_s), paces[0])
            busy = load_s <= at_s < rest_s
            line = sensor.line(
                at_s,
                busy=busy,
                gpu_clock_mhz=pace.gpu_clock_mhz,
                temperature_c=self._model.parameters.temperature_c + _WARMTH_C * busy,
            )
            if damage.random() < self._faults.garbage_share:
                line = line[: damage.randrange(12)] + "\N{REPLACEMENT CHARACTER}#"
            yield _event("sensor", at=at_s, line=line)
            if busy and at_s >= next_count_s:
                yield _count(paces, at_s)
                next_count_s += _COUNT_EVERY_S
        yield _event("phase", name="end", at=end_s)

    def _paces(self, load_s: float) -> list[_Pace]:
        request = self._request
        paces = [_Pace(load_s, self._model.gpu_clock_mhz, self._call.seconds)]
        clock_mhz = self._faults.throttle_to_mhz
        if clock_mhz is not None:
            slow = self._model.estimate(self._workload, request.precision, request.batch, clock_mhz)
            paces.append(_Pace(load_s + request.load_s / 2, clock_mhz, slow.seconds))
        return paces

    def _sensor(self, begin_s: float, paces: list[_Pace], rest_s: float) -> SimulatedSensor:
        model = self._model
        idle = model.all_rails_mw(model.idle_mw())
        curve = PowerCurve(begin_s, idle)
        for pace in paces:
            busy = model.busy_mw(self._call, self._request.precision, pace.call_s)
            curve.change(pace.begin_s, model.all_rails_mw(busy))
        curve.change(rest_s, idle)
        return SimulatedSensor(
            self._profile,
            model.mode,
            curve,
            noise_mw=model.parameters.noise_mw,
            seed=self._seed,
            lost_rail=self._faults.lost_rail,
            mislabelled_rail=self._faults.mislabelled_rail,
        )

    def _wait(self, seconds: float) -> None:
        self._elapsed_s += seconds
        self._clock.sleep(seconds)

    def _misbehave(self) -> None:
        if self._faults.hang:
            self._clock.sleep(24 * 3600.0)
        if self._faults.crash:
            raise ProgramExit(139, "Segmentation fault")


def _count(paces: list[_Pace], at_s: float) -> str:
    """How many calls had finished by ``at_s``, and when the last of them did."""
    calls, carried, finished_s = 0, 0.0, paces[0].begin_s
    for index, pace in enumerate(paces):
        end_s = at_s if index + 1 == len(paces) else min(at_s, paces[index + 1].begin_s)
        done = carried + max(0.0, end_s - pace.begin_s) / pace.call_s
        whole = int(done + 1e-9)
        if whole:
            finished_s = pace.begin_s + (whole - carried) * pace.call_s
        calls += whole
        carried = done - whole
    return _event("count", at=finished_s, calls=calls)


def _event(event: str, /, **values: object) -> str:
    return json.dumps({"event": event, **values})
