"""A board that is not there, behind the same link a real one is behind.

The bench program of the simulated board speaks the events of :mod:`edgesynth.devices.bench` and prints
``tegrastats`` text, so everything from the link upwards (events, parser, integrator, statistics,
judgement) is the code that measures real boards. Time is virtual, and everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from edgesynth.closing import Closing
from edgesynth.devices.bench import BenchRequest
from edgesynth.devices.clock import VirtualClock
from edgesynth.devices.link import Completed, Line
from edgesynth.devices.profile import Profile
from edgesynth.devices.roofline import Roofline
from edgesynth.devices.sensor import PowerCurve, SimulatedSensor
from edgesynth.devices.simulated_bench import Faults, ProgramExit, SimulatedBench
from edgesynth.errors import EdgesynthError, LinkError

__all__ = ["BENCH_COMMAND", "SimulatedLink"]

BENCH_COMMAND = ("edgesynth-bench",)

Program: TypeAlias = Callable[[Sequence[str], str], Iterator[str]]


class SimulatedStream(Closing):
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
            text = self._next()
            if self._clock.monotonic() - before > self._silence_s:
                self.close()
                raise LinkError(
                    f"the device printed nothing for {self._silence_s:g} s; "
                    "check that it is not busy or hung, then repeat"
                )
            if text is None:
                return
            yield Line(self._clock.monotonic(), text)

    def _next(self) -> str | None:
        """The program's next line, or ``None`` when it has ended."""
        try:
            return next(self._lines)
        except StopIteration:
            return None
        except ProgramExit as error:
            self._ended = Completed(error.status, "", f"{error}\n")
            return None

    def close(self) -> Completed:
        """End the program."""
        self._closed = True
        return self._ended


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
        except ProgramExit as error:
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
                raise ProgramExit(1, f"cat: {name}: No such file or directory")
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
        parameters = model.parameters
        curve = PowerCurve(self.clock.monotonic(), model.all_rails_mw(model.idle_mw()))
        sensor = SimulatedSensor(
            self._profile, mode, curve, noise_mw=parameters.noise_mw, seed=f"{self._seed}:tegrastats"
        )
        while True:
            self.clock.sleep(interval_s)
            yield sensor.line(
                self.clock.monotonic(),
                busy=False,
                gpu_clock_mhz=model.gpu_clock_mhz,
                temperature_c=parameters.temperature_c,
            )

    def _bench(self, arguments: Sequence[str], stdin: str) -> Iterator[str]:
        faults = self._faults
        if faults.benches is not None and self._benches >= faults.benches:
            faults = Faults()
        self._benches += 1
        try:
            request = BenchRequest.from_json(stdin)
            bench = SimulatedBench(self._profile, self.clock, request, seed=self._seed, faults=faults)
        except EdgesynthError as error:
            raise ProgramExit(2, str(error)) from error
        yield from bench.events()


def _echo(arguments: Sequence[str], stdin: str) -> Iterator[str]:
    yield " ".join(arguments)


def _false(arguments: Sequence[str], stdin: str) -> Iterator[str]:
    yield from ()
    raise ProgramExit(1, "")
