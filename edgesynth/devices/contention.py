"""How much of its time this process had to wait for a processor that other programs held."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

__all__ = ["Waiting"]

_TASKS: Final = Path("/proc/self/task")


class Waiting:
    """Counts from when it is made. Linux tells it for every thread; elsewhere nothing is told."""

    def __init__(self) -> None:
        self._begin_s = time.monotonic()
        self._waited_s = _waited_s()

    def share(self) -> float | None:
        """Time that threads were ready to run and did not, summed over them, per time passed."""
        now_s, waited_s = time.monotonic(), _waited_s()
        if waited_s is None or self._waited_s is None or now_s <= self._begin_s:
            return None
        return round(max(0.0, waited_s - self._waited_s) / (now_s - self._begin_s), 4)


def _waited_s() -> float | None:
    """Over the threads of this process; ``None`` where the kernel does not say."""
    waited_ns = 0
    for place in _TASKS.glob("*/schedstat"):
        try:
            waited_ns += int(place.read_text().split()[1])
        except FileNotFoundError:  # the thread has ended since
            continue
        except (OSError, ValueError, IndexError):
            return None
    return waited_ns / 1e9 if waited_ns else None
