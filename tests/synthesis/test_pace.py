from itertools import pairwise

from edgesynth.synthesis.pace import Pace


def test_learning_grows_rarer_as_evaluations_grow():
    pace = Pace()
    fits = [count for count in range(1, 101) if pace.fit(count)]
    lessons = [count for count in range(1, 101) if pace.teach(count)]

    assert lessons == [1, 3, 7, 15, 31, 63]
    assert fits[:3] == [1, 3, 5]
    assert all(1.15 * a + 1 <= b <= 1.15 * a + 2 for a, b in pairwise(fits))


def test_the_first_fit_is_the_longest():
    pace = Pace()
    assert [pace.fit(1), pace.fit(1), pace.fit(10)] == [40, 0, 15]


def test_a_whole_lesson_counts_as_one_while_asking_but_not_the_other_way_round():
    pace = Pace()
    assert pace.teach(10)
    assert (pace.taught, pace.caught_up) == (10, 0)
    pace.catch_up(12)
    assert not pace.teach(24)
    assert Pace.read(pace.to_json()) == pace


def test_a_state_of_before_has_caught_up_with_its_last_lesson():
    assert Pace.read({"fitted": 9, "taught": 8}) == Pace(9, 8, 8)
