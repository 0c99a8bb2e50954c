import numpy as np
import pytest

from edgesynth.space import Choice, Space, Switch, Width
from edgesynth.synthesis.encoding import Encoding, first_rows

SPACE = Space([Choice("op", ["a", "b", "c"]), Width("w", 4, 96, 4), Switch("s"), Width("v", 8, 24, 8)])
ENCODING = Encoding(SPACE)


def every():
    return np.array(list(np.ndindex(*SPACE.cardinalities)), dtype=np.int64)


def test_features_are_centred_over_the_space():
    assert ENCODING.embed(every()).mean(0) == pytest.approx(np.zeros(len(ENCODING.owner)))


@pytest.mark.parametrize("dimension", range(4))
def test_the_extremes_of_a_dimension_are_at_distance_1(dimension):
    ends = np.zeros((2, 4), dtype=np.int64)
    ends[1, dimension] = ENCODING.counts[dimension] - 1
    first, last = ENCODING.embed(ends)
    assert ((first - last) ** 2).sum() == pytest.approx(1.0)


def test_neighbours_differ_in_one_dimension_and_stay_in_the_space():
    parents = np.array([[0, 0, 0, 0], [2, 12, 1, 2]], dtype=np.int64)
    near = ENCODING.neighbours(parents)
    assert ((near[:, None] != parents).sum(2) == 1).any(1).all()
    assert ((near >= 0) & (near < ENCODING.counts)).all()
    assert len(first_rows(near)) == len(near) == (2 + 3 + 1 + 2) + (2 + 6 + 1 + 2)
    # Of 24 widths: one step, an eighth and a third.
    assert sorted(near[near[:, 1] != 0][:3, 1]) == [1, 3, 8]


def test_the_first_of_equal_rows_is_found():
    rows = np.array([[1, 2], [3, 4], [1, 2]], dtype=np.int64)
    assert sorted(first_rows(rows).values()) == [0, 1]
