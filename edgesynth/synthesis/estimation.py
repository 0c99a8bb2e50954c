"""Qualities of networks that were judged on few samples: told apart by their losses, and set right by one.

Whether a sample is answered rightly is one bit; the loss also says by how much. Among slices of one set of
weights, judged on the same 250 images, the loss ranks accuracies (on 5,000 images) with a correlation of
0.95, their own accuracies with 0.6. So inside a cycle the loss is the auxiliary variable of a regression
estimate (W. Cochran, "Sampling Techniques", 1977, chapter 7). What the few samples are harder or easier for
all of them than others is found by judging one network on more, as in double sampling (chapter 12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from edgesynth.metrics import Metric

__all__ = ["FEWEST_NETWORKS", "moved", "regressed"]

FEWEST_NETWORKS: Final = 6
"""Networks from which on a line through their losses and qualities is worth anything."""


def regressed(qualities: Sequence[Metric], losses: Sequence[float]) -> list[Metric]:
    """Better estimates of qualities that were measured on the same few samples.

    Each moves to the line of least squares through losses and qualities, except for what lies farther from
    it, on average, than chance in so few samples explains: that share of the distance stays. Nothing moves
    where there are too few networks, or a higher loss goes with a higher quality.

    Args:
        qualities: Of networks ``[n]`` on the same samples, a network that occurs twice counting twice.
        losses: Their mean losses on these samples, ``[n]``.

    Returns:
        Estimates ``[n]`` with the same mean. Intervals move along; they are as wide as before.
    """
    values = np.array([metric.value for metric in qualities])
    heard = np.array(losses)
    if len(values) < FEWEST_NETWORKS or not np.isfinite(heard).all() or np.ptp(heard) == 0:
        return list(qualities)
    apart = heard - heard.mean()
    slope = float(apart @ values / (apart @ apart))
    if slope >= 0:
        return list(qualities)
    on_line = values.mean() + slope * apart
    scatter = float(((values - on_line) ** 2).sum() / (len(values) - 2))
    chance = float(np.mean([(metric.deviation or 0.0) ** 2 for metric in qualities]))
    kept = max(0.0, 1.0 - chance / scatter) if scatter > 0 else 0.0
    estimates = on_line + kept * (values - on_line)
    return [
        moved(metric, float(value - metric.value), "for its loss")
        for metric, value in zip(qualities, estimates, strict=True)
    ]


def moved(metric: Metric, by: float, why: str) -> Metric:
    """A share that is taken to be larger by so much, between 0 and 1 still; its interval moves along.

    Args:
        metric: Measured.
        by: How much larger.
        why: Ends its source.
    """
    value, ends = min(1.0, max(0.0, metric.value + by)), metric.interval
    if ends is not None:
        # Rounding must not leave a value outside of its own interval.
        ends = min(value, max(0.0, ends[0] + by)), max(value, min(1.0, ends[1] + by))
    return replace(metric, value=value, interval=ends, source=f"{metric.source}, {by:+.4f} {why}")
