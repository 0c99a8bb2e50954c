import numpy as np
import pytest

from edgesynth.synthesis.budgets import Budgets
from edgesynth.synthesis.moderation import Moderation
from edgesynth.synthesis.requirements import Requirements

MEMBERS = 32
SETTLED = np.ones(MEMBERS, dtype=bool)
TIGHT_TO_LOOSE = np.linspace(-0.5, 0.5, MEMBERS)[:, None]


def moderation(span=1.0, bounds=TIGHT_TO_LOOSE):
    budgets = Budgets(Requirements({"macs": "<= 1M"}), span)
    return Moderation(np.full(MEMBERS, 0.1), np.full(MEMBERS, 2.0), bounds, budgets)


def draws(rng, first_half):
    """The second half of the members never repeats anything."""
    drawn = rng.integers(0, 2**40, (MEMBERS, 3))
    drawn[:16] %= first_half
    return drawn


def test_budgets_whose_draws_repeat_become_hotter_and_the_others_cool():
    kept, rng = moderation(), np.random.default_rng(0)
    for _ in range(3):
        kept.review(draws(rng, 2), np.zeros(MEMBERS), SETTLED)
        assert (kept.heat == 2.0).all()  # too few to tell
    for _ in range(5):
        kept.review(draws(rng, 2), np.zeros(MEMBERS), SETTLED)
    assert (kept.heat[:16] > 2.0).all()
    assert (kept.heat[16:] < 2.0).all()
    for _ in range(100):
        kept.review(draws(rng, 2), np.zeros(MEMBERS), SETTLED)
    assert (kept.heat[:16] == 4.0).all()
    assert (kept.heat[16:] == 1.0).all()


def test_where_draws_are_outside_there_is_no_heat():
    kept, rng = moderation(), np.random.default_rng(0)
    outside = np.zeros(MEMBERS)
    outside[:2] = 1.0
    for _ in range(8):
        kept.review(draws(rng, 2), outside, SETTLED)
    assert (kept.heat < 2.0).all()


def test_budgets_whose_draws_are_outside_keep_more_in_reserve():
    kept = moderation()
    outside = np.zeros(MEMBERS)
    outside[:8] = 1.0
    kept.review(draws(np.random.default_rng(0), 2), outside, SETTLED)
    assert kept.reserve[:16] == pytest.approx(0.1 + 0.1 * (0.5 - 0.015))
    assert kept.reserve[16:] == pytest.approx(0.1 - 0.1 * 0.015)


def test_a_reserve_that_leaves_no_room_shrinks_and_is_bounded():
    kept, crowded = moderation(span=0.5), np.zeros(MEMBERS, dtype=bool)
    kept.review(draws(np.random.default_rng(0), 2), np.ones(MEMBERS), crowded)
    assert (kept.reserve < 0.1).all()
    for _ in range(20):
        kept.review(draws(np.random.default_rng(0), 2), np.ones(MEMBERS), SETTLED)
    assert kept.reserve == pytest.approx(0.3 * 0.5)


def test_what_it_began_with_is_left_as_it_was():
    reserve, heat = np.zeros(MEMBERS), np.ones(MEMBERS)
    budgets = Budgets(Requirements({"macs": "<= 1M"}), 1.0)
    kept = Moderation(reserve, heat, TIGHT_TO_LOOSE, budgets)
    for _ in range(5):
        kept.review(np.zeros((MEMBERS, 2), dtype=np.int64), np.zeros(MEMBERS), SETTLED)
    assert (reserve == 0).all()
    assert (heat == 1).all()
    assert (kept.heat > 1).all()


def test_neighbours_are_those_of_similar_budgets_wherever_they_stand():
    rng = np.random.default_rng(1)
    order = rng.permutation(MEMBERS)
    kept, shuffled = moderation(), moderation(bounds=TIGHT_TO_LOOSE[order])
    outside = (np.arange(MEMBERS) < 8).astype(float)
    for _ in range(6):
        drawn = draws(rng, 2)
        kept.review(drawn, outside, SETTLED)
        shuffled.review(drawn[order], outside[order], SETTLED)
    assert shuffled.reserve == pytest.approx(kept.reserve[order])
    assert shuffled.heat == pytest.approx(kept.heat[order])
    assert len(set(kept.heat)) == 1
    assert len(set(kept.reserve)) == 2


def test_a_member_has_to_hold_its_budget_less_its_reserve():
    assert moderation().bounds == pytest.approx(TIGHT_TO_LOOSE - 0.1)
    alone = Moderation(np.zeros(MEMBERS), np.ones(MEMBERS), np.zeros((MEMBERS, 1)), None)
    assert alone.bounds == pytest.approx(np.zeros((MEMBERS, 1)))
