import math
from itertools import pairwise

import numpy as np
import pytest

from edgesynth.errors import InputError, RequirementError
from edgesynth.space import Choice, Space, Switch, Width
from edgesynth.synthesis import candidates
from edgesynth.synthesis.candidates import (
    Costs,
    fill,
    left,
    opening,
    proportional,
    repair,
    spread_out,
    stratified,
    unique,
    without,
)
from edgesynth.synthesis.encoding import Encoding
from edgesynth.synthesis.requirements import Requirements

WIDTHS = {"w0": 32, "w1": 64, "w2": 128}
SPACE = Space(
    [Width(name, 4, most, 4) for name, most in WIDTHS.items()] + [Switch("b"), Choice("op", ["a", "b", "c"])]
)
ENCODING = Encoding(SPACE)
BOUND = 2e5


def computed(a):
    widths = [3, *(a[name] for name in WIDTHS)]
    return {"macs": sum(16.0 * x * y for x, y in pairwise(widths)) * (1.2 if a["b"] else 1.0)}


def costs(bound=BOUND):
    return Costs(ENCODING, computed, Requirements({"macs": f"<= {bound}"}))


def rng(seed=0):
    return np.random.default_rng(seed)


def relative(indices):
    """Widths as a share of the prototype's, ``[n, 3]``."""
    return np.array(
        [[a[name] / most for name, most in WIDTHS.items()] for a in ENCODING.architectures(indices)]
    )


def test_the_scaled_prototype_fills_the_computed_bounds():
    drawn = proportional(ENCODING, costs(), 40, rng())
    used = np.array([computed(a)["macs"] for a in ENCODING.architectures(drawn)]) / BOUND
    assert drawn.shape == (40, 5)
    assert used.max() <= 1
    assert np.median(used) > 0.85


def test_the_scaled_prototype_keeps_its_proportions_roughly():
    share = relative(proportional(ENCODING, costs(), 60, rng()))
    even = share / share.mean(1, keepdims=True)
    assert even.mean(0) == pytest.approx(np.ones(3), abs=0.1)
    assert 0.03 < even.std(0).mean() < 0.3


def test_a_prototype_inside_the_bounds_is_hardly_scaled():
    assert relative(proportional(ENCODING, costs(1e9), 40, rng())).mean() > 0.85


def test_without_computed_bounds_the_prototype_is_scaled_to_many_sizes():
    free = Costs(ENCODING, None, Requirements({"accuracy": ">= 0.5"}))
    sizes = relative(proportional(ENCODING, free, 80, rng())).mean(1)
    assert sizes.min() < 0.45
    assert sizes.max() > 0.8


def test_scaling_leaves_out_some_blocks_and_varies_the_choices():
    drawn = proportional(ENCODING, costs(), 60, rng())
    assert 0.5 < drawn[:, 3].mean() < 1.0
    assert set(drawn[:, 4]) == {0, 1, 2}


def test_scaling_is_a_function_of_the_random_state():
    first, second, other = (proportional(ENCODING, costs(), 8, rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_stratified_draws_reach_small_and_large_networks():
    sizes = relative(stratified(ENCODING, 500, rng())).mean(1)
    independent = relative(rng().integers(0, SPACE.cardinalities, (500, 5))).mean(1)
    assert sizes.std() > 1.3 * independent.std()


def test_the_opening_is_inside_the_computed_bounds_distinct_and_new():
    taken = proportional(ENCODING, costs(), 5, rng())
    drawn = opening(ENCODING, costs(), taken, 12, rng())
    assert max(computed(a)["macs"] for a in ENCODING.architectures(drawn)) <= BOUND
    assert len(unique(drawn)) == len(without(drawn, taken)) == 12


def test_unique_keeps_the_order_of_first_appearance():
    rows = np.array([[2, 1], [0, 0], [2, 1], [1, 5], [0, 0]])
    assert unique(rows).tolist() == [[2, 1], [0, 0], [1, 5]]


def test_without_drops_exactly_what_is_taken():
    pool = np.array([[2, 1], [0, 0], [1, 5]])
    assert without(pool, np.array([[0, 0], [9, 9]])).tolist() == [[2, 1], [1, 5]]
    assert without(pool[:0], pool).shape == (0, 2)


def test_spreading_out_takes_the_farthest_first():
    pool = np.array([[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [7, 15, 31, 1, 1]])
    assert spread_out(ENCODING, pool, pool[:1], 1).tolist() == [pool[2].tolist()]


def test_repair_moves_into_the_bounds_and_leaves_what_is_inside():
    requirements = Requirements({"macs": f"<= {BOUND}"})
    preferences = np.zeros(ENCODING.legal.shape)
    largest, smallest = SPACE.encode(SPACE.largest()), SPACE.encode(SPACE.smallest())
    moved = repair(ENCODING, costs(), largest, preferences, requirements)
    assert computed(SPACE.decode(moved))["macs"] <= BOUND
    assert np.array_equal(repair(ENCODING, costs(), smallest, preferences, requirements), smallest)


def test_filling_ends_where_no_step_stays_inside_and_begins_with_the_preferred():
    bound = computed(SPACE.largest())["macs"] / 4
    requirements = Requirements({"macs": f"<= {bound}"})
    smallest = SPACE.encode(SPACE.smallest())
    avoiding = []
    for place in range(3):
        preferences = np.zeros(ENCODING.legal.shape)
        preferences[place] = -10.0 * np.arange(preferences.shape[1])
        filled = fill(ENCODING, costs(), smallest, preferences, requirements)
        assert (filled >= smallest).all()
        assert computed(SPACE.decode(filled))["macs"] <= bound
        assert np.array_equal(fill(ENCODING, costs(), filled, preferences, requirements), filled)
        avoiding.append(filled)
    for place, filled in enumerate(avoiding):
        assert filled[place] == min(other[place] for other in avoiding)
    assert len({tuple(filled) for filled in avoiding}) == 3


def test_exact_metrics_are_computed_once_per_architecture():
    calls = []
    counted = Costs(ENCODING, lambda a: calls.append(a) or computed(a), Requirements({}))
    rows = np.stack([SPACE.encode(SPACE.largest())] * 3)
    assert counted(rows)["macs"].tolist() == [computed(SPACE.largest())["macs"]] * 3
    counted(rows)
    keys = [SPACE.key(architecture) for architecture in calls[2:]]
    assert len(keys) == len(set(keys))
    assert SPACE.key(SPACE.largest()) in keys


def test_many_are_asked_for_at_once_where_that_is_offered():
    class Batched:
        def __call__(self, architecture):
            return computed(architecture)

        def totals(self, choices):
            rows = [computed(architecture) for architecture in ENCODING.architectures(choices)]
            return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    drawn = stratified(ENCODING, 40, rng())
    one_by_one, at_once = (Costs(ENCODING, each, Requirements({})) for each in (computed, Batched()))
    assert at_once.scales == one_by_one.scales
    for name, values in one_by_one(drawn).items():
        assert at_once(drawn)[name].tolist() == values.tolist()


def test_what_is_remembered_is_bounded_and_what_was_asked_for_last_stays(monkeypatch):
    monkeypatch.setattr(candidates, "_REMEMBERED", 300)
    calls = []
    counted = Costs(ENCODING, lambda a: calls.append(a) or computed(a), Requirements({}))
    asked = stratified(ENCODING, 600, rng(1))
    kept = asked[:10]
    for row in range(10, 600, 10):
        counted(kept)
        counted(asked[row : row + 10])
    calls.clear()
    assert counted(kept)["macs"].tolist() == [computed(a)["macs"] for a in ENCODING.architectures(kept)]
    assert calls == []
    assert len(counted._memory) == 300


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda a: {"macs": math.nan}, "computed macs.*nan"),
        (lambda a: {"macs": math.inf if a["b"] else 1.0}, "computed macs.*inf"),
        (lambda a: {"macs": -1.0}, "computed macs.*-1.0"),
        (lambda a: {"macs": None}, "computed macs.*None"),
        (lambda a: {"mcs": 1.0}, "unknown metric 'mcs'"),
        (lambda a: {"macs": 1.0} | ({"parameters": 2.0} if a["b"] else {}), "of the smallest.*'parameters'"),
        (lambda a: "x", "'x'"),
        (lambda a: None, "None"),
        ("x", "computed is a function"),
    ],
)
def test_what_computes_no_metrics_is_refused(function, words):
    with pytest.raises(InputError, match=words):
        Costs(ENCODING, function, Requirements({}))


def test_a_floor_that_no_network_meets_is_refused():
    with pytest.raises(RequirementError, match=r"macs >= 1e\+11.*most that was found"):
        Costs(ENCODING, computed, Requirements({"macs": ">= 100G"}))
    most = computed(SPACE.largest())["macs"]
    Costs(ENCODING, computed, Requirements({"macs": f">= {most!r}"}))


def test_a_floor_is_checked_against_the_dearest_option_whichever_it_is():
    def dearest_first(a):
        return {"macs": computed(a)["macs"] * (3 if a["op"] == "a" else 1)}

    most = 3 * computed(SPACE.largest())["macs"]
    Costs(ENCODING, dearest_first, Requirements({"macs": f">= {most!r}"}))
    with pytest.raises(RequirementError, match="most that was found"):
        Costs(ENCODING, dearest_first, Requirements({"macs": f">= {1.01 * most!r}"}))


def test_a_ceiling_is_checked_against_the_cheapest_option_whichever_it_is():
    def cheapest_last(a):
        return {"macs": computed(a)["macs"] * (1 if a["op"] == SPACE.largest()["op"] else 3)}

    least = cheapest_last({**SPACE.smallest(), "op": SPACE.largest()["op"]})["macs"]
    assert least < cheapest_last(SPACE.smallest())["macs"]
    Costs(ENCODING, cheapest_last, Requirements({"macs": f"<= {least!r}"}))
    with pytest.raises(RequirementError, match="least that was found"):
        Costs(ENCODING, cheapest_last, Requirements({"macs": f"<= {0.99 * least!r}"}))


def test_a_bound_that_one_of_a_few_networks_meets_is_not_searched_for():
    asked = []

    def counted(a):
        asked.append(a)
        return computed(a)

    Costs(ENCODING, counted, Requirements({}))
    without = len(asked)
    Costs(ENCODING, counted, Requirements({"macs": ["<= 100G", ">= 1"]}))
    assert len(asked) <= 2 * without + 4


def test_a_ceiling_is_not_refused_for_a_plateau_about_the_smallest_network():
    def dear_where_narrow(a):
        return {"macs": 20.0 if a["w0"] <= 16 or a["w1"] <= 16 else 5.0}

    Costs(ENCODING, dear_where_narrow, Requirements({"macs": "<= 10"}))


def test_a_small_space_is_gone_through_and_a_large_one_drawn_from():
    small = Encoding(Space([Width("w", 1, 12), Switch("b"), Choice("op", ["a", "b", "c"])]))
    taken = stratified(small, 30, rng())
    rest = left(small, taken, 5, rng())
    assert len(unique(np.concatenate([rest, taken]))) == 72 == len(rest) + len(unique(taken))
    large = Encoding(Space([Width(f"w{i}", 1, 40) for i in range(4)]))
    drawn = left(large, taken[:0].reshape(0, 4), 2000, rng())
    assert len(drawn) == len(unique(drawn)) >= 2000


def test_features_of_costs_are_spread_evenly_over_the_space():
    known, sample = costs(), stratified(ENCODING, 400, rng())
    features = known.features(known(sample), len(sample))
    assert np.abs(features.mean(0)).max() < 0.2
    assert np.abs(features.std(0) - 1).max() < 0.2


def test_nothing_is_computed_where_nothing_is_free():
    free = Costs(ENCODING, None, Requirements({}))
    assert free(stratified(ENCODING, 3, rng())) == {}
    assert not free.bounded
