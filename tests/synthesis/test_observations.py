import json
import math

import numpy as np
import pytest
import torch

from edgesynth.errors import InputError, RequirementError
from edgesynth.metrics import Metric, Provenance
from edgesynth.space import Space, Width
from edgesynth.synthesis.candidates import Costs
from edgesynth.synthesis.encoding import Encoding
from edgesynth.synthesis.observations import Memory
from edgesynth.synthesis.performance import as_performance
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.told import Told

SPACE = Space([Width("w", 8, 64, 8), Width("v", 8, 64, 8)])
REQUIREMENTS = Requirements({"accuracy": ">= 0.8", "macs": "<= 1000"})
SMALL, LARGE = {"w": 8, "v": 16}, {"w": 64, "v": 64}


def make():
    costs = Costs(Encoding(SPACE), lambda a: {"macs": float(a["w"] * a["v"])}, REQUIREMENTS)
    return Memory(SPACE, costs, as_performance(lambda m: m["accuracy"]), REQUIREMENTS)


def tell(memory, architecture, metrics, responses=None, **options):
    memory.tell(architecture, Told.read(metrics, responses, **options))


def test_drift_moves_every_value_of_one_metric():
    memory = make()
    tell(memory, SMALL, {"accuracy": 0.5, "latency_ms": 3.0})
    tell(memory, SMALL, {"accuracy": 0.6})
    tell(memory, LARGE, {"latency_ms": 9.0})
    memory.drift("accuracy", 0.1)
    seen = memory.observations()
    assert seen.values["accuracy"][0] == pytest.approx(0.65)
    assert math.isnan(seen.values["accuracy"][1])
    assert seen.values["latency_ms"].tolist() == [3.0, 9.0]


@pytest.mark.parametrize(("offset", "wanted"), [(0.3, 1.0), (-0.9, 0.0)])
def test_drift_keeps_fractions_within_0_and_1(offset, wanted):
    memory = make()
    tell(memory, SMALL, {"accuracy": 0.85})
    memory.drift("accuracy", offset)
    assert memory.observations().values["accuracy"].tolist() == [wanted]


def test_what_drifted_counts_for_less_and_is_dropped_in_the_end():
    memory = make()
    tell(memory, SMALL, {"accuracy": 0.5, "latency_ms": 3.0})
    memory.drift("accuracy", 0.1, 0.25)
    tell(memory, SMALL, {"accuracy": 0.9})
    seen = memory.observations()
    assert seen.values["accuracy"] == pytest.approx([(0.25 * 0.6 + 0.9) / 1.25])
    assert seen.weights["accuracy"] == pytest.approx([1.25])
    memory.drift("accuracy", 0.0, 0.03)
    seen = memory.observations()
    assert "accuracy" not in seen.values
    assert seen.values["latency_ms"].tolist() == [3.0]


def test_a_stale_network_has_no_standing_until_it_is_told_again():
    memory = make()
    tell(memory, {"w": 16, "v": 16}, {"accuracy": 0.9})
    memory.drift("accuracy", 0.0, 0.01)
    assert len(memory.standing().indices) == 0
    tell(memory, {"w": 16, "v": 16}, {"accuracy": 0.95})
    assert memory.standing().best == pytest.approx(0.95)
    assert memory.evaluations == 2


def test_drift_does_not_clip_other_metrics():
    memory = make()
    tell(memory, SMALL, {"latency_ms": 0.85})
    memory.drift("latency_ms", 0.3)
    assert memory.observations().values["latency_ms"] == pytest.approx([1.15])


def test_pinned_values_never_drift_even_beside_others_of_the_same_network():
    memory = make()
    tell(memory, LARGE, {"accuracy": 0.9}, pinned=True)
    memory.drift("accuracy", -0.2)
    assert memory.observations().values["accuracy"].tolist() == [0.9]
    tell(memory, LARGE, {"accuracy": 0.5})
    memory.drift("accuracy", 0.2)
    seen = memory.observations()
    assert seen.values["accuracy"] == pytest.approx([0.8])
    assert seen.weights["accuracy"].tolist() == [2.0]


def test_pinned_values_count_as_an_evaluation():
    memory = make()
    memory.ask(np.stack([SPACE.encode(LARGE)]))
    tell(memory, LARGE, {"accuracy": 0.9}, pinned=True)
    assert memory.evaluations == 1
    assert len(memory.pending) == 0
    assert memory.observations().failed.tolist() == [0.0]


def test_responses_alone_leave_an_architecture_pending():
    memory = make()
    memory.ask(np.stack([SPACE.encode(SMALL)]))
    tell(memory, SMALL, {}, {"stem.drop": 0.4})
    assert memory.evaluations == 0
    assert memory.pending.tolist() == [SPACE.encode(SMALL).tolist()]
    assert memory.observations().responses == {"stem.drop": 0.4}


def test_failures_and_values_that_are_not_finite_count_as_failed():
    memory = make()
    tell(memory, SMALL, {"accuracy": 0.9})
    tell(memory, SMALL, "out of memory")
    tell(memory, LARGE, {"accuracy": math.nan})
    assert memory.observations().failed.tolist() == [0.5, 1.0]


def test_predicted_values_teach_nothing():
    memory = make()
    predicted = {"accuracy": Metric("accuracy", 0.9, Provenance.PREDICTED)}
    tell(memory, SMALL, predicted, {"stem.drop": 0.4})
    assert memory.evaluations == 0
    with pytest.raises(InputError, match="every value is predicted"):
        tell(memory, SMALL, predicted)
    tell(memory, SMALL, {**predicted, "latency_ms": 3.0})
    assert set(memory.observations().values) == {"latency_ms"}


@pytest.mark.parametrize("reason", ["out of memory", ""])
def test_whatever_its_reason_a_failure_ends_the_waiting(reason):
    memory = make()
    memory.ask(np.stack([SPACE.encode(SMALL)]))
    tell(memory, SMALL, reason)
    assert len(memory.pending) == 0
    assert memory.observations().failed.tolist() == [1.0]


def measured(name, value, low, high):
    return Metric(name, value, Provenance.MEASURED, 9, (low, high))


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({}, "nothing was told"),
        (None, "None"),
        (0.5, "0.5"),
        ({"accuracy": None}, "accuracy.*None"),
        ({"accuracy": "0.9"}, "accuracy.*'0.9'"),
        ({"accuracy": np.array([0.9])}, r"accuracy.*array"),
        ({"accuracy": object()}, "accuracy.*object"),
        ({"accuracy": 93.0}, "accuracy.*93"),
        ({"accuracy": -0.5}, "accuracy.*-0.5"),
        ({"macs": 0}, "macs.*above 0"),
        ({"latency_ms": -1.0}, "latency_ms.*-1"),
        ({1: 0.5}, "unknown metric '1'"),
        ({"accuracy": measured("latency_ms", 0.5, 0.4, 0.6)}, "'accuracy'.*'latency_ms'"),
        ({"accuracy": measured("accuracy", 0.5, math.nan, math.nan)}, "interval of accuracy.*nan"),
        ({"latency_ms": measured("latency_ms", 3.0, 2.0, math.inf)}, "interval of latency_ms.*inf"),
        ({"accuracy": measured("accuracy", 0.5, 0.6, 0.4)}, "interval of accuracy.*0.6 .. 0.4"),
    ],
)
def test_what_cannot_have_been_observed_is_refused(metrics, words):
    with pytest.raises(InputError, match=words):
        Told.read(metrics)


@pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), torch.tensor(0.5), 1 + 1e-9, True])
def test_any_single_number_is_a_value(value):
    assert Told.read({"accuracy": value}).values["accuracy"].value == float(value)


@pytest.mark.parametrize(
    ("responses", "words"),
    [
        ({"w.drop": "x"}, "'w.drop'.*'x'"),
        ({"w.drop": None}, "'w.drop'.*None"),
        ({7: 0.5}, "responses.* 7"),
        ([0.5], "mapping"),
    ],
)
def test_a_response_that_is_no_number_is_refused_by_name(responses, words):
    with pytest.raises(InputError, match=words):
        Told.read({"accuracy": 0.9}, responses)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_response_that_is_not_finite_is_passed_over(value):
    assert Told.read({}, {"w.drop": value, "v.drop": 0.4}).responses == {"v.drop": 0.4}
    with pytest.raises(InputError, match="nothing was told"):
        Told.read({}, {"w.drop": value})


def test_an_unknown_metric_is_refused_before_anything_is_remembered():
    memory = make()
    with pytest.raises(RequirementError, match="accuracy"):
        tell(memory, SMALL, {"accuracy": 0.9, "acuracy": 0.9})
    assert len(memory) == 0


def test_the_standing_counts_computed_bounds_and_intervals():
    memory = make()
    near = Metric("accuracy", 0.81, Provenance.MEASURED, 100, (0.75, 0.87))
    tell(memory, LARGE, {"accuracy": 0.99})
    tell(memory, SMALL, {"accuracy": near})
    assert memory.standing().feasible.tolist() == [False, False]
    assert memory.standing().best is None
    tell(memory, {"w": 16, "v": 16}, {"accuracy": 0.95})
    standing = memory.standing()
    assert standing.best == pytest.approx(0.95)
    assert SPACE.decode(standing.leaders(1)[0]) == {"w": 16, "v": 16}


def test_what_is_remembered_survives_json():
    memory = make()
    memory.ask(np.stack([SPACE.encode({"w": 24, "v": 8})]))
    tell(memory, SMALL, {"accuracy": Metric("accuracy", 0.81, Provenance.MEASURED, 100, (0.75, 0.87))})
    tell(memory, SMALL, "out of memory", {"stem.drop": 0.4})
    tell(memory, LARGE, {"accuracy": 0.9}, pinned=True)
    copy = make()
    copy.restore(json.loads(json.dumps(memory.to_json())))
    assert copy.to_json() == memory.to_json()
    for each in (memory, copy):
        each.drift("accuracy", 0.05)
    assert (
        copy.observations().values["accuracy"].tolist() == memory.observations().values["accuracy"].tolist()
    )


def test_a_saved_state_is_a_copy():
    memory = make()
    tell(memory, SMALL, {"accuracy": 0.5})
    saved = memory.to_json()
    memory.drift("accuracy", 0.2)
    assert saved["known"][0]["values"] == {"accuracy": [0.5, 1.0, None]}


def test_an_empty_memory_has_empty_tables():
    seen = make().observations()
    assert seen.indices.shape == (0, 2)
    assert seen.responses == {}
    assert make().standing().best is None
