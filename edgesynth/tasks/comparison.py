"""Two networks on the same samples: by how much their scores differ, and how sure of that one can be.

The comparison is paired: what matters is on which samples they differ, not how good either of them is. That
needs far fewer samples than two scores on their own, whose intervals both hold the spread of the samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.metrics import Z_95
from edgesynth.tasks.protocol import Score
from edgesynth.tasks.scoring import bootstrap_interval

__all__ = ["PairedDifference", "paired_difference", "paired_interval", "unseen_share"]

_TAIL: Final = 0.025
_HALVINGS: Final = 60


@dataclass(frozen=True)
class PairedDifference:
    """By how much one network's score lies above another's on the same samples.

    Attributes:
        value: The difference, positive where the first is better.
        interval: The 95 % interval of it; ``None`` where the scores do not tell what samples came to.
        samples: How many there are.
        better: Samples that the first alone has right; ``None`` where the metric is no share of samples.
        worse: Samples that the second alone has right.
        extrapolated: The interval that so many samples of the same kind would give; ``None`` without one.
    """

    value: float
    interval: tuple[float, float] | None
    samples: int
    better: int | None = None
    worse: int | None = None
    extrapolated: Callable[[float], tuple[float, float]] | None = None


def paired_difference(one: Score, other: Score) -> PairedDifference:
    """Compare two scores of the same samples in the same order.

    Where the metric is a share of samples (:attr:`Score.correct`), the interval is Tango's, from the samples
    on which the two disagree, as in McNemar's test. Else it is the paired bootstrap over samples
    (:attr:`Score.resampled`), widened by what samples of a kind that none of these shows may come to: up to
    :func:`unseen_share` of them, each losing or winning its whole score. Without that, two networks that
    agree on a handful of images would seem to agree on all.

    Args:
        one: Of the first network.
        other: Of the second.
    """
    value, samples = one.metric.value - other.metric.value, one.metric.samples
    if one.correct is not None and other.correct is not None and len(one.correct) == len(other.correct):
        better = int((one.correct & ~other.correct).sum())
        worse = int((other.correct & ~one.correct).sum())
        count = len(one.correct)

        def shares(many: float) -> tuple[float, float]:
            return paired_interval(better * many / count, worse * many / count, many)

        return PairedDifference(value, shares(count), count, better, worse, shares)
    first, second = one.resampled, other.resampled
    if first is None or second is None or samples != other.metric.samples or samples < 1:
        return PairedDifference(value, None, samples)

    def difference(counts: NDArray[np.int64]) -> float:
        return first(counts) - second(counts)

    low, high = bootstrap_interval(difference, samples)
    whole = max(one.metric.value, other.metric.value)

    def drawn(many: float) -> tuple[float, float]:
        narrower, unseen = math.sqrt(samples / many), unseen_share(many) * whole
        return value - (value - low) * narrower - unseen, value + (high - value) * narrower + unseen

    return PairedDifference(value, drawn(samples), samples, extrapolated=drawn)


def paired_interval(better: float, worse: float, samples: float) -> tuple[float, float]:
    """Tango's 95 % score interval of the difference of two shares of the same samples.

    T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17, 1998. It holds for few samples, and where the two never
    disagree: then it reaches ``z^2 / (samples + z^2)`` to both sides.

    Args:
        better: Samples that the first alone has right.
        worse: Samples that the second alone has right.
        samples: All of them.

    Returns:
        The interval of ``(better - worse) / samples``.
    """
    middle = (better - worse) / samples

    def inside(difference: float) -> bool:
        a = 2 * samples
        b = (2 * samples - better + worse) * difference - better - worse
        c = -worse * difference * (1 - difference)
        share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
        variance = samples * (2 * share + difference * (1 - difference))
        return (better - worse - samples * difference) ** 2 <= Z_95 * Z_95 * max(0.0, variance)

    ends = []
    for outside in (-1.0, 1.0):
        near, far = middle, outside
        if inside(far):
            near = far
        for _ in range(_HALVINGS):
            between = (near + far) / 2
            near, far = (between, far) if inside(between) else (near, between)
        ends.append(near)
    return ends[0], ends[1]


def unseen_share(samples: float) -> float:
    """How large a share of all samples may be of a kind that none of these is, with 97.5 % confidence.

    J. A. Hanley, A. Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249(13), 1983;
    about ``3.7 / samples``.
    """
    return float(1.0 - _TAIL ** (1.0 / samples))
