import numpy as np
import pytest

from edgesynth.errors import InputError
from edgesynth.tasks.scoring import bootstrap_interval, share_interval


def test_the_interval_of_a_mean_is_two_standard_errors_wide():
    right = [0, 1] * 50
    low, high = bootstrap_interval(lambda counts: float(counts @ right) / 100, 100)
    # The standard error of a share of one half of 100 is 0.05.
    assert low == pytest.approx(0.4, abs=0.02)
    assert high == pytest.approx(0.6, abs=0.02)


def share_of(right, samples):
    values = np.r_[np.ones(right), np.zeros(samples - right)]
    return lambda counts: np.array([counts @ values / samples])


def test_one_sample_says_nothing_of_others():
    assert share_interval(share_of(1, 1), 1, np.array([1])) == (0.0, 1.0)
    with pytest.raises(InputError, match="no interval of 0 samples"):
        share_interval(share_of(0, 0), 0, np.array([0]))


@pytest.mark.parametrize("samples", [2, 11, 300])
def test_samples_that_agree_have_the_exact_interval_of_clopper_and_pearson(samples):
    exact = 0.025 ** (1 / samples)
    ends = share_interval(share_of(samples, samples), samples, np.array([samples]))
    assert ends == pytest.approx((exact, 1.0), abs=1e-3)
    ends = share_interval(share_of(0, samples), samples, np.array([samples]))
    assert ends == pytest.approx((0.0, 1 - exact), abs=1e-3)


# Clopper and Pearson's, from the quantiles of beta distributions.
@pytest.mark.parametrize(
    ("right", "samples", "exact"),
    [(10, 11, (0.587, 0.998)), (25, 50, (0.355, 0.645)), (1, 50, (0.001, 0.106)), (298, 300, (0.976, 0.999))],
)
def test_a_share_of_samples_has_about_the_exact_interval_and_none_narrower_than_resampling(
    right, samples, exact
):
    scores = share_of(right, samples)
    low, high = share_interval(scores, samples, np.array([samples]))
    assert (low, high) == pytest.approx(exact, abs=0.03)
    drawn = bootstrap_interval(lambda counts: float(scores(counts)[0]), samples)
    assert low <= drawn[0]
    assert high >= drawn[1]


def test_a_class_that_two_samples_show_is_known_from_two():
    """The other class is known from all of them; of the mean of both, half is as uncertain as two samples."""
    shown = np.r_[np.ones(2), np.zeros(98)]

    def scores(counts):
        return np.array([1.0, 1.0 if counts @ shown else np.nan])

    low, high = share_interval(scores, 100, np.array([100, 2]))
    assert high == 1.0
    assert low == pytest.approx((0.025 ** (1 / 100) + 0.025 ** (1 / 2)) / 2, abs=0.05)
