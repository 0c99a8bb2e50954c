import numpy as np
import pytest

from edgesynth.errors import InputError, RequirementError
from edgesynth.synthesis.budgets import Budgets
from edgesynth.synthesis.requirements import Requirements

TAUGHT = Requirements({"accuracy": ">= 0.8", "macs": "<= 1M", "inferences_per_joule": ">= 40"})


def test_budgets_move_together_or_alone_and_quality_stays():
    rows = Budgets(TAUGHT, 0.7).rows(64)
    assert rows.shape == (64, 3)
    assert not rows[:, 0].any()
    assert not rows[:16].any()
    together = rows[16:48]
    assert together[:, 1] == pytest.approx(-together[:, 2])
    assert (together[0, 1], together[-1, 1]) == pytest.approx((-0.7, 0.7))
    assert np.abs(rows).max() <= 0.7
    assert not np.allclose(rows[48:, 1], -rows[48:, 2])


def test_the_rows_are_the_same_every_time():
    assert np.array_equal(Budgets(TAUGHT, 0.7).rows(64), Budgets(TAUGHT, 0.7).rows(64))


def test_drawn_budgets_lie_in_the_range_and_some_are_the_taught_ones():
    rng = np.random.default_rng(0)
    drawn = np.stack([Budgets(TAUGHT, 0.7).draw(rng) for _ in range(200)])
    assert 0.6 < np.abs(drawn).max() <= 0.7
    assert 0.1 < (drawn == 0).all(1).mean() < 0.4


def test_a_reserve_tightens_every_budget_in_its_own_direction():
    budgets = Budgets(TAUGHT, 0.7)
    moved = budgets.tightened(budgets.rows(64), np.full(64, 0.1)) - budgets.rows(64)
    assert moved[0].tolist() == pytest.approx([0.0, -0.1, 0.1])


def test_marks_stand_evenly_from_the_tightest_budget_to_the_loosest():
    budgets = Budgets(TAUGHT, 0.7)
    marks = budgets.marks(3)
    assert marks.ravel().tolist() == pytest.approx([0.0, -0.7, 0.7, 0.0, 0.0, 0.0, 0.0, 0.7, -0.7])
    assert [budgets.place(mark) for mark in marks] == pytest.approx([-1.0, 0.0, 1.0])
    assert budgets.place((0.0, 0.7, 0.7)) == pytest.approx(0.0)
    assert Budgets(TAUGHT, 0.0).place((0.0, 0.0, 0.0)) == 0.0


def test_the_loosest_requirements_are_the_far_end():
    loosest = {item.metric: item.bound for item in Budgets(TAUGHT, np.log(2)).loosest}
    assert loosest == pytest.approx({"accuracy": 0.8, "macs": 2e6, "inferences_per_joule": 20})


def test_no_range_and_no_budget_are_none():
    assert not Budgets(TAUGHT, 0.0)
    assert not Budgets(Requirements({"accuracy": ">= 0.8"}), 1.0)


def test_a_range_covers_budgets_up_to_its_ends_and_any_quality():
    budgets = Budgets(TAUGHT, np.log(2))
    for bounds, covered in (
        ({"macs": "<= 2M"}, True),
        ({"macs": "<= 0.5M", "inferences_per_joule": ">= 80"}, True),
        ({"macs": "<= 2.1M"}, False),
        ({"inferences_per_joule": ">= 81"}, False),
        ({"accuracy": ">= 0.2"}, True),
    ):
        asked = TAUGHT.replaced(Requirements(bounds))
        assert budgets.covers(asked.vector(TAUGHT)) is covered, bounds
    assert Budgets(TAUGHT, 0.0).covers(TAUGHT.vector())


def test_requirements_outside_the_range_are_refused_in_words():
    budgets = Budgets(TAUGHT, np.log(2.0))
    half = Requirements({"accuracy": ">= 0.7", "macs": "<= 0.5M", "inferences_per_joule": ">= 40"})
    assert budgets.vector(half)[1] == pytest.approx(-np.log(2.0))
    with pytest.raises(RequirementError, match="budgets up to 2 times"):
        budgets.vector(Requirements({**half.to_json(), "macs": "<= 0.4M"}))
    with pytest.raises(RequirementError, match="was taught bounds on"):
        budgets.vector(Requirements({}))
    with pytest.raises(RequirementError, match="was taught bounds on"):
        Budgets(Requirements({}), 0.0).vector(half)


@pytest.mark.parametrize("span", [-1.0, float("nan"), float("inf"), 1000, "1", None])
def test_a_span_that_is_none_is_refused(span):
    with pytest.raises(InputError, match="span"):
        Budgets(TAUGHT, span)
