"""Qualities from few samples, told apart by losses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edgesynth.metrics import Metric, Provenance, wilson_interval
from edgesynth.synthesis.estimation import FEWEST_NETWORKS, moved, regressed

SAMPLES = 250


def judged(right: float, samples: int = SAMPLES) -> Metric:
    interval = wilson_interval(right, samples)
    return Metric("accuracy", right / samples, Provenance.MEASURED, samples, interval, "data validation")


def families(seed: int, networks: int = 24) -> tuple[np.ndarray, list[Metric], list[float]]:
    """Networks whose margins on the same samples differ by little: true accuracies, measured ones, losses."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(1.2, 0.05, networks)[:, None]
    truth = np.array([0.5 * (1 + math.erf(s / math.sqrt(2))) for s in skill[:, 0]])
    margins = (
        skill + rng.normal(0, 0.95, SAMPLES) + rng.normal(0, math.sqrt(1 - 0.95**2), (networks, SAMPLES))
    )
    losses = np.log1p(np.exp(-2 * margins)).mean(1)
    return truth, [judged(float(right)) for right in (margins > 0).sum(1)], list(losses)


def test_estimates_tell_networks_apart_better_than_their_few_samples() -> None:
    before, after = [], []
    for seed in range(20):
        truth, qualities, losses = families(seed)
        raw = np.array([metric.value for metric in qualities])
        estimate = np.array([metric.value for metric in regressed(qualities, losses)])
        assert estimate.mean() == pytest.approx(raw.mean())
        before.append(np.std(raw - truth))
        after.append(np.std(estimate - truth))
    assert np.mean(after) < 0.6 * np.mean(before)
    assert np.mean(np.array(after) < np.array(before)) >= 0.9


def test_intervals_move_along_and_the_source_says_why() -> None:
    _, qualities, losses = families(0)
    for raw, estimate in zip(qualities, regressed(qualities, losses), strict=True):
        assert raw.interval is not None
        assert estimate.interval is not None
        move = estimate.value - raw.value
        assert estimate.interval == pytest.approx([end + move for end in raw.interval])
        assert estimate.source == f"data validation, {move:+.4f} for its loss"
        assert estimate.samples == raw.samples


def test_what_chance_does_not_explain_stays() -> None:
    """On many samples, qualities that do not follow losses are what they are."""
    _, few, losses = families(1)
    many = [judged(1_000_000 * metric.value, 1_000_000) for metric in few]
    for raw, estimate in zip(many, regressed(many, losses), strict=True):
        assert estimate.value == pytest.approx(raw.value, abs=2e-4)
    bare = [replace(metric, interval=None) for metric in few]
    for raw, estimate in zip(bare, regressed(bare, losses), strict=True):
        assert estimate.value == pytest.approx(raw.value)
        assert estimate.interval is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_losses_that_say_nothing_move_nothing(bad: float) -> None:
    _, qualities, losses = families(2)
    assert regressed(qualities, [*losses[:-1], bad]) == qualities
    assert regressed(qualities, [1.0] * len(losses)) == qualities
    assert regressed(qualities, [metric.value for metric in qualities]) == qualities
    few = FEWEST_NETWORKS - 1
    assert regressed(qualities[:few], losses[:few]) == qualities[:few]
    assert regressed([], []) == []


def test_no_estimate_is_above_one_or_below_zero() -> None:
    qualities = [judged(SAMPLES) for _ in range(5)] + [judged(SAMPLES - 40) for _ in range(3)]
    losses = [0.3, 0.2, 0.2, 0.2, -8.0, 0.5, 0.6, 0.5]
    for estimate in regressed(qualities, losses):
        assert estimate.interval is not None
        assert 0 <= estimate.interval[0] <= estimate.value <= estimate.interval[1] <= 1


def test_a_share_moves_with_its_interval_and_stays_one() -> None:
    harder = moved(judged(0.9 * SAMPLES), 0.02, "for its samples")
    assert harder.value == pytest.approx(0.92)
    assert harder.interval == pytest.approx([end + 0.02 for end in wilson_interval(0.9 * SAMPLES, SAMPLES)])
    assert harder.source == "data validation, +0.0200 for its samples"
    assert moved(judged(0.99 * SAMPLES), 0.02, "").value == 1.0
    assert moved(judged(0.01 * SAMPLES), -0.02, "").value == 0.0
