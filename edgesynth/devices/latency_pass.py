"""How long calls are timed: until enough of them, at one speed of the machine, agree.

A machine that others share is not the same from one second to the next, in ways that its speed does not tell:
what slows it slows one network more than another. So the calls of a stretch of time, half a second at most,
count as one, and a pass goes on until the mean of the stretches' medians has a small standard error.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edgesynth.devices.speed import NEAR, NEAR_AS_TIMED, Block, at_speed, clear_speed

__all__ = ["FEWEST_STRETCHES", "LatencyPass", "Timed", "standard_error", "stretch_medians"]

FEWEST_STRETCHES: Final = 6
"""In the shortest pass; the medians of so many enclose their own median with 95 %."""
_CHOICE: Final = 2
"""How many times as long a pass looks that may choose the speed."""
_KNOWN: Final = 0.007
"""Standard error of the mean, as a share of it, that is small enough."""
_FASTER: Final = 1.5
"""How many times as fast as at the speed that counts a machine may be for its calls to be told as of that."""
_PATIENCE: Final = 4
"""How many times as long as the shortest a pass goes on whose error is larger."""


@dataclass(frozen=True)
class Timed:
    """What a pass has found so far.

    Attributes:
        speed_ms: Time of one run of the load at the speed that counts.
        blocks: Those that were timed at about that speed, or at a higher one that the machine keeps now.
        shown: The same as times are told: as of exactly that speed, or as they were.
        medians_ms: Of the stretches of those.
    """

    speed_ms: float
    blocks: tuple[Block, ...]
    shown: tuple[Block, ...]
    medians_ms: list[float]


class LatencyPass:
    """The blocks of one latency pass, and whether they are enough.

    Attributes:
        blocks: All of them, in their order.

    Args:
        runs: Calls at the speed that are wanted at least.
        look_s: How long to time calls at least.
        speed_ms: Time of one run of the load at the speed that counts; 0 to choose the clear one.
        alike: Whether what slows the load slows calls alike, and times are told as of one speed.
    """

    def __init__(self, runs: int, look_s: float, speed_ms: float, *, alike: bool = True) -> None:
        self.blocks: list[Block] = []
        self._runs, self._look_s, self._speed_ms, self._alike = runs, look_s, speed_ms, alike
        self._stretch_s = look_s / FEWEST_STRETCHES
        self._due_s = look_s if speed_ms else _CHOICE * look_s

    def enough(self, at_s: float) -> bool:
        """Whether calls may end.

        It looks once in a stretch: calls have to wait for that.

        Args:
            at_s: Since the pass began.
        """
        if not self.blocks or at_s < self._due_s:
            return False
        self._due_s += self._stretch_s
        timed = self.timed()
        if sum(len(block.calls_ms) for block in timed.blocks) < self._runs:
            return False
        known = len(timed.medians_ms) >= FEWEST_STRETCHES and standard_error(timed.medians_ms) <= _KNOWN
        return known or at_s >= _PATIENCE * self._look_s

    def timed(self) -> Timed:
        """What was found at the speed that counts; there must be a block."""
        near = NEAR if self._alike else NEAR_AS_TIMED
        clear_ms = clear_speed(self.blocks, near)
        speed_ms = self._speed_ms or clear_ms
        # Slow states differ in kind: where the machine is faster by now, it is timed so.
        present_ms = min(speed_ms, max(clear_ms, speed_ms / _FASTER)) if self._alike else speed_ms
        blocks = tuple(at_speed(self.blocks, present_ms, near))
        shown = tuple(block.at(speed_ms) for block in blocks) if self._alike else blocks
        return Timed(speed_ms, blocks, shown, stretch_medians(shown, self._stretch_s))


def stretch_medians(blocks: Iterable[Block], stretch_s: float) -> list[float]:
    """The median time of the calls of every stretch of time in which there are any, in order, ms.

    Args:
        blocks: As times are told, in their order.
        stretch_s: How long a stretch is; of no length, every block is one.
    """
    stretches: dict[int, list[float]] = {}
    for number, block in enumerate(blocks):
        stretches.setdefault(int(block.at_s / stretch_s) if stretch_s else number, []).extend(block.calls_ms)
    return [statistics.median(calls_ms) for calls_ms in stretches.values()]


def standard_error(medians_ms: Sequence[float]) -> float:
    """How well the mean of stretches is known, as a share of it; of fewer than two, not at all."""
    if len(medians_ms) < 2:
        return math.inf
    return statistics.stdev(medians_ms) / math.sqrt(len(medians_ms)) / statistics.fmean(medians_ms)
