"""On what scale, and how noisy, observations are."""

import math

import numpy as np
import pytest

from edgesynth.space import Space, Width
from edgesynth.synthesis.belief import Interpretation
from edgesynth.synthesis.observations import Observations
from edgesynth.synthesis.performance import CustomScore, as_performance
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


def blind(metrics):
    """A function of numbers, which takes no tensors."""
    return -math.log(metrics["latency_ms"]) if metrics["latency_ms"] > 4 else math.sqrt(metrics["accuracy"])


def performances(deviations, score=blind, weights=(1.0, 1.0, 1.0)):
    """Relative noise of three performances, of a latency that costs nothing beside one that is measured."""
    latency, accuracy = np.array([5.0, 6.0, 7.0]), np.array([0.5, 0.6, 0.7])
    interpretation = Interpretation(
        Requirements({"accuracy": ">= 0.1"}), CustomScore(score, ("latency_ms", "accuracy"), "blind"), {}
    )
    seen = Observations(
        np.arange(3)[:, None],
        {"accuracy": accuracy, "latency_ms": latency},
        {"accuracy": np.array(weights), "latency_ms": np.ones(3)},
        {"accuracy": np.full(3, np.nan), "latency_ms": np.array(deviations)},
        np.array(
            [score({"latency_ms": one, "accuracy": two}) for one, two in zip(latency, accuracy, strict=True)]
        ),
        np.zeros(3),
        {},
    )
    _, noise = interpretation.observe(seen)
    return noise[interpretation.outputs.index("performance")].tolist()


def test_a_performance_without_a_form_for_tensors_is_as_sure_as_what_it_reads():
    sure, usual, unsure = performances([0.01, 0.1, 0.4])
    assert sure < 0.1 * usual < 0.1 * unsure
    assert performances([np.nan] * 3) == [1.0, 1.0, 1.0]


def test_a_performance_is_worth_as_many_observations_as_the_least_observed_metric():
    assert performances([np.nan] * 3, weights=[0.5, 1.0, 4.0]) == [2.0, 1.0, 1.0]


def test_a_performance_that_knows_only_what_was_told_is_as_sure_as_any():
    table = {5.0: 1.0, 6.0: 2.0, 7.0: 4.0}
    assert performances([0.1, 0.1, 0.4], score=lambda m: table[m["latency_ms"]]) == [1.0, 1.0, 1.0]


def certainty(function, needs, values, deviations, weights=None, exact=None):
    """Weights and deviations of performances; arguments by metric, a row for each network."""
    columns = {name: np.array(column, dtype=float) for name, column in values.items()}
    count = len(next(iter(columns.values())))
    known = {**columns, **(exact or {})}
    utility = [function({name: column[row] for name, column in known.items()}) for row in range(count)]
    seen = Observations(
        np.arange(count)[:, None],
        columns,
        {name: np.array((weights or {}).get(name, [1.0] * count)) for name in columns},
        {name: np.array(deviations.get(name, [np.nan] * count)) for name in columns},
        np.array(utility),
        np.zeros(count),
        {},
        exact=exact or {},
    )
    return seen.certainty(CustomScore(function, needs, "score"))


def test_certainty_counts_both_metrics_and_nothing_that_is_computed():
    weights, deviations = certainty(
        lambda m: 3 * m["accuracy"] + 4 * m["latency_ms"] + m["macs"],
        ("accuracy", "latency_ms", "macs"),
        {"accuracy": [0.5], "latency_ms": [1.0], "macs": [1e9]},
        {"accuracy": [0.1], "latency_ms": [0.1], "macs": [1e6]},
        weights={"accuracy": [2.0], "latency_ms": [8.0], "macs": [0.1]},
        exact={"macs": np.array([7.0])},
    )
    assert weights.tolist() == [2.0]
    # The mean of eight is as sure as that of two of half the deviation.
    assert deviations == pytest.approx([math.hypot(0.3, 0.4 / 2)])


def test_a_network_without_one_of_its_intervals_is_no_surer_for_that():
    _, deviations = certainty(
        lambda m: 10 * m["accuracy"] - 0.01 * m["latency_ms"],
        ("accuracy", "latency_ms"),
        {"accuracy": [0.5, 0.6, 0.7], "latency_ms": [5.0, 6.0, 7.0]},
        {"accuracy": [0.05, 0.05, np.nan], "latency_ms": [0.1, 0.1, 0.1]},
    )
    assert deviations[:2] == pytest.approx(0.5, rel=0.01)
    assert np.isnan(deviations[2])


def test_the_best_of_a_target_is_as_unsure_as_its_neighbours():
    _, deviations = certainty(
        lambda m: -abs(m["latency_ms"] - 6),
        ("latency_ms",),
        {"latency_ms": [5.0, 6.0, 7.0]},
        {"latency_ms": [1.0, 1.0, 1.0]},
    )
    assert deviations.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("metric", "value", "deviation", "function", "expected"),
    [
        ("accuracy", 0.95, 0.2, lambda value: math.log(1.01 - value), math.log(0.06 / 0.01)),
        ("netscore", -20.0, 1.0, lambda value: value, 1.0),
        ("latency_ms", 2.0, 5.0, math.log, math.log(1000)),
        ("latency_ms", 2.0, 1.0, lambda value: -math.exp(700 * value / 2), math.nan),
    ],
    ids=["no share above the whole", "below zero", "no cost of nothing", "too large for a float"],
)
def test_deviations_stay_where_a_metric_can_be(metric, value, deviation, function, expected):
    _, deviations = certainty(
        lambda m: function(m[metric]), (metric,), {metric: [value]}, {metric: [deviation]}
    )
    assert deviations.tolist() == pytest.approx([expected], nan_ok=True)
