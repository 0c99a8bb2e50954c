import math

import numpy as np
import pytest

from edgesynth.synthesis.normal import cdf, log_cdf, scaled_erfc


def test_chances_are_those_of_the_error_function():
    z = np.linspace(-5.0, 5.0, 11)
    wanted = [0.5 * math.erfc(-value / math.sqrt(2)) for value in z]
    assert cdf(z) == pytest.approx(wanted)
    assert log_cdf(z) == pytest.approx(np.log(wanted))


def test_the_far_tail_stays_finite():
    assert log_cdf(np.array([-100.0])) == pytest.approx([-5005.524], abs=1e-3)
    assert scaled_erfc(np.array([100.0])) == pytest.approx([1 / (100 * math.sqrt(math.pi))], rel=1e-4)
