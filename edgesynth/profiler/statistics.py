"""Percentiles and means with the intervals that say how well they are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from edgesynth.metrics import Z_95

__all__ = ["Figure", "drift", "mean_interval", "quantile", "student_t", "trend"]


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % confidence interval.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
        samples: Independent samples behind it.
    """

    value: float
    low: float
    high: float
    samples: int

    def map(self, function: Callable[[float], float]) -> Figure:
        """The figure under a monotonic function; a falling one swaps the ends."""
        ends = sorted((function(self.low), function(self.high)))
        return Figure(function(self.value), ends[0], ends[1], self.samples)


def quantile(values: ArrayLike, share: float) -> Figure | None:
    """A quantile with its distribution-free interval from order statistics.

    The number of samples below the true quantile is binomial, whatever the distribution, so two order
    statistics enclose it with at least 95 % (David and Nagaraja, Order Statistics, section 7.1).

    Args:
        values: Independent samples, shape ``[n]``.
        share: Between 0 and 1.

    Returns:
        The figure, or ``None`` when so few samples cannot enclose this quantile at 95 %.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    ranks = _ranks(len(ordered), share)
    if ranks is None:
        return None
    low, high = ranks
    return Figure(float(np.quantile(ordered, share)), float(ordered[low]), float(ordered[high]), len(ordered))


@cache
def _ranks(samples: int, share: float) -> tuple[int, int] | None:
    """Zero-based ranks of the order statistics that leave at most 2.5 % outside on either side."""
    if samples < 1:
        return None
    log_terms = [
        math.lgamma(samples + 1)
        - math.lgamma(count + 1)
        - math.lgamma(samples - count + 1)
        + count * math.log(share)
        + (samples - count) * math.log1p(-share)
        for count in range(samples + 1)
    ]
    below = np.cumsum(np.exp(log_terms))  # below[k] = P(at most k samples lie below the quantile)
    # The (r+1)-th smallest exceeds the quantile when at most r samples lie below it.
    low = int(np.searchsorted(below, 0.025, side="right")) - 1
    high = int(np.searchsorted(below, 0.975, side="left"))
    if low < 0 or high >= samples:
        return None
    return low, high


def student_t(degrees: float) -> float:
    """The two-sided 95 % quantile of Student's t (Cornish-Fisher; within 1 % from 3 degrees on)."""
    if degrees < 1:
        return math.inf
    if degrees < 3:
        return 12.7062 if degrees < 2 else 4.3027
    z = Z_95
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )


def mean_interval(values: ArrayLike, effective: float | None = None, extra_variance: float = 0.0) -> Figure:
    """A mean with its 95 % interval.

    Args:
        values: Samples, shape ``[n]``, at least one.
        effective: How many of them are independent; all by default.
        extra_variance: Variance of one sample that the samples cannot show (rounding).
    """
    data = np.asarray(values, dtype=np.float64)
    independent = max(1.0, float(len(data) if effective is None else min(effective, len(data))))
    mean = float(data.mean())
    variance = float(data.var(ddof=1)) if len(data) > 1 else math.inf
    half = student_t(independent - 1) * math.sqrt((variance + extra_variance) / independent)
    return Figure(mean, mean - half, mean + half, int(independent))


def trend(values: Sequence[float], parts: int = 5) -> float:
    """By which share the median of the last part of a series is above (below: negative) that of the first.

    0 unless the medians of consecutive parts rise or fall all the way, and those of the first and the last
    are known well enough to differ.

    Args:
        values: In the order they were taken, at least ``parts`` of them.
        parts: Into how many parts to cut.
    """
    cut = np.array_split(np.asarray(values, dtype=np.float64), parts)
    steps = np.diff([float(np.median(part)) for part in cut])
    first, last = quantile(cut[0], 0.5), quantile(cut[-1], 0.5)
    if first is None or last is None or not (np.all(steps > 0) or np.all(steps < 0)):
        return 0.0
    apart = first.high < last.low or last.high < first.low
    return last.value / first.value - 1 if apart else 0.0


def drift(values: Sequence[float], parts: int = 5) -> float:
    """Largest relative difference between the medians of consecutive parts of a series.

    Args:
        values: In the order they were taken, at least ``parts`` of them.
        parts: Into how many parts to cut.
    """
    medians = [float(np.median(part)) for part in np.array_split(np.asarray(values, dtype=np.float64), parts)]
    return (max(medians) - min(medians)) / float(np.median(medians))
