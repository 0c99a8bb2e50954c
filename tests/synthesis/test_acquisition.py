import math

import numpy as np
import pytest

from edgesynth.space import Choice, Space, Width
from edgesynth.synthesis.acquisition import log_expected_improvement, rank
from edgesynth.synthesis.pair import GeneratorInquisitor

SPACE = Space([Width(f"w{i}", 8, 64, 8) for i in range(5)] + [Choice("op", ["a", "b", "c"])])


def paid(a):
    loss = sum(0.06 * np.exp(-a[f"w{i}"] / (8 + 3 * i)) for i in range(5))
    return {
        "accuracy": 0.95 - loss - 0.02 * (a["op"] == "a"),
        "latency_ms": sum(a[f"w{i}"] for i in range(5)) / 40,
    }


@pytest.mark.parametrize("best", [-1.0, 0.5, 3.0])
def test_expected_improvement_is_that_of_its_definition(best):
    mean, std = np.array([0.7]), np.array([0.4])
    draws = 0.7 + 0.4 * np.linspace(-12, 12, 200_001)
    density = np.exp(-0.5 * ((draws - 0.7) / 0.4) ** 2) / math.sqrt(2 * math.pi) / 0.4
    wanted = float(np.trapezoid(np.maximum(draws - best, 0.0) * density, draws))
    assert np.exp(log_expected_improvement(mean, std, best)) == pytest.approx(wanted, rel=1e-4)


def test_as_many_are_asked_for_as_the_space_holds():
    space = Space([Width("a", 1, 12), Width("b", 1, 12), Choice("op", ["x", "y", "z"])])
    pair = GeneratorInquisitor(space, {"latency_ms": "<= 5"}, lambda m: m["accuracy"], seed=1)
    asked = pair.ask(400)
    assert len(asked) == 400
    for architecture in asked[:20]:
        pair.tell(architecture, {"accuracy": 0.05 * architecture["a"], "latency_ms": architecture["b"]})
    asked += pair.ask(10_000)
    assert len({space.key(architecture) for architecture in asked}) == len(asked) == space.size == 432
    assert pair.ask(1) == []


def test_what_is_asked_next_ranks_above_all_its_neighbours():
    pair = GeneratorInquisitor(SPACE, {"latency_ms": "<= 4"}, lambda m: m["accuracy"], seed=0)
    for _ in range(20):
        for architecture in pair.ask(1):
            pair.tell(architecture, paid(architecture))
    best = pair.best
    assert best is not None
    told = paid(best)["accuracy"]
    chosen = SPACE.encode(pair.ask(1)[0])[None]
    inquisitor = pair.inquisitor
    near = inquisitor.encoding.neighbours(chosen)
    bounds = inquisitor.bounds()
    score = rank(inquisitor.believe(chosen, bounds), told)[0]
    others = rank(inquisitor.believe(near, bounds), told)
    assert score >= others.max() - 1e-9
