import json
import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from pairs import BOUNDS, SPACE, computed, make, paid, run

from edgesynth.errors import ArchitectureError, InputError, RequirementError, RunError
from edgesynth.metrics import Metric, Provenance
from edgesynth.space import Choice, Space, Switch, Width
from edgesynth.synthesis.pair import GeneratorInquisitor
from edgesynth.synthesis.performance import NetScore, Quality
from edgesynth.synthesis.requirements import Requirements


@pytest.fixture(scope="module")
def taught():
    pair = make()
    asked = run(pair, 40)
    for _ in range(3):
        pair.update()
    return pair, asked


def test_nothing_is_asked_twice(taught):
    _, asked = taught
    assert len({SPACE.key(architecture) for architecture in asked}) == len(asked) == 40


def test_exact_bounds_are_never_broken_by_what_is_asked(taught):
    _, asked = taught
    assert max(computed(architecture)["macs"] for architecture in asked) <= 1e6


def test_the_best_beats_random_search(taught):
    pair, _ = taught
    score = NetScore()
    drawn = [SPACE.sample(seed) for seed in range(1000)]
    inside = [a for a in drawn if computed(a)["macs"] <= 1e6 and paid(a)["accuracy"] >= 0.8]
    assert pair.best is not None
    assert score(paid(pair.best) | computed(pair.best)) > max(score(paid(a) | computed(a)) for a in inside)


def test_fresh_seeds_are_feasible_and_distinct(taught):
    pair, _ = taught
    drawn = [pair.generate(seed) for seed in range(500, 600)]
    feasible = [computed(a)["macs"] <= 1e6 and paid(a)["accuracy"] >= 0.8 for a in drawn]
    assert np.mean(feasible) >= 0.9
    assert len({SPACE.key(a) for a in drawn}) > 80


@pytest.mark.slow
def test_one_generator_serves_a_range_of_budgets():
    pair = GeneratorInquisitor(SPACE, BOUNDS, lambda m: m["accuracy"], 0, computed, span=np.log(2))
    asked = run(pair, 40, batch=8)
    for _ in range(12):
        pair.update()
    needed = np.array([computed(architecture)["macs"] for architecture in asked])
    assert needed.max() <= 2e6
    assert (needed > 1.2e6).any()
    for macs in (0.5e6, 1e6, 2e6):
        bounds = Requirements({"accuracy": ">= 0.8", "macs": f"<= {macs}"})
        drawn = [pair.generate(seed, bounds) for seed in range(500, 600)]
        assert np.mean([computed(a)["macs"] <= macs for a in drawn]) >= 0.9
        assert np.mean([computed(a)["macs"] for a in drawn]) > 0.6 * macs
        # Little of so small a space is left at the tight end.
        assert len({SPACE.key(a) for a in drawn}) > (20 if macs < 1e6 else 80)


def test_repair_holds_the_computed_bounds():
    pair = make(span=1.0)
    run(pair, 12)
    tighter = Requirements({"accuracy": ">= 0.8", "macs": "<= 0.4M"})
    drawn = [pair.generate(seed, tighter, repair=True) for seed in range(20)]
    assert max(computed(a)["macs"] for a in drawn) <= 0.4e6


def test_seeds_are_as_warm_as_their_budget_asks(monkeypatch):
    pair = GeneratorInquisitor(SPACE, {"latency_ms": "<= 2"}, lambda m: -m["latency_ms"], 0, span=np.log(2))
    lesson = pair.inquisitor.teaching.lesson
    pair.inquisitor.teaching.lesson = replace(lesson, warmth=(1.5, 1.2, 1.0))
    warm, choose = [], pair.policy.choose

    def chosen(*given, warmth):
        warm.append(warmth)
        return choose(*given)

    monkeypatch.setattr(pair.policy, "choose", chosen)
    for bound in (1, 2, 4):
        pair.generate(0, {"latency_ms": f"<= {bound}"})
    assert warm == pytest.approx([1.5, 1.2, 1.0])


def test_where_only_quality_counts_a_repaired_network_uses_its_budget_up():
    pair = GeneratorInquisitor(SPACE, {"macs": "<= 1M"}, Quality(), seed=0, computed=computed)
    run(pair, 20)
    for seed in range(5):
        drawn, repaired = pair.generate(seed), pair.generate(seed, repair=True)
        assert computed(drawn)["macs"] <= computed(repaired)["macs"] <= 1e6 or computed(drawn)["macs"] > 1e6
        grown = [
            repaired | {d.name: d.values[d.values.index(repaired[d.name]) + 1]}
            for d in SPACE
            if not isinstance(d, Choice) and repaired[d.name] != d.values[-1]
        ]
        assert all(computed(larger)["macs"] > 1e6 for larger in grown)


def test_where_size_counts_a_repaired_network_that_is_inside_stays_as_it_is(taught):
    pair, _ = taught
    inside = [seed for seed in range(30) if computed(pair.generate(seed))["macs"] <= 1e6]
    assert inside
    assert all(pair.generate(seed, repair=True) == pair.generate(seed) for seed in inside)


def test_generate_is_a_function_of_seed_and_state(taught):
    pair, _ = taught
    assert pair.generate(7) == pair.generate(7)


def test_predictions_include_exact_metrics_with_no_uncertainty(taught):
    pair, asked = taught
    predicted = pair.predict(asked[:3])
    assert predicted["macs"][0].tolist() == [computed(a)["macs"] for a in asked[:3]]
    assert not predicted["macs"][1].any()
    assert predicted["accuracy"][0] == pytest.approx([paid(a)["accuracy"] for a in asked[:3]], abs=0.02)


def test_an_update_reports_what_it_did(taught):
    pair, _ = taught
    record = pair.update(steps=5)
    assert {"loss", "utility", "feasible", "distinct", "temperature"} <= set(record)
    json.dumps(record)


def test_two_pairs_of_one_seed_ask_the_same():
    assert run(make(3), 20) == run(make(3), 20)


def test_asking_teaches_ever_more_rarely():
    pair = make(2)
    lessons = []
    for evaluation in range(52):
        before = pair.cycles
        run(pair, 1, batch=1)
        lessons += [evaluation] * (pair.cycles - before)
    assert len(lessons) == 3
    assert all(later > 2 * earlier for earlier, later in pairwise(lessons))


def test_seeds_ask_differently():
    assert run(make(3), 8) != run(make(4), 8)


def test_another_budget_than_was_taught_is_refused(taught):
    pair, _ = taught
    with pytest.raises(RequirementError, match="larger span"):
        pair.generate(0, {"accuracy": ">= 0.8", "macs": "<= 0.4M"})
    with pytest.raises(RequirementError, match="was taught bounds on"):
        pair.generate(0, Requirements({}))
    with pytest.raises(RequirementError, match="metric name"):
        pair.generate(0, "macs <= 1M")
    assert pair.generate(0, {"macs": "<= 1M", "accuracy": ">= 0.8"}) == pair.generate(0)


def test_asks_from_many_threads_never_collide():
    pair = make(5)
    asked, lock = [], threading.Lock()

    def work():
        for _ in range(3):
            for architecture in pair.ask(2):
                with lock:
                    asked.append(SPACE.key(architecture))
                pair.tell(architecture, paid(architecture))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(asked)) == len(asked) == 24


def test_the_generator_learns_to_avoid_what_fails():
    space = Space([Choice(f"c{i}", ["a", "b", "c", "d"]) for i in range(4)])
    pair = GeneratorInquisitor(space, {}, lambda m: m["accuracy"], seed=0)
    for _ in range(8):
        for a in pair.ask(4):
            good = sum("abcd".index(v) for v in a.values()) / 12
            pair.tell(a, "out of memory" if a["c0"] == "d" else {"accuracy": good})
    assert pair.best is not None
    assert pair.best["c0"] == "c"
    assert sum(pair.generate(seed)["c0"] == "d" for seed in range(100)) <= 5


@pytest.mark.parametrize("autonomous", [True, False])
def test_an_autonomous_generator_has_learned_all_that_was_told(autonomous):
    pair = make(autonomous=autonomous)
    for a in pair.ask(10):
        pair.tell(a, paid(a))
    before = pair.policy.theta.copy()
    pair.generate(0)
    learned = pair.policy.theta.copy()
    pair.generate(1)

    assert np.array_equal(before, learned) is not autonomous
    assert np.array_equal(learned, pair.policy.theta)


def test_a_lesson_while_asking_does_not_stand_for_that_before_generating():
    pair = make()
    run(pair, 12)
    pair.ask(1)
    assert pair.cycles == 1
    first, second = pair, make(9)
    second.restore(first.state())
    for each in (first, second):
        each.generate(0)
        assert each.cycles == 2
        each.generate(1)
        assert each.cycles == 2
    assert np.array_equal(first.policy.theta, second.policy.theta)


def test_a_small_space_is_exhausted_and_then_nothing_is_asked():
    space = Space([Switch("a"), Switch("b"), Switch("c")])
    pair = GeneratorInquisitor(space, {}, lambda m: m["accuracy"], seed=0)
    seen = []
    for _ in range(5):
        for a in pair.ask(3):
            seen.append(space.key(a))
            pair.tell(a, {"accuracy": 0.1 * sum(a.values())})
    assert len(set(seen)) == len(seen) == 8
    assert pair.ask(1) == []


def test_repeated_tells_are_averaged():
    pair = make()
    a = SPACE.smallest()
    for value in (0.80, 0.84):
        pair.tell(a, {"accuracy": value})
    for other in (SPACE.largest(), SPACE.sample(0)):
        pair.tell(other, paid(other))
    assert pair.predict([a])["accuracy"][0][0] == pytest.approx(0.82, abs=0.02)


def test_an_interval_that_straddles_the_bound_is_not_the_best():
    pair = make()
    near, sure = SPACE.smallest(), SPACE.sample(1)
    pair.tell(near, {"accuracy": Metric("accuracy", 0.805, Provenance.MEASURED, 100, (0.72, 0.87))})
    pair.tell(sure, {"accuracy": Metric("accuracy", 0.95, Provenance.MEASURED, 9000, (0.945, 0.955))})
    assert pair.best != near


def test_bad_input_is_named():
    pair = make()
    with pytest.raises(InputError, match="n=0"):
        pair.ask(0)
    for n in (1.5, "3", None):
        with pytest.raises(InputError, match="n must be a whole number"):
            pair.ask(n)
    for seed in (-1, 0.5, None):
        with pytest.raises(InputError, match="seed"):
            make(seed)
    with pytest.raises(InputError, match="diversity"):
        make(diversity=float("nan"))
    with pytest.raises(InputError, match="Space"):
        GeneratorInquisitor([Switch("b")], BOUNDS, NetScore())
    with pytest.raises(ArchitectureError):
        pair.tell({"w0": 8}, {"accuracy": 0.5})
    with pytest.raises(RequirementError, match="accuracy"):
        pair.tell(SPACE.smallest(), {"acuracy": 0.5})
    with pytest.raises(RequirementError, match="least that was found"):
        GeneratorInquisitor(SPACE, {"macs": "<= 10"}, NetScore(), computed=computed)


def test_drift_shifts_what_was_told_and_pinned_values_stay():
    pair = make()
    early = [SPACE.sample(seed) for seed in range(6)]
    for architecture in early:
        pair.tell(architecture, {"accuracy": 0.5})
    pair.tell(SPACE.largest(), {"accuracy": 0.9}, pinned=True)
    pair.drift("accuracy", 0.2)
    told = {tuple(item["choice"]): item for item in pair.state().meta["known"]}
    for architecture in early:
        assert told[tuple(SPACE.encode(architecture))]["values"]["accuracy"][:2] == [pytest.approx(0.7), 1.0]
    assert told[tuple(SPACE.encode(SPACE.largest()))]["pinned"]["accuracy"][:2] == [0.9, 1.0]
    mean, _ = pair.predict([*early, SPACE.largest()])["accuracy"]
    assert mean == pytest.approx([0.7] * 6 + [0.9], abs=0.03)


@pytest.mark.parametrize("trust", [0.0, -0.5, 1.5])
def test_drift_refuses_a_trust_out_of_range(trust):
    with pytest.raises(InputError, match="trust"):
        make().drift("accuracy", 0.0, trust)


@pytest.mark.parametrize(
    ("metric", "offset", "words"),
    [("accuracy", float("nan"), "offset.*nan"), ("accuracy", None, "offset"), ("acuracy", 0.1, "acuracy")],
)
def test_drift_refuses_what_would_spoil_every_value(metric, offset, words):
    with pytest.raises(InputError, match=words):
        make().drift(metric, offset)


def test_a_refused_observation_leaves_the_pair_as_it_was():
    pair = make()
    (architecture,) = pair.ask(1)
    before = pair.state().meta
    for metrics, responses in (({}, None), ({"accuracy": 0.9}, {"w0.drop": "x"})):
        with pytest.raises(InputError):
            pair.tell(architecture, metrics, responses)
    assert pair.state().meta == before


def test_a_network_whose_evaluation_was_forgotten_may_be_asked_for_again():
    space = Space([Width("w", 8, 32, 8)])
    pair = GeneratorInquisitor(space, {"accuracy": ">= 0.1"}, lambda m: m["accuracy"], seed=0)
    for width in (8, 16, 24, 32):
        pair.tell({"w": width}, {"accuracy": width / 64})
    assert pair.ask(4) == []
    pair.drift("accuracy", 0.0, 0.01)
    assert len(pair.ask(4)) == 4


def test_drift_can_make_an_earlier_best_feasible():
    pair = make()
    pair.tell(SPACE.smallest(), {"accuracy": 0.75})
    assert pair.best is None
    pair.drift("accuracy", 0.1)
    assert pair.best == SPACE.smallest()


def test_an_initialised_policy_draws_the_scaled_prototype_inside_the_computed_bounds():
    pair, untaught = make(), make()
    pair.initialise()
    drawn = [pair.generate(seed) for seed in range(200)]
    inside = np.mean([computed(a)["macs"] <= 1e6 for a in drawn])
    assert inside > 0.6
    assert inside > 1.5 * np.mean([computed(untaught.generate(seed))["macs"] <= 1e6 for seed in range(200)])
    assert len({SPACE.key(a) for a in drawn}) > 40
    widths = np.array([[a[f"w{i}"] for i in range(6)] for a in drawn], dtype=float)
    shares = widths.mean(0) / widths.mean()
    assert shares == pytest.approx(np.ones(6), abs=0.15)
    uneven = np.array([[untaught.generate(seed)[f"w{i}"] for i in range(6)] for seed in range(200)])
    spread = [(w.std(1) / w.mean(1)).mean() for w in (widths, uneven)]
    assert spread[0] < 0.6 * spread[1]


def test_initialising_is_a_function_of_the_seed():
    first, second, other = make(2), make(2), make(3)
    for pair in (first, second, other):
        pair.initialise(16)
    assert np.array_equal(first.policy.theta, second.policy.theta)
    assert not np.array_equal(first.policy.theta, other.policy.theta)


def test_initialising_works_without_computed_metrics():
    pair = GeneratorInquisitor(SPACE, {"accuracy": ">= 0.8"}, lambda m: m["accuracy"], seed=0)
    before = pair.policy.theta.copy()
    pair.initialise(16)
    assert not np.array_equal(pair.policy.theta, before)
    widths = np.array([[pair.generate(seed)[f"w{i}"] for i in range(6)] for seed in range(100)])
    assert np.corrcoef(widths[:, 0], widths[:, 5])[0, 1] > 0.5


def test_a_pair_that_was_told_nothing_can_be_updated():
    pair = make()
    assert pair.update(steps=2)["loss"] is not None
    assert pair.cycles == 1


def test_a_pair_comes_back_to_the_generator_it_kept_and_knows_what_it_learned():
    pair = make(autonomous=False)
    told = run(pair, 20)
    pair.keep()
    before = [pair.generate(seed) for seed in range(20)]
    pair.update()
    assert [pair.generate(seed) for seed in range(20)] != before
    pair.tell(SPACE.largest(), paid(SPACE.largest()))
    pair.revert()
    assert [pair.generate(seed) for seed in range(20)] == before
    known = pair.state().meta["known"]
    assert len(known) == len(told) + 1


def test_nothing_can_be_come_back_to_before_it_is_kept():
    with pytest.raises(RunError, match=r"call keep\(\) before the update"):
        make().revert()
