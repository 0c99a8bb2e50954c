"""On what scale, and how noisy, observations are."""

import numpy as np
import pytest

from edgesynth.space import Space, Width
from edgesynth.synthesis.belief import Interpretation
from edgesynth.synthesis.observations import Observations
from edgesynth.synthesis.performance import as_performance
from edgesynth.synthesis.requirements import Requirements

SPACE = Space([Width("w", 1, 16, 1)])


def observed(values, deviations, weights=None, metric="latency_ms"):
    """Relative noise of these observations, and its unit."""
    values, count = np.array(values, dtype=float), len(values)
    score = as_performance(lambda metrics: -metrics[metric])
    interpretation = Interpretation(Requirements({metric: "<= 0.5"}), score, {})
    seen = Observations(
        np.arange(count)[:, None],
        {metric: values},
        {metric: np.ones(count) if weights is None else np.array(weights)},
        {metric: np.array(deviations, dtype=float)},
        -values,
        np.zeros(count),
        {},
    )
    _, noise = interpretation.observe(seen)
    return noise[interpretation.outputs.index(metric)], interpretation.noise(metric)


def test_without_intervals_noise_is_one_over_the_weight():
    noise, unit = observed([1.0, 2.0, 3.0], [np.nan] * 3, weights=[1.0, 4.0, 0.5])
    assert noise.tolist() == [1.0, 0.25, 2.0]
    assert unit == 0.0


def test_deviations_in_proportion_are_alike_on_a_scale_of_logarithms():
    values = np.array([1.0, 3.0, 30.0, 100.0])
    noise, _ = observed(values, 0.05 * values)
    assert noise == pytest.approx(1.0, rel=0.05)


def test_shares_near_the_ends_are_the_noisier_ones_as_their_odds_are():
    shares = np.array([0.05, 0.5, 0.6, 0.97])
    noise, _ = observed(shares, np.sqrt(shares * (1 - shares) / 200), metric="accuracy")
    assert noise[0] > 2 * noise[1]
    assert noise[3] > 2 * noise[2]


def test_noise_follows_deviations_and_what_has_none_is_as_usual():
    values, sure = [5.0, 6.0, 7.0, 8.0, 9.0], 0.1
    exact, surer, usual, unsure, unknown = observed(values, [0.0, sure, 2 * sure, 4 * sure, np.nan])[0]
    assert 0 < exact < 0.01 < surer < usual < unsure
    assert usual == pytest.approx(1.0, rel=0.1)
    assert unknown == 1.0
    assert unsure / surer == pytest.approx(16 * (6 / 8) ** 2, rel=0.05)


def test_one_wide_interval_changes_nothing_for_the_others():
    values = np.linspace(5.0, 9.0, 21)
    before, unit = observed(values[:20], [0.1] * 20)
    after, other = observed(values, [0.1] * 20 + [50.0])
    assert after[:20] == pytest.approx(before, rel=0.2)
    assert other == pytest.approx(unit, rel=0.2)
    assert after[20] > 10 * after[:20].max()


@pytest.mark.parametrize("metric", ["latency_ms", "inferences_per_joule", "accuracy"])
def test_noise_is_at_most_all_that_was_seen(metric):
    values = np.linspace(0.2, 0.8, 6)
    noise, unit = observed(values, [1e3] * 6, metric=metric)
    assert unit == 1.0
    assert noise == pytest.approx(1.0)
