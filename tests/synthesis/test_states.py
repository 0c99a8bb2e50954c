import copy
import json
import pickle

import numpy as np
import pytest
import torch
from pairs import BOUNDS, SPACE, computed, make, run

from edgesynth.errors import InputError, RunError
from edgesynth.space import Space, Switch, Width
from edgesynth.synthesis.pair import GeneratorInquisitor, PairState
from edgesynth.synthesis.performance import NetScore, Quality


def test_a_range_is_restored_bit_for_bit():
    first, second = make(1, span=0.5), make(99, span=0.5)
    run(first, 16)
    first.update(steps=6)
    saved = first.state()
    second.restore(PairState(saved.tensors, json.loads(json.dumps(saved.meta))))
    assert run(first, 8) == run(second, 8)
    assert first.update(steps=6) == second.update(steps=6)
    assert np.array_equal(first.policy.theta, second.policy.theta)


def test_restored_state_continues_bit_for_bit():
    first = make(1)
    run(first, 24)
    first.ask(2)
    saved = first.state()
    saved = PairState(saved.tensors, json.loads(json.dumps(saved.meta)))
    second = make(99)
    second.restore(saved)
    assert run(first, 12, batch=3) == run(second, 12, batch=3)
    assert first.update(steps=3) == second.update(steps=3)
    assert np.array_equal(first.policy.theta, second.policy.theta)


def test_a_state_of_another_problem_is_refused():
    saved = make().state()
    others = {
        "space": GeneratorInquisitor(Space([Switch("b")]), BOUNDS, NetScore()),
        "requirements": GeneratorInquisitor(SPACE, {"accuracy": ">= 0.7"}, NetScore(), computed=computed),
        "performance": GeneratorInquisitor(SPACE, BOUNDS, Quality(), computed=computed),
        "computed": GeneratorInquisitor(SPACE, BOUNDS, NetScore()),
        "diversity": make(diversity=0.5),
        "span": make(span=0.5),
        "autonomous": make(autonomous=False),
    }
    for name, other in others.items():
        with pytest.raises(RunError, match=f"another {name}"):
            other.restore(saved)


def test_a_state_of_the_first_versions_is_read():
    first, second = make(1), make(2)
    run(first, 20)
    saved = first.state()
    for name in ("performance", "computed", "diversity", "span", "autonomous"):
        del saved.meta[name]
    second.restore(saved)
    assert run(first, 8) == run(second, 8)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("policy.theta", None),
        ("policy.theta", torch.zeros(3)),
        ("inquisitor.heat", torch.ones(3)),
        ("inquisitor.heat", torch.full((256,), torch.nan)),
        ("inquisitor.heat", torch.zeros(256)),
        ("inquisitor.reserve", -torch.ones(256)),
        ("population", None),
        ("seed", None),
        ("known", [{"choice": [0]}]),
        ("pending", [[99] * 8]),
        ("inquisitor", {}),
        ("calls", "x"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(part, value):
    donor, pair = make(1), make(2)
    run(donor, 12)
    saved = donor.state()
    name = "inquisitor.population" if part == "population" else part
    held = saved.tensors if name in saved.tensors else saved.meta
    if value is None:
        del held[name]
    else:
        held[name] = value
    before = pair.state()
    with pytest.raises(RunError, match="damaged"):
        pair.restore(saved)
    after = pair.state()
    assert after.meta == before.meta
    assert all(torch.equal(after.tensors[key], tensor) for key, tensor in before.tensors.items())


def test_what_is_no_state_is_refused():
    for given in (None, {}, PairState({}, None)):
        with pytest.raises(InputError, match="state"):
            make().restore(given)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_of_a_pair_continues_on_its_own(copied):
    pair = make(1, span=0.5, diversity=0.2)
    run(pair, 20)
    pair.keep()
    other = copied(pair)
    assert run(pair, 8) == run(other, 8)
    assert pair.generate(3) == other.generate(3)
    assert pair.state().meta == other.state().meta


class Renamed(GeneratorInquisitor):
    """A pair of another kind."""


def test_a_copy_is_of_the_same_kind():
    pair = Renamed(Space([Width("w", 1, 4)]), {"accuracy": ">= 0.1"}, lambda m: m["accuracy"])
    assert type(copy.deepcopy(pair)) is Renamed


def test_an_initialised_pair_is_restored_bit_for_bit():
    first = make(1)
    first.initialise(16)
    first.tell(SPACE.largest(), {"accuracy": 0.9}, pinned=True)
    saved = first.state()
    second = make(99)
    second.restore(PairState(saved.tensors, json.loads(json.dumps(saved.meta))))
    assert [first.generate(seed) for seed in range(20)] == [second.generate(seed) for seed in range(20)]
    for pair in (first, second):
        run(pair, 12)
        pair.drift("accuracy", 0.05)
        pair.update(steps=3)
    assert np.array_equal(first.policy.theta, second.policy.theta)
    assert first.state().meta == second.state().meta


def test_what_was_kept_is_restored_too():
    first = make(1)
    run(first, 20)
    first.keep()
    first.update(steps=3)
    saved = first.state()
    second = make(99)
    second.restore(PairState(saved.tensors, json.loads(json.dumps(saved.meta))))
    for pair in (first, second):
        pair.revert()
        pair.update(steps=3)
    assert np.array_equal(first.policy.theta, second.policy.theta)
