"""Intervals of the difference of two networks hold what they promise, on few samples and on many."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgesynth.metrics import Metric, Provenance
from edgesynth.tasks import Score
from edgesynth.tasks.comparison import paired_difference, paired_interval, unseen_share


@pytest.mark.parametrize("samples", [1, 12, 380, 1000])
def test_networks_that_never_disagree_may_still_differ_by_so_much(samples: int) -> None:
    z = 1.959964
    reach = z * z / (samples + z * z)
    assert paired_interval(0, 0, samples) == pytest.approx((-reach, reach), abs=1e-9)


def test_the_ends_are_where_the_score_test_rejects() -> None:
    """Against the test with its variance found by brute force, not by the closed form."""
    better, worse, samples = 12, 2, 50
    grid = np.linspace(0.0, 1.0, 200_001)
    for end in paired_interval(better, worse, samples):
        share = grid[(grid + end >= 0) & (2 * grid + end <= 1)]  # of the second alone; the first has end more
        with np.errstate(divide="ignore"):
            likelihood = (
                better * np.log(share + end)
                + worse * np.log(share)
                + (samples - better - worse) * np.log(1 - 2 * share - end)
            )
        best = share[np.nanargmax(likelihood)]
        statistic = (better - worse - samples * end) ** 2 / (samples * (2 * best + end - end**2))
        assert math.sqrt(statistic) == pytest.approx(1.959964, rel=1e-3)


@pytest.mark.parametrize(("gain", "loss"), [(0.0, 0.01), (0.01, 0.02), (0.02, 0.1), (0.15, 0.15)])
@pytest.mark.parametrize("samples", [30, 200])
def test_ninety_five_of_a_hundred_intervals_hold_the_truth(gain: float, loss: float, samples: int) -> None:
    drawn = np.random.default_rng(0).multinomial(samples, [gain, loss, 1 - gain - loss], size=1500)
    kinds, counts = np.unique(drawn, axis=0, return_counts=True)
    held = 0
    for (better, worse, _), count in zip(kinds.tolist(), counts.tolist(), strict=True):
        low, high = paired_interval(better, worse, samples)
        held += count * (low <= gain - loss <= high)
    assert held / 1500 > 0.93


def test_the_ends_are_reached_where_all_samples_speak_for_one() -> None:
    low, high = paired_interval(5, 0, 5)
    assert (high, low > 0) == (1.0, True)
    assert paired_interval(0, 5, 5) == pytest.approx((-high, -low))


def test_the_comparison_is_paired(share: Callable[[list[int]], Score]) -> None:
    """Both are right on nine in ten; what differs is where, and that alone counts."""
    one = share([1] * 900 + [0] * 100)
    known = paired_difference(one, share([1] * 898 + [0] * 100 + [1, 1]))
    assert (known.value, known.better, known.worse, known.samples) == (0.0, 2, 2, 1000)
    assert known.interval is not None
    assert max(map(abs, known.interval)) < 0.006
    apart = paired_difference(one, share([0] * 100 + [1] * 900))
    assert apart.interval is not None
    assert apart.value == 0.0
    assert max(map(abs, apart.interval)) > 0.02


@pytest.fixture
def share() -> Callable[[list[int]], Score]:
    def score(right: list[int]) -> Score:
        metric = Metric("accuracy", sum(right) / len(right), Provenance.MEASURED, len(right))
        return Score(metric, 0.0, torch.tensor(right, dtype=torch.bool))

    return score


def over_images(values: NDArray[np.float64]) -> Score:
    """A mean over images, which is no share of them."""

    def resampled(counts: NDArray[np.int64]) -> float:
        return float(counts @ values / counts.sum())

    metric = Metric("miou", float(values.mean()), Provenance.MEASURED, len(values))
    return Score(metric, 0.0, resampled=resampled)


def test_images_are_drawn_again_in_pairs() -> None:
    noise = np.random.default_rng(0)
    base = noise.uniform(0.2, 0.9, 400)
    known = paired_difference(over_images(base - noise.normal(0.01, 0.02, 400)), over_images(base))
    assert known.interval is not None
    low, high = known.interval
    assert low < known.value < high
    assert known.value == pytest.approx(-0.01, abs=0.003)
    spread = 2 * 1.96 * 0.02 / math.sqrt(400) + 2 * unseen_share(400) * base.mean()
    assert high - low == pytest.approx(spread, rel=0.2)


def test_a_handful_of_images_that_agree_prove_little() -> None:
    base = np.full(20, 0.5)
    known = paired_difference(over_images(base), over_images(base))
    assert known.interval == pytest.approx((-0.0842, 0.0842), abs=1e-3)
    assert known.extrapolated is not None
    assert known.extrapolated(1000)[0] > -0.002


def test_a_score_that_does_not_tell_what_samples_came_to_has_no_interval() -> None:
    plain = Score(Metric("miou", 0.5, Provenance.MEASURED, 100), 0.0)
    assert paired_difference(plain, plain).interval is None
