"""Times of calls on a machine whose speed changes, as they would be if it did not.

The speed of a shared or virtual processor steps up and down several times a second, by more than networks
differ from each other. A fixed load is timed before and after every short block of calls. It is a network of
the usual kind, so what slows it slows the calls alike: their ratio hardly changes. A call's time at one speed
is its own, times what the load takes at that speed, over what it took around the call. That holds for small
changes only; blocks at speeds far from the wanted one, or between two, are left out. They are chosen by the
times of the load, never by those of the calls.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["FEWEST_BLOCKS", "Block", "at_speed", "prevailing_speed"]

_NEAR: Final = 0.1
"""By this share the load around a block may take more or less time than it does at the wanted speed."""
_CHANGE: Final = 0.05
"""By this share it may take more or less time after a block than before."""
FEWEST_BLOCKS: Final = 6
"""The medians of so many enclose their own median with 95 %."""


@dataclass(frozen=True)
class Block:
    """Calls in a row, and the reference load before and after them.

    Attributes:
        before_ms: Time of one run of the load.
        calls_ms: Times of the calls.
        after_ms: Time of one run of the load.
    """

    before_ms: float
    calls_ms: tuple[float, ...]
    after_ms: float

    @property
    def speed_ms(self) -> float:
        """What one run of the load took around the calls."""
        return (self.before_ms + self.after_ms) / 2

    @property
    def steady(self) -> bool:
        """Whether the load took about as long after the calls as before."""
        return abs(self.after_ms / self.before_ms - 1) <= _CHANGE

    @property
    def median_ms(self) -> float:
        """Of the calls."""
        return statistics.median(self.calls_ms)

    def at(self, speed_ms: float) -> Block:
        """The same block at another speed."""
        factor = speed_ms / self.speed_ms
        return Block(
            self.before_ms * factor, tuple(ms * factor for ms in self.calls_ms), self.after_ms * factor
        )


def at_speed(blocks: Iterable[Block], speed_ms: float) -> list[Block]:
    """The blocks that were timed at about a speed, in their order and as they were; see :meth:`Block.at`.

    Args:
        blocks: Of one latency pass.
        speed_ms: Time of one run of the load at that speed.
    """
    return [block for block in blocks if block.steady and abs(block.speed_ms / speed_ms - 1) <= _NEAR]


def prevailing_speed(blocks: Iterable[Block]) -> float:
    """The speed that most calls were timed at, as the time of one run of the load, ms.

    Args:
        blocks: Of one latency pass, at least one.
    """
    known = sorted(blocks, key=lambda block: block.speed_ms)
    steady = [block for block in known if block.steady] or known
    first, calls, most, best = 0, 0, 0, steady
    for last, block in enumerate(steady, 1):
        calls += len(block.calls_ms)
        while block.speed_ms / steady[first].speed_ms > (1 + _NEAR) / (1 - _NEAR):
            calls -= len(steady[first].calls_ms)
            first += 1
        if calls > most:
            most, best = calls, steady[first:last]
    return (best[0].speed_ms + best[-1].speed_ms) / 2
