"""Power of a machine that edgesynth runs on itself: what its bench program reads beside the load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from edgesynth.devices.bench import BenchRequest
from edgesynth.devices.contention import Waiting
from edgesynth.devices.profile import Rails, Sensor

__all__ = ["PowerCounter", "Sampler", "tell_power"]

_COUNT_EVERY_S = 0.5


class PowerCounter(Protocol):
    """Reads the power of a machine; opened once, read from one thread."""

    @property
    def rails(self) -> Rails:
        """What it reads, and which of it is the total; asked before anything is measured."""
        ...

    @property
    def sensor(self) -> Sensor:
        """How well it reads; asked before anything is measured."""
        ...

    def line(self) -> str:
        """What it reads now, as a line of ``tegrastats``; empty when there is nothing to tell yet."""
        ...

    def limits(self) -> tuple[str, ...] | None:
        """Why the machine slows its clocks now, by name; ``None`` where it does not tell."""
        ...


class Sampler:
    """Reads a counter at a steady pace in a thread of its own, from entering to leaving its context.

    Args:
        counter: What is read.
        rate_hz: How often.
        tell: Takes the events ``sensor``.

    Attributes:
        cpu_s: Processor time that reading took, once it has ended.
        failure: Why reading ended early; empty when it did not.
    """

    def __init__(self, counter: PowerCounter, rate_hz: float, tell: Callable[..., None]) -> None:
        self._counter = counter
        self._interval_s = 1.0 / rate_hz
        self._tell = tell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._limits: list[tuple[float, tuple[str, ...]]] = []
        self.cpu_s = 0.0
        self.failure = ""

    def __enter__(self) -> Self:
        """Begin to read."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Read no more."""
        self._stop.set()
        self._thread.join()

    def limited(self, begin_s: float, end_s: float) -> dict[str, float] | None:
        """In which share of the readings of an interval clocks were slowed, by why; ``None`` without any."""
        inside = [limits for at_s, limits in self._limits if begin_s <= at_s <= end_s]
        if not inside:
            return None
        names = sorted({name for limits in inside for name in limits})
        return {name: round(sum(name in limits for limits in inside) / len(inside), 4) for name in names}

    def _run(self) -> None:
        due_s = time.monotonic()
        try:
            while not self._stop.is_set():
                text = self._counter.line()
                if text:
                    self._tell("sensor", at=time.monotonic(), line=text)
                limits = self._counter.limits()
                if limits is not None:
                    self._limits.append((time.monotonic(), limits))
                due_s = max(due_s + self._interval_s, time.monotonic())
                self._stop.wait(due_s - time.monotonic())
        except Exception as error:  # whatever a library raises, the figures end here
            self.failure = f"{type(error).__name__}: {error}"
        self.cpu_s = time.thread_time()


def tell_power(
    call: Callable[[], object], request: BenchRequest, counter: PowerCounter, tell: Callable[..., None]
) -> None:
    """A rest, a load of calls back to back, and a rest, with the power beside them.

    Args:
        call: One inference.
        request: Says how long and how often.
        counter: Read all the while.
        tell: Takes the events, from two threads.
    """
    with Sampler(counter, request.rate_hz, tell) as sampler:
        begin_s = time.monotonic()
        tell("phase", name="idle_before", at=begin_s)
        time.sleep(request.idle_s)
        load_s = now_s = time.monotonic()
        tell("phase", name="load", at=load_s)
        calls, due_s = 0, load_s
        waiting = Waiting()
        while now_s < load_s + request.load_s:
            call()
            calls, now_s = calls + 1, time.monotonic()
            if now_s >= due_s:
                tell("count", at=now_s, calls=calls)
                due_s = now_s + _COUNT_EVERY_S
        waited_share = waiting.share()
        tell("count", at=now_s, calls=calls)
        tell("phase", name="idle_after", at=now_s)
        time.sleep(request.idle_s)
        end_s = time.monotonic()
        tell("phase", name="end", at=end_s)
    if sampler.failure:
        tell("error", kind="hung", reason=f"the power counter could not be read any more: {sampler.failure}")
        return
    sampler_share = round(sampler.cpu_s / (end_s - begin_s), 4)
    tell("start", sampler_cpu_share=sampler_share, load_waited_share=waited_share)
    limited = sampler.limited(load_s, now_s)
    if limited is not None:
        tell("start", load_throttled=limited)
