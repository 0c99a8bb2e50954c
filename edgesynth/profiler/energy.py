"""Joules from power samples: trapezoid, window, and what the sensor's rounding and filter allow to say.

Inferences per joule are the inferences of a window over the integral of the module's total power over that
same window (the MLPerf Power convention: nothing is subtracted). The dynamic figure subtracts the power at
rest before and after the load and is labelled as such.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from edgesynth.profiler.statistics import Figure, mean_interval

__all__ = ["Window", "holds_still", "integrate_mj", "mean_power"]


@dataclass(frozen=True)
class Window:
    """A stretch of time on the device's clock, in seconds."""

    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end_s - self.begin_s


def integrate_mj(times_s: ArrayLike, power_mw: ArrayLike, window: Window) -> float:
    """Energy of a window by the trapezoid rule.

    Args:
        times_s: Monotonic time stamps, shape ``[n]``, ascending, ``n >= 2``.
        power_mw: Power at those instants, shape ``[n]``.
        window: Its ends need not be samples: the power there is interpolated, and held constant beyond the
            first and the last sample.

    Returns:
        Millijoules.
    """
    times = np.asarray(times_s, dtype=np.float64)
    power = np.asarray(power_mw, dtype=np.float64)
    inside = (times > window.begin_s) & (times < window.end_s)
    ends = np.interp([window.begin_s, window.end_s], times, power)
    grid = np.concatenate([[window.begin_s], times[inside], [window.end_s]])
    level = np.concatenate([ends[:1], power[inside], ends[1:]])
    return float(np.sum(np.diff(grid) * (level[1:] + level[:-1]) / 2))


def holds_still(power_mw: ArrayLike, step_mw: float) -> bool:
    """Whether power wanders over less than half a step, so that its rounding does not average out.

    Args:
        power_mw: As a sensor rounds it, shape ``[n]``.
        step_mw: Smallest difference of the sensor.
    """
    power = np.asarray(power_mw, dtype=np.float64)
    return len(power) < 2 or float(power.std(ddof=1)) < step_mw / 2


def mean_power(
    times_s: Sequence[float],
    power_mw: Sequence[float],
    window: Window,
    *,
    step_mw: float,
    filter_s: float,
    still_mw: float | None = None,
) -> Figure | None:
    """Mean power over a window, with an interval that respects what the sensor can tell.

    Samples closer than the sensor's averaging window repeat each other, so only as many count as fit into
    the window that far apart. Rounding to steps adds the variance ``step**2 / 12``, and it averages out only
    where the samples wander over more than half a step. What does not is added as what the samples cannot
    show: 1.96 standard deviations of it, which is more than half a step, since the rails of a sum may all be
    off to the same side. The interval is never narrower than ``step / sqrt(n)`` either.

    Args:
        times_s: Monotonic time stamps, shape ``[n]``, ascending.
        power_mw: Power at those instants, shape ``[n]``.
        window: Where to look.
        step_mw: Smallest difference of the sensor; see :func:`~edgesynth.profiler.rails.step_mw`.
        filter_s: Its averaging window.
        still_mw: Of a sum, as much of the step as does not average out; see
            :func:`~edgesynth.profiler.rails.still_step_mw`. By default all of it or nothing.

    Returns:
        The figure in mW, or ``None`` with fewer than two samples in the window.
    """
    times = np.asarray(times_s, dtype=np.float64)
    power = np.asarray(power_mw, dtype=np.float64)
    inside = (times >= window.begin_s) & (times <= window.end_s)
    seen = power[inside]
    if len(seen) < 2:
        return None
    spacing = max(filter_s, window.seconds / len(seen))
    effective = max(2.0, window.seconds / spacing)
    spread = mean_interval(seen, effective, extra_variance=step_mw**2 / 12)
    mean = integrate_mj(times, power, window) / window.seconds
    half = max(spread.high - spread.value, step_mw / math.sqrt(effective))
    if still_mw is None:
        still_mw = step_mw if holds_still(seen, step_mw) else 0.0
    half = math.hypot(half, 1.96 * still_mw / math.sqrt(12))
    return Figure(mean, mean - half, mean + half, spread.samples)
