import pytest

from edgesynth.errors import InputError
from edgesynth.tasks.scoring import bootstrap_interval, share_interval


def test_the_interval_of_a_mean_is_two_standard_errors_wide():
    right = [0, 1] * 50
    low, high = bootstrap_interval(lambda counts: float(counts @ right) / 100, 100)
    # The standard error of a share of one half of 100 is 0.05.
    assert low == pytest.approx(0.4, abs=0.02)
    assert high == pytest.approx(0.6, abs=0.02)


def test_few_samples_have_no_narrow_interval():
    assert share_interval(lambda _counts: 0.7, 1) == (0.0, 1.0)
    assert share_interval(lambda _counts: 0.7, 2) == (0.7, 0.7)
    with pytest.raises(InputError, match="no interval of 0 samples"):
        bootstrap_interval(lambda _counts: 0.7, 0)
