"""Intervals cover what they promise to cover."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgesynth.profiler.statistics import Figure, drift, mean_interval, quantile, student_t


@pytest.mark.parametrize("degrees", [3, 5, 10, 22, 100, 1000])
def test_student_t_agrees_with_the_tables(degrees):
    assert student_t(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=0.01)


def test_student_t_of_no_freedom_knows_nothing():
    assert student_t(0) == math.inf
    assert student_t(1) == pytest.approx(stats.t.ppf(0.975, 1), rel=1e-3)
    assert student_t(2) == pytest.approx(stats.t.ppf(0.975, 2), rel=1e-3)


@pytest.mark.parametrize(("share", "samples"), [(0.5, 30), (0.5, 400), (0.9, 100), (0.99, 400)])
def test_quantile_intervals_cover_the_truth(share, samples):
    random = np.random.default_rng(0)
    truth = -math.log(1 - share)  # of the exponential distribution
    figures = [quantile(random.exponential(size=samples), share) for _ in range(1500)]
    covered = np.mean([figure.low <= truth <= figure.high for figure in figures])

    assert 0.94 <= covered <= 1.0


@pytest.mark.parametrize(("share", "fewest"), [(0.5, 6), (0.9, 36), (0.99, 368)])
def test_too_few_samples_give_no_percentile(share, fewest):
    assert quantile(range(fewest - 1), share) is None
    assert quantile(range(fewest), share) is not None


@given(st.lists(st.floats(0.1, 1e3), min_size=6, max_size=200))
def test_the_median_lies_in_its_interval(values):
    figure = quantile(values, 0.5)

    assert min(values) <= figure.low <= figure.value <= figure.high <= max(values)


def test_mean_intervals_cover_the_truth():
    random = np.random.default_rng(1)
    figures = [mean_interval(random.normal(10, 2, size=12)) for _ in range(2000)]

    assert 0.935 <= np.mean([figure.low <= 10 <= figure.high for figure in figures]) <= 0.965


def test_dependent_samples_count_less():
    values = np.random.default_rng(2).normal(size=100)

    every, fewer = mean_interval(values), mean_interval(values, effective=25)

    assert fewer.high - fewer.low > 1.9 * (every.high - every.low)
    assert (every.samples, fewer.samples) == (100, 25)


def test_one_sample_says_nothing_of_its_spread():
    assert mean_interval([3.0]).high == math.inf


@given(st.floats(1, 10), st.floats(0.1, 0.9))
def test_a_falling_function_swaps_the_ends(value, half):
    figure = Figure(value, value - half, value + half, 5).map(lambda x: 1 / x)

    assert figure.low < figure.value < figure.high
    assert figure.low == pytest.approx(1 / (value + half))


@settings(max_examples=50)
@given(st.floats(0.02, 0.5))
def test_drift_is_seen(growth):
    assert drift([5.0] * 50) == 0
    assert drift([5.0 * (1 + growth * index / 100) for index in range(100)]) == pytest.approx(
        0.8 * growth / (1 + growth / 2), rel=0.05
    )
