from dataclasses import replace

import numpy as np
import pytest

from edgesynth.space import Choice, Space
from edgesynth.synthesis.belief import Belief
from edgesynth.synthesis.budgets import Budgets
from edgesynth.synthesis.encoding import Encoding, distinct
from edgesynth.synthesis.policy import Policy
from edgesynth.synthesis.population import Population
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.teaching import Lesson, Teaching

SPACE = Space([Choice(f"op{i}", ["a", "b", "c", "d"]) for i in range(6)])


def lesson(margin, std=1.0, steps=40, asked=None, summed=0.0):
    encoding = Encoding(SPACE)

    def believe(indices, bounds):
        del bounds
        if asked is not None:
            asked.append(len(indices))
        even = np.zeros(len(indices))
        wide = np.ones((1, len(indices)))
        return Belief(even, even, margin * wide, std * wide, even + 1.0, summed=np.array([summed]))

    teaching = Teaching(encoding, believe)
    teaching.delta(Policy(encoding, 1), np.random.default_rng(0), steps=steps)
    return teaching.lesson


@pytest.mark.parametrize(
    ("margin", "std", "caution"),
    [
        pytest.param(8.0, 1.0, (1.5, 1.5), id="surely inside"),
        pytest.param(1.9, 1.0, (1.51, 1.9), id="inside too seldom"),
        pytest.param(1.0, 1.0, (0.9, 1.0), id="no room for more than there is"),
        pytest.param(-2.0, 1.0, (0.75, 1.0), id="nothing inside"),
        pytest.param(0.5, 0.0, (1.5, 1.5), id="exact"),
    ],
)
def test_as_many_deviations_are_kept_in_hand_as_the_draws_need_and_the_population_has_room_for(
    margin, std, caution
):
    least, most = caution
    assert least - 0.15 * (least < 1.5) <= lesson(margin, std).caution <= most


@pytest.mark.parametrize(("margin", "room"), [(0.25, False), (0.35, True)])
def test_of_a_sum_over_layers_more_is_kept_in_hand_than_it_is_unsure(margin, room):
    assert lesson(margin, std=0.01).caution == 1.5
    assert (lesson(margin, std=0.01, summed=1.0).caution == 1.5) == room


def test_caution_does_not_grow_for_ever():
    assert lesson(1e-3, 1e-9, steps=400).caution == pytest.approx(1.5)
    assert lesson(2.2, steps=400).caution <= 2.5


def test_the_inquisitor_is_asked_once_for_each_move_and_again_only_after_caution_has_changed():
    calm, wary = [], []
    lesson(8.0, steps=18, asked=calm)
    lesson(1.9, steps=18, asked=wary)
    assert len(calm) == 1 + 18 + 1 + 1  # the members, every move, the seeds' draws, the report's
    assert len(wary) == len(calm) + 2


@pytest.mark.parametrize(("strays", "warmer"), [(8.0, True), (-8.0, False)], ids=["hold", "do not hold"])
def test_seeds_choose_warmer_where_they_would_repeat_and_only_while_what_they_choose_holds(strays, warmer):
    encoding = Encoding(SPACE)

    def believe(indices, bounds):
        del bounds
        even = np.zeros(len(indices))
        inside = (indices[:, 2:] == 1).all(1)  # 16 architectures
        margin = np.where(inside, 8.0, strays)[None]
        return Belief(np.where(inside, 20.0, 0.0), even, margin, np.ones_like(margin), even + 1.0)

    teaching, policy, rng = Teaching(encoding, believe), Policy(encoding, 1), np.random.default_rng(0)
    policy.theta = policy.theta + teaching.delta(policy, rng, steps=40).delta
    lesson = teaching.lesson

    families = [policy.choose(range(100), [0.0], warmth=warmth)[0] for warmth in (1.0, lesson.warmth[0])]
    assert distinct(families[0]) < 92
    assert (lesson.warmth[0] > 1.0) is warmer
    assert (distinct(families[1]) > distinct(families[0])) is warmer
    assert Lesson.read(lesson.tensors(), lesson.to_json()).warmth == lesson.warmth


def test_over_a_range_of_budgets_seeds_are_warmer_where_they_would_repeat():
    encoding = Encoding(SPACE)

    def believe(indices, bounds):
        # The tightest budget leaves 16 architectures that are any good, the loosest all.
        even = np.zeros(len(indices))
        good = (indices[:, 2:] == 1).all(1) | (bounds[:, 0] > 0)
        margin = np.full((1, len(indices)), 8.0)
        return Belief(np.where(good, 20.0, 0.0), even, margin, np.ones_like(margin), even + 1.0)

    budgets = Budgets(Requirements({"latency_ms": "<= 3"}), 1.0)
    teaching, policy, rng = Teaching(encoding, believe), Policy(encoding, 1), np.random.default_rng(0)
    policy.theta = policy.theta + teaching.delta(policy, rng, steps=60, budgets=budgets).delta
    lesson = teaching.lesson
    assert len(lesson.warmth) > 2
    assert lesson.warmth[0] > 1.1
    assert lesson.warmth[-1] == 1.0
    places = budgets.places(budgets.rows(256))
    assert lesson.heat[places < -0.5].mean() > 1.1
    assert (lesson.heat[places > 0.5] == 1.0).all()
    copy = Lesson.read(lesson.tensors(), lesson.to_json())
    assert copy.warmth == lesson.warmth
    assert np.array_equal(copy.heat, lesson.heat)
    earlier = lesson.tensors()
    del earlier["heat"]
    assert (Lesson.read(earlier, lesson.to_json()).heat == 1.0).all()


def test_the_next_lesson_begins_as_hot_as_the_last_one_ended(monkeypatch):
    encoding = Encoding(SPACE)

    def believe(indices, bounds):
        even = np.zeros(len(indices))
        return Belief(even, even, np.ones((1, len(indices))), np.ones((1, len(indices))), even + 1.0)

    found, propose = [], Population.propose

    def listening(walk, *rest):
        found.append(walk.heat)
        return propose(walk, *rest)

    monkeypatch.setattr(Population, "propose", listening)
    teaching = Teaching(encoding, believe)
    teaching.lesson = replace(teaching.lesson, heat=np.full(256, 3.0))
    budgets = Budgets(Requirements({"latency_ms": "<= 3"}), 1.0)
    teaching.delta(Policy(encoding, 1), np.random.default_rng(0), steps=1, budgets=budgets)
    assert (found[0] == 3.0).all()


def test_members_that_are_hotter_move_to_worse_places():
    encoding = Encoding(SPACE)
    members = np.zeros((400, 6), dtype=np.int64)

    def weigh(indices):
        return np.zeros(len(indices)), -indices.sum(1).astype(float)

    walk = Population(encoding, members, weigh, temperature=1.0, coldest=1.0)
    walk.heat = np.repeat([1.0, 4.0], 200)
    walk.propose(np.ones_like(members), np.random.default_rng(0))  # worse by 6
    moved = walk.members[:, 0] == 1
    assert moved[:200].mean() < 0.03  # exp(-6)
    assert moved[200:].mean() == pytest.approx(np.exp(-1.5), abs=0.08)


def test_between_two_budgets_the_warmth_is_in_between():
    lesson = Lesson(np.zeros((4, 6), dtype=np.int64), warmth=(1.4, 1.2, 1.0))
    assert [lesson.warmth_at(place) for place in (-1.0, -0.5, 1.0)] == pytest.approx([1.4, 1.3, 1.0])


def test_a_lesson_of_before_has_one_warmth_for_every_budget():
    lesson = Lesson(np.zeros((4, 6), dtype=np.int64))
    earlier = Lesson.read(lesson.tensors(), lesson.to_json() | {"warmth": 1.2})
    assert [earlier.warmth_at(place) for place in (-1.0, 0.3, 1.0)] == [1.2, 1.2, 1.2]
