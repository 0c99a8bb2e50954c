"""What is said of a network, where it comes from, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from edgesynth.devices import Device, open_device
from edgesynth.devices.simulated_bench import Faults
from edgesynth.graph import Prototype
from edgesynth.metrics import Metric, Provenance, wilson_interval
from edgesynth.space import Architecture
from edgesynth.synthesis.elastic import ElasticWeights
from edgesynth.synthesis.evaluation import Evaluator, computed_metrics, derived_metrics
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.scrutiny import CUTTING
from edgesynth.tasks import ClassificationTask, load_task

LIMIT = 100


def evaluator_of(prototype: Prototype, task: ClassificationTask, device: Device | None) -> Evaluator:
    calibration = list(task.batches("train", batch_size=64, limit=128))
    return Evaluator(prototype, ElasticWeights(prototype), task, device, calibration)


@pytest.fixture
def plain(prototype: Prototype, task: ClassificationTask) -> Evaluator:
    return evaluator_of(prototype, task, None)


@pytest.fixture
def on_board(prototype: Prototype, task: ClassificationTask, board: Device) -> Evaluator:
    return evaluator_of(prototype, task, board)


@pytest.fixture
def architecture(prototype: Prototype) -> Architecture:
    return {d.name: d.values[len(d.values) // 2] for d in prototype.space}


def test_costs_are_computed_exact_and_those_of_the_real_module(
    prototype: Prototype, architecture: Architecture
) -> None:
    metrics = computed_metrics(prototype.cost(architecture))
    assert set(metrics) == {"macs", "parameters", "bytes"}
    assert all(m.provenance is Provenance.COMPUTED and m.interval is None for m in metrics.values())
    counted = sum(parameter.numel() for parameter in prototype.slice(architecture).parameters())
    assert metrics["parameters"].value == counted
    assert metrics["bytes"].value == 4 * counted


def test_quality_is_measured_on_validation_data_with_its_interval(
    plain: Evaluator, task: ClassificationTask, architecture: Architecture
) -> None:
    found = plain.evaluate(architecture, limit=LIMIT)
    quality = found.metrics["accuracy"]
    assert quality.provenance is Provenance.MEASURED
    assert quality.samples == LIMIT
    assert quality.interval == wilson_interval(round(quality.value * LIMIT), LIMIT)
    assert quality.source == "digits validation"
    assert (
        quality.value
        == task.score(plain.extract(architecture, brief=True), "validation", limit=LIMIT).metric.value
    )
    assert found.measurement is None


def test_scores_follow_from_quality_and_cost_and_inherit_its_interval(
    plain: Evaluator, architecture: Architecture
) -> None:
    metrics = plain.evaluate(architecture).metrics
    quality, macs, parameters = (metrics[name].value for name in ("accuracy", "macs", "parameters"))
    score = 20 * math.log10((100 * quality) ** 2 / math.sqrt(parameters / 1e6 * macs / 1e9))
    assert metrics["netscore"].value == pytest.approx(score)
    assert metrics["information_density"].value == pytest.approx(100 * quality / (parameters / 1e6))
    for name in ("netscore", "information_density"):
        metric = metrics[name]
        assert metric.provenance is Provenance.MEASURED
        assert metric.interval is not None
        low, high = metric.interval
        assert low < metric.value < high


@pytest.mark.parametrize("name", ["accuracy", "miou", "map"])
def test_scores_are_derived_from_the_metric_of_any_task(name: str) -> None:
    costs = {n: Metric(n, v, Provenance.COMPUTED) for n, v in (("macs", 1e6), ("parameters", 1e5))}
    derived = derived_metrics(Metric(name, 0.5, Provenance.MEASURED, 100, (0.4, 0.6)), costs)
    assert derived["netscore"].value == pytest.approx(20 * math.log10(50**2 / math.sqrt(0.1 * 1e-3)))
    assert derived["information_density"].value == pytest.approx(500)


def test_a_network_that_is_never_right_still_has_finite_scores() -> None:
    costs = {n: Metric(n, v, Provenance.COMPUTED) for n, v in (("macs", 1e6), ("parameters", 1e5))}
    none_right = Metric("accuracy", 0.0, Provenance.MEASURED, 50, wilson_interval(0, 50))
    for metric in derived_metrics(none_right, costs).values():
        assert metric.interval is not None
        assert all(math.isfinite(value) for value in (metric.value, *metric.interval))


def test_without_a_device_nothing_is_said_of_one(plain: Evaluator, architecture: Architecture) -> None:
    metrics = plain.evaluate(architecture).metrics
    assert set(metrics) == {"macs", "parameters", "bytes", "accuracy", "netscore", "information_density"}


@pytest.mark.slow
def test_this_machine_as_a_device_measures_and_has_no_energy(
    prototype: Prototype, task: ClassificationTask, architecture: Architecture
) -> None:
    with open_device("host-cpu") as device:
        found = evaluator_of(prototype, task, device).evaluate(architecture)
    throughput = found.metrics.get("throughput_ips", found.metrics.get("latency_ms"))
    # On a busy machine a figure may be too unsteady to keep, and then it is left out with the reason.
    assert found.measurement is not None
    why = (found.measurement.status, bool(found.measurement.reason))
    assert (throughput is not None and throughput.value > 0) or why == ("inconclusive", True)
    assert not {m for m in found.metrics.values() if m.provenance is Provenance.SIMULATED}
    assert "inferences_per_joule" not in found.metrics


def test_figures_of_a_simulated_board_say_so(on_board: Evaluator, architecture: Architecture) -> None:
    found = on_board.evaluate(architecture)
    for name in ("latency_ms", "inferences_per_joule", "power_mean_mw"):
        metric = found.metrics[name]
        assert metric.provenance is Provenance.SIMULATED
        assert metric.samples > 0
        assert metric.interval is not None
        low, high = metric.interval
        assert low <= metric.value <= high
    verdicts = Requirements({"latency_ms": "<= 1000", "accuracy": ">= 0"}).judge(found.metrics).statuses()
    assert verdicts == {"latency_ms <= 1000": "satisfied (simulated)", "accuracy >= 0": "satisfied"}


def test_a_wider_network_is_not_said_to_be_faster(on_board: Evaluator, prototype: Prototype) -> None:
    large = on_board.evaluate(prototype.largest()).metrics
    small = on_board.evaluate(prototype.smallest()).metrics
    assert small["latency_ms"].value <= large["latency_ms"].value
    assert small["macs"].value < large["macs"].value


@pytest.fixture
def full_board() -> Iterator[Device]:
    with open_device("jetson-tx2", faults=Faults(out_of_memory=True)) as device:
        yield device


def test_a_network_the_device_cannot_run_is_a_result_that_meets_no_bound_on_it(
    prototype: Prototype, task: ClassificationTask, full_board: Device, architecture: Architecture
) -> None:
    found = evaluator_of(prototype, task, full_board).evaluate(architecture)
    assert found.failure
    assert "latency_ms" not in found.metrics
    judgement = Requirements({"latency_ms": "<= 1000"}).judge(found.metrics)
    assert not judgement.feasible
    assert judgement.statuses() == {"latency_ms <= 1000": "unknown"}


def test_a_slice_has_statistics_of_its_own(
    plain: Evaluator, prototype: Prototype, architecture: Architecture
) -> None:
    network = plain.extract(architecture)
    kept = prototype.plan(architecture).gather(prototype.module.state_dict())
    state = network.state_dict()
    assert not torch.allclose(state["last_norm.running_mean"], kept["last_norm.running_mean"], atol=1e-3)
    assert torch.equal(state["last.weight"], kept["last.weight"])
    assert not network.training


def test_evaluating_twice_says_the_same_and_changes_no_weight(
    on_board: Evaluator, architecture: Architecture
) -> None:
    before = {name: tensor.clone() for name, tensor in on_board.weights.state().items()}
    assert on_board.evaluate(architecture) == on_board.evaluate(architecture)
    assert all(torch.equal(t, before[name]) for name, t in on_board.weights.state().items())


def test_a_record_keeps_verdicts_and_the_cost_of_every_layer(
    plain: Evaluator, prototype: Prototype, architecture: Architecture
) -> None:
    found = plain.evaluate(architecture, limit=LIMIT)
    key = prototype.space.key(architecture)
    bounds = Requirements({"macs": "<= 1", "accuracy": ">= 0"})
    record = found.record(key, "candidate", bounds, cycle=3)
    assert (record.key, record.role, record.cycle, record.seed) == (key, "candidate", 3, None)
    assert record.verdicts == {"macs <= 1": "violated", "accuracy >= 0": "satisfied"}
    assert record.test_metrics == {}
    assert sum(layer.macs for layer in record.layers) == found.metrics["macs"].value
    assert sum(layer.parameters for layer in record.layers) == found.metrics["parameters"].value


def test_evaluations_read_what_a_fifth_of_the_macs_of_training_affords(
    prototype: Prototype,
) -> None:
    clothing = load_task("fashion-mnist-subset")
    evaluator = evaluator_of(prototype, clothing, None)
    besides = 64 + CUTTING
    assert evaluator.affordable(macs=1e6, trained_macs=5e6 * (700 + besides), most=None) == 700
    assert evaluator.affordable(macs=1e6, trained_macs=0.0, most=None) == 250
    assert evaluator.affordable(macs=1e6, trained_macs=1e12, most=None) == clothing.size("validation")
    assert evaluator.affordable(macs=1e6, trained_macs=1e12, most=600) == 600
    assert evaluator.affordable(macs=1e6, trained_macs=0.0, most=100) == 100
