"""How long calls are timed: until enough of them, at one speed of the machine, tell their median.

A machine that others share is not the same from one second to the next, in ways that its speed does not tell:
what slows it slows one network more than another. So the calls of half a second count as one, and a pass goes
on until such stretches agree on their mean.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edgesynth.devices.speed import Block, at_speed, clear_speed

__all__ = ["LatencyPass", "Timed", "standard_error", "stretch_medians"]

_STRETCHES: Final = 6
"""Stretches of the shortest pass: their medians just enclose their own median with 95 %."""
_CHOICE: Final = 2
"""How many times as long a pass looks that may choose the speed."""
_PATIENCE: Final = 4
"""How many times as long one goes on whose mean is not known so well as this, as a share of it:"""
_KNOWN: Final = 0.007


@dataclass(frozen=True)
class Timed:
    """What a pass has found so far.

    Attributes:
        speed_ms: Time of one run of the load at the speed that counts.
        blocks: Those at that speed, as they were timed.
    """

    speed_ms: float
    blocks: tuple[Block, ...]

    @property
    def as_of_speed(self) -> tuple[Block, ...]:
        """The blocks as they would have been at exactly that speed."""
        return tuple(block.at(self.speed_ms) for block in self.blocks)


class LatencyPass:
    """The blocks of one latency pass, and whether they are enough.

    Attributes:
        blocks: All of them, in their order.
        stretch_s: How long a stretch is.

    Args:
        runs: Calls at the speed that are wanted at least.
        look_s: How long to time calls at least.
        speed_ms: Time of one run of the load at the speed that counts; 0 to choose the clear one.
    """

    def __init__(self, runs: int, look_s: float, speed_ms: float) -> None:
        self.blocks: list[Block] = []
        self.stretch_s = look_s / _STRETCHES
        self._runs, self._look_s, self._speed_ms = runs, look_s, speed_ms
        self._due_s = look_s if speed_ms else _CHOICE * look_s

    def enough(self, at_s: float) -> bool:
        """Whether calls may end.

        It looks once in a stretch: calls have to wait for that.

        Args:
            at_s: Since the first block began.
        """
        if not self.blocks or at_s < self._due_s:
            return False
        self._due_s = at_s + self.stretch_s
        timed = self.timed()
        if sum(len(block.calls_ms) for block in timed.blocks) < self._runs:
            return False
        error = standard_error(stretch_medians(timed.as_of_speed, self.stretch_s))
        return error <= _KNOWN or at_s >= _PATIENCE * self._look_s

    def timed(self) -> Timed:
        """The blocks at the speed that counts; there must be a block."""
        speed_ms = self._speed_ms or clear_speed(self.blocks)
        return Timed(speed_ms, tuple(at_speed(self.blocks, speed_ms)))


def stretch_medians(blocks: Iterable[Block], stretch_s: float) -> list[float]:
    """The median time of the calls of every stretch of time in which there are any, in order, ms.

    Args:
        blocks: As of one speed, in their order.
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
