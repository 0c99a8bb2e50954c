"""Time as a device sees it: the wall's, or a simulated board's own."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock", "VirtualClock"]


class Clock(Protocol):
    """Tells and passes time; whoever waits for a device waits on its clock."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let this much time pass; zero or less returns at once."""


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Seconds of ``time.monotonic``."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread."""
        if seconds > 0:
            time.sleep(seconds)


class VirtualClock:
    """A clock that moves only when something waits on it: an hour passes in no time.

    Args:
        start: What :meth:`monotonic` first returns, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move the clock forward."""
        self._now += max(0.0, seconds)
