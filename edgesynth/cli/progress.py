"""Progress on stderr: live on a terminal, plain lines with a time stamp anywhere else."""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Live

from edgesynth.progress import NullProgress, Phase, Progress
from edgesynth.report.formatting import duration

__all__ = ["PlainProgress", "RichProgress", "open_progress"]

_EVERY_S: Final = 10.0
"""Plain lines about running phases come at most this often."""


def open_progress(*, quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """The progress that suits where stderr goes."""
    stream = stream or sys.stderr
    if quiet:
        return NullProgress()
    return RichProgress(Console(file=stream)) if stream.isatty() else PlainProgress(stream)


@dataclass
class _Pace:
    """How far a phase is, and how fast it goes."""

    name: str
    total: float | None
    started: float
    depth: int
    done: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)

    def facts(self, now: float) -> list[str]:
        """Count, rate, time left and figures, as far as they are known."""
        facts = []
        if self.total:
            facts.append(f"{self.done:g}/{self.total:g}")
        elif self.done:
            facts.append(f"{self.done:g}")
        spent = now - self.started
        if self.done and spent > 0:
            rate = self.done / spent
            facts.append(f"{rate:.3g}/s" if rate >= 0.1 else f"{duration(1 / rate)} each")
            if self.total and self.total > self.done:
                facts.append(f"{duration((self.total - self.done) / rate)} left")
        return facts + [f"{name} {value:.4g}" for name, value in self.figures.items()]


class _OpenPhase:
    """One phase of either kind of progress; begins when made and ends with its context."""

    def __init__(self, owner: _Owner, pace: _Pace) -> None:
        self._owner = owner
        self._pace = pace

    def advance(self, steps: float = 1, **figures: float) -> None:
        self._owner.advanced(self._pace, steps, figures)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._owner.ended(self._pace, failed=error is not None)


class _Owner(ABC):
    """Keeps the open phases; measuring may run beside training, hence the lock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._open: list[_Pace] = []

    def phase(self, name: str, total: float | None = None) -> Phase:
        """Begin a phase of ``total`` steps, or of unknown length."""
        with self._lock:
            pace = _Pace(name, total, self._clock(), depth=len(self._open))
            self._open.append(pace)
            self._began(pace)
        return _OpenPhase(self, pace)

    def advanced(self, pace: _Pace, steps: float, figures: dict[str, float]) -> None:
        with self._lock:
            pace.done += steps
            pace.figures.update(figures)
            self._moved(pace)

    def ended(self, pace: _Pace, *, failed: bool) -> None:
        with self._lock:
            if pace in self._open:
                self._open.remove(pace)
            self._over(pace, failed=failed)

    def _summary(self, pace: _Pace, *, failed: bool) -> str:
        spent = duration(self._clock() - pace.started)
        figures = [f"{name} {value:.4g}" for name, value in pace.figures.items()]
        return ", ".join([f"{pace.name}: {'stopped after' if failed else 'done in'} {spent}", *figures])

    @abstractmethod
    def _began(self, pace: _Pace) -> None: ...

    @abstractmethod
    def _moved(self, pace: _Pace) -> None: ...

    @abstractmethod
    def _over(self, pace: _Pace, *, failed: bool) -> None: ...


class PlainProgress(_Owner):
    """Lines for log files: each with its time of day, not more than one every ten seconds while working.

    Args:
        stream: Where lines go.
        clock: Monotonic seconds.
        stamp: The time of day of a line.
        every_s: Least time between two lines about running phases.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        stamp: Callable[[], str] = lambda: time.strftime("%H:%M:%S"),
        every_s: float = _EVERY_S,
    ) -> None:
        super().__init__(clock)
        self._stream = stream
        self._stamp = stamp
        self._every_s = every_s
        self._last = clock()

    def note(self, text: str) -> None:
        """Say one line that stays."""
        with self._lock:
            self._line(text)

    def _began(self, pace: _Pace) -> None:
        if pace.depth == 0:
            self._line(pace.name)

    def _moved(self, pace: _Pace) -> None:
        now = self._clock()
        if now - self._last >= self._every_s:
            self._line(f"{pace.name}: {', '.join(pace.facts(now))}")

    def _over(self, pace: _Pace, *, failed: bool) -> None:
        # A short phase inside another one is not worth a line of its own.
        if pace.depth == 0 or self._clock() - pace.started >= self._every_s:
            self._line(self._summary(pace, failed=failed))

    def _line(self, text: str) -> None:
        self._last = self._clock()
        self._stream.write(f"{self._stamp()} {text}\n")
        self._stream.flush()


class RichProgress(_Owner):
    """A live line per open phase, and one that stays for every finished outer phase.

    Args:
        console: The terminal.
        clock: Monotonic seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._console = console
        self._tasks: dict[int, TaskID] = {}
        self._live: Live | None = None

    def note(self, text: str) -> None:
        """Say one line that stays."""
        self._console.print(text, highlight=False, markup=False)

    def _began(self, pace: _Pace) -> None:
        if self._live is None:
            self._live = Live(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TextColumn("{task.fields[facts]}", style="dim", markup=False),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
                # stdout carries results, and must not be taken over.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        indent = "  " * pace.depth
        self._tasks[id(pace)] = self._live.add_task(indent + pace.name, total=pace.total, facts="")

    def _moved(self, pace: _Pace) -> None:
        if self._live is not None:
            facts = ", ".join(pace.facts(self._clock()))
            self._live.update(self._tasks[id(pace)], completed=pace.done, facts=facts)

    def _over(self, pace: _Pace, *, failed: bool) -> None:
        if self._live is None:
            return
        self._live.remove_task(self._tasks.pop(id(pace)))
        if pace.depth == 0:
            self.note(self._summary(pace, failed=failed))
        if not self._open:
            # The terminal is given back between phases, so that a prompt or an error finds it clean.
            self._live.stop()
            self._live = None
