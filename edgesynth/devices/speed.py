"""Times of calls on a machine whose speed changes, as they would be if it did not.

The speed of a shared or virtual processor steps up and down several times a second, by more than networks
differ from each other. A fixed load is timed before and after every short block of calls. It is a network of
the usual kind, so what slows it slows the calls about alike. A call's time at one speed is its own, times a
power of what the load takes at that speed over what it took around the call. That holds for small changes
only; blocks at speeds far from the wanted one, or between two, are left out. They are chosen by the times of
the load, never by those of the calls.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

__all__ = ["FEWEST_BLOCKS", "NEAR", "NEAR_AS_TIMED", "Block", "at_speed", "clear_speed"]

NEAR: Final = 0.2
"""By this share the load around a block may take more or less time than it does at the wanted speed."""
NEAR_AS_TIMED: Final = 0.1
"""The same where times are told as they were."""
_CHANGE: Final = 0.1
"""By this share it may take more or less time after a block than before."""
_FELT: Final = 0.87
"""Power of a change of the load's time that calls feel: 0.75 to 1.04, of eight networks on one processor."""
FEWEST_BLOCKS: Final = 6
"""So few of them show that the machine has a speed."""


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
        calls_ms = tuple(ms * factor**_FELT for ms in self.calls_ms)
        return Block(self.before_ms * factor, calls_ms, self.after_ms * factor, self.at_s)


def at_speed(blocks: Iterable[Block], speed_ms: float, near: float = NEAR) -> list[Block]:
    """The blocks that were timed at about a speed, in their order and as they were; see :meth:`Block.at`.

    Args:
        blocks: Of one latency pass.
        speed_ms: Time of one run of the load at that speed.
        near: By which share it may take more or less time around a block.
    """
    return [block for block in blocks if block.steady and abs(block.speed_ms / speed_ms - 1) <= near]


def clear_speed(blocks: Iterable[Block], near: float = NEAR) -> float:
    """The fastest speed that a machine has and keeps, as the time of one run of the load, ms.

    A quarter of the calls were timed at it or above, and half of them near it; where there is no such speed,
    the one near which most were. A shared machine is slowed in many ways, which networks feel unlike each
    other, so it is timed best where it is slowed least; but not where it was fast for a moment.

    Args:
        blocks: Of one latency pass, at least one.
        near: As of :func:`at_speed`.
    """
    known = sorted(blocks, key=lambda block: block.speed_ms)
    steady = [block for block in known if block.steady] or known
    speeds = [block.speed_ms for block in steady]
    calls = list(accumulate((len(block.calls_ms) for block in steady), initial=0))
    best, most = speeds[0], -1
    for speed_ms in speeds[bisect_left(calls, calls[-1] / 4, lo=1) - 1 :]:
        low, high = (1 - near) * speed_ms, (1 + near) * speed_ms
        inside = calls[bisect_right(speeds, high)] - calls[bisect_left(speeds, low)]
        if inside > most:
            best, most = speed_ms, inside
        if 2 * inside >= calls[-1]:
            break
    return best
