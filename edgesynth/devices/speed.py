"""Times of calls on a machine whose speed changes, as they would be if it did not.

The speed of a shared or virtual processor steps up and down several times a second, by more than networks
differ from each other. A fixed load is timed before and after every short block of calls. It is a network of
the usual kind, so what slows it slows the calls alike: their ratio hardly changes. A call's time at one speed
is its own, times what the load takes at that speed, over what it took around the call. That holds for small
changes only; blocks at speeds far from the wanted one, or between two, are left out. They are chosen by the
times of the load, never by those of the calls.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

__all__ = ["FEWEST_BLOCKS", "Block", "at_speed", "clear_speed"]

_NEAR: Final = 0.2
"""By this share the load around a block may take more or less time than it does at the wanted speed."""
_CHANGE: Final = 0.1
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
        at_s: When they began, since the first block did.
    """

    before_ms: float
    calls_ms: tuple[float, ...]
    after_ms: float
    at_s: float = 0.0

    @property
    def speed_ms(self) -> float:
        """What one run of the load took around the calls."""
        return (self.before_ms + self.after_ms) / 2

    @property
    def steady(self) -> bool:
        """Whether the load took about as long after the calls as before."""
        return abs(self.after_ms / self.before_ms - 1) <= _CHANGE

    def at(self, speed_ms: float) -> Block:
        """The same block at another speed."""
        factor = speed_ms / self.speed_ms
        calls_ms = tuple(ms * factor for ms in self.calls_ms)
        return Block(self.before_ms * factor, calls_ms, self.after_ms * factor, self.at_s)


def at_speed(blocks: Iterable[Block], speed_ms: float) -> list[Block]:
    """The blocks that were timed at about a speed, in their order and as they were; see :meth:`Block.at`.

    Args:
        blocks: Of one latency pass.
        speed_ms: Time of one run of the load at that speed.
    """
    return [block for block in blocks if block.steady and abs(block.speed_ms / speed_ms - 1) <= _NEAR]


def clear_speed(blocks: Iterable[Block]) -> float:
    """The speed of the fastest quarter of the calls, as the time of one run of the load, ms.

    That is the machine hardly disturbed: many things slow it, each in its own way, and nothing speeds it up.

    Args:
        blocks: Of one latency pass, at least one.
    """
    known = sorted(blocks, key=lambda block: block.speed_ms)
    steady = [block for block in known if block.steady] or known
    calls = list(accumulate(len(block.calls_ms) for block in steady))
    return steady[bisect_left(calls, calls[-1] / 4)].speed_ms
