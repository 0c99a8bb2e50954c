"""When a warm-up may end: after its time, and once the latency does not change any more.

Clocks ramp, kernels are loaded and chips grow warm at a pace that nobody knows beforehand. So the medians of
the last two stretches of a warm-up are compared. They agree if they differ by 1 %, or by less than they can
be known: if the intervals that their calls give for them meet. Those intervals are order statistics (David
and Nagaraja, Order Statistics, section 7.1), so they hold for latencies of any distribution, one with two
peaks too. Where two of them just meet, the medians differ by twice the standard error of their difference
(as the notches of box plots do: McGill, Tukey and Larsen, Variations of Box Plots, 1978). The 1 % is that of
Georges, Buytaert and Eeckhout, Statistically Rigorous Java Performance Evaluation, 2007. Some latencies never
settle, so there is a limit.

A stretch has half the time that was asked for, later on a sixth of the time so far, and 20 calls or more. It
grows because what approaches its last value slowly would else change too little from one to the next: where
1 % is left of an exponential approach, its change over the last sixth and the one before is about as much.

The host's own bench program uses this module too.
"""

import math
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Tuple

__all__ = ["Settling", "limit_of"]

_FEWEST_WARM_UPS = 10
_FEWEST = 20  # calls of a stretch
_PART = 1 / 6  # of the time so far
_LOOKS = 4.0  # per stretch
_AGREE = 0.01
_RESOLUTION_MS = 0.001  # two steps of the GPU's clock: cudaEventElapsedTime tells about 0.5 us
_NOTCH = math.sqrt(2.0) / 2  # of the square root of the calls: by how many ranks their median may be off


def limit_of(warm_up_s: float, asked_s: float = 0.0) -> float:
    """How long a warm-up may last.

    Args:
        warm_up_s: How long it lasts at least.
        asked_s: The limit that was asked for; 0 leaves it to this module.
    """
    return max(warm_up_s, asked_s or 3.0 * warm_up_s + 5.0)


class Settling:
    """Hears the calls of one warm-up and says when it is over.

    Args:
        warm_up_s: How long it lasts at least.
        limit_s: How long it lasts at most, settled or not, but for its first ten calls.

    Attributes:
        seconds: How long it has lasted.
        settled: Whether the latency has settled; ``None`` where too few calls fit in to tell.
        trend: By which share the median of the last stretch is above (below: negative) the one before.
    """

    def __init__(self, warm_up_s: float, limit_s: float) -> None:
        self.seconds = 0.0
        self.settled: Optional[bool] = None
        self.trend = 0.0
        self._least_s = warm_up_s / 2
        self._limit_s = limit_s
        self._look_s = warm_up_s
        self._calls: Deque[Tuple[float, float]] = deque()
        self._heard = 0

    def over(self, at_s: float, ms: float) -> bool:
        """Hear of a call.

        Args:
            at_s: When it ended, from the begin of the warm-up.
            ms: How long it took.

        Returns:
            Whether the warm-up is over.
        """
        self.seconds = at_s
        self._heard += 1
        self._calls.append((at_s, ms))
        if self._heard < _FEWEST_WARM_UPS or at_s < min(self._look_s, self._limit_s):
            return False
        stretch_s = max(self._least_s, _PART * at_s)
        self._look_s = at_s + stretch_s / _LOOKS
        self._look(at_s - stretch_s)
        return bool(self.settled) or at_s >= self._limit_s or (self.settled is None and self._too_slow())

    def told(self) -> Dict[str, Any]:
        """What a measurement keeps of it."""
        told = {"warm_up_s": round(self.seconds, 3), "settled": self.settled}
        if self.settled is not None:
            told["warm_up_trend"] = round(self.trend, 4)
        return told

    def _look(self, since_s: float) -> None:
        """Compare the stretch since an instant with as many calls before it."""
        recent = sum(1 for when_s, _ in self._calls if when_s > since_s)
        calls = max(_FEWEST, min(recent, len(self._calls) // 2))
        if len(self._calls) < 2 * calls:
            return
        while len(self._calls) > 2 * max(calls, recent):  # no later look goes back so far
            self._calls.popleft()
        taken_ms = [ms for _, ms in self._calls]
        before, last = sorted(taken_ms[-2 * calls : -calls]), sorted(taken_ms[-calls:])
        was_ms, is_ms = _median(before), _median(last)
        self.trend = is_ms / was_ms - 1.0 if was_ms else 0.0
        (was_low, was_high), (is_low, is_high) = _notch(before), _notch(last)
        near = abs(is_ms - was_ms) <= max(_AGREE * was_ms, _RESOLUTION_MS)
        self.settled = near or (is_low <= was_high and was_low <= is_high)

    def _too_slow(self) -> bool:
        """Whether no two stretches fit in before the limit."""
        typical_s = _median(sorted(ms for _, ms in self._calls)) / 1e3
        return 2 * _FEWEST * typical_s > self._limit_s


def _median(ordered: List[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _notch(ordered: List[float]) -> Tuple[float, float]:
    """Between which values the median of all calls may lie."""
    middle, off = (len(ordered) - 1) / 2, _NOTCH * math.sqrt(len(ordered))
    return ordered[max(0, math.floor(middle - off))], ordered[min(len(ordered) - 1, math.ceil(middle + off))]
