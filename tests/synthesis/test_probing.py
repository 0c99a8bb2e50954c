"""Stimuli at vertices: what they cause, and what they leave alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from small_synthesis import SmallNet, traced
from torch import Tensor

from edgesynth.graph import CoupledDimension, Prototype
from edgesynth.space import Architecture
from edgesynth.synthesis.elastic import ElasticWeights
from edgesynth.synthesis.probing import STIMULI, Prober, Response, affordable, channel_impact
from edgesynth.tasks import Batch, ClassificationTask


def batches_of(task: ClassificationTask, size: int, limit: int = 12) -> list[Batch]:
    return list(task.batches("train", batch_size=size, limit=limit))


def reading(prototype: Prototype, layer: str) -> CoupledDimension:
    """The dimension that consists of a layer's output channels alone."""
    return next(d for d in prototype.dimensions if d.layers and d.layers[0] == layer)


@torch.no_grad()
def losses(module: SmallNet, task: ClassificationTask, batch: Batch) -> Tensor:
    """The loss of every sample, in double precision."""
    outputs = module(batch.inputs.double())
    return torch.nn.functional.cross_entropy(
        outputs, batch.targets, reduction="none", label_smoothing=task.label_smoothing
    )


def by_differences(module: SmallNet, consumer: str, task: ClassificationTask, batch: Batch) -> Tensor:
    """``E[(dL_i / dg_c)^2]`` by moving the weights that read channel ``c``; no autograd, no gates."""
    impacts = []
    step = 1e-5
    for unit in range(module.get_submodule(consumer).weight.shape[1]):
        ends = []
        for factor in (1 + step, 1 - step):
            moved = copy.deepcopy(module).double()
            with torch.no_grad():
                moved.get_submodule(consumer).weight[:, unit] *= factor
            ends.append(losses(moved, task, batch))
        impacts.append(((ends[0] - ends[1]) / (2 * step)).square().mean())
    return torch.stack(impacts)


@pytest.mark.parametrize(("producer", "consumer"), [("inner", "outer"), ("last", "head")])
def test_impact_is_the_mean_square_of_per_sample_slopes(
    fresh: Callable[[], Prototype], task: ClassificationTask, producer: str, consumer: str
) -> None:
    prototype = fresh()
    (batch,) = batches_of(task, 12)
    impact = channel_impact(prototype, task, [batch])[reading(prototype, producer).name]
    expected = by_differences(prototype.module, consumer, task, batch).float()
    assert float(expected.max()) > 0
    assert torch.allclose(impact, expected, rtol=2e-3, atol=1e-7)


def test_impact_covers_every_unit_and_every_block(prototype: Prototype, task: ClassificationTask) -> None:
    impact = channel_impact(prototype, task, batches_of(task, 6))
    sizes = {d.name: (d.units,) for d in prototype.dimensions} | {b.name: (1,) for b in prototype.blocks}
    assert {name: tuple(tensor.shape) for name, tensor in impact.items()} == sizes
    assert all(bool((tensor >= 0).all()) and float(tensor.sum()) > 0 for tensor in impact.values())


def test_impact_does_not_depend_on_how_samples_are_batched(
    prototype: Prototype, task: ClassificationTask
) -> None:
    at_once = channel_impact(prototype, task, batches_of(task, 12))
    in_parts = channel_impact(prototype, task, batches_of(task, 4))
    for name, tensor in at_once.items():
        assert torch.allclose(tensor, in_parts[name], rtol=1e-3, atol=1e-8), name


@pytest.mark.parametrize("unit", [0, 7, 31])
def test_a_dead_channel_comes_last(
    trained: Callable[[], SmallNet], task: ClassificationTask, unit: int
) -> None:
    module = trained()
    with torch.no_grad():
        module.head.weight[:, unit] = 0  # nobody reads it
    prototype = traced(module)
    impact = channel_impact(prototype, task, batches_of(task, 64, 128))[reading(prototype, "last").name]
    assert float(impact[unit]) == 0
    assert int(torch.argsort(impact, descending=True, stable=True)[-1]) == unit


def test_a_channel_that_says_nothing_has_no_impact(
    trained: Callable[[], SmallNet], task: ClassificationTask
) -> None:
    module = trained()
    with torch.no_grad():
        module.last_norm.weight[3] = 0
        module.last_norm.bias[3] = -1.0
    prototype = traced(module)
    impact = channel_impact(prototype, task, batches_of(task, 64, 128))[reading(prototype, "last").name]
    assert float(impact[3]) == 0
    assert int((impact > 0).sum()) > 16


def test_asking_for_impact_changes_nothing(fresh: Callable[[], Prototype], task: ClassificationTask) -> None:
    prototype = fresh()
    before = {name: tensor.clone() for name, tensor in prototype.module.state_dict().items()}
    ranking = {name: order.clone() for name, order in prototype.ranking.items()}
    channel_impact(prototype, task, batches_of(task, 6))
    assert all(torch.equal(t, before[name]) for name, t in prototype.module.state_dict().items())
    assert all(parameter.grad is None for parameter in prototype.module.parameters())
    assert all(torch.equal(order, ranking[name]) for name, order in prototype.ranking.items())


# --- the prober ---


@pytest.fixture
def inputs(task: ClassificationTask) -> Tensor:
    return next(task.batches("validation", batch_size=8)).inputs


def half(prototype: Prototype) -> Architecture:
    return {d.name: d.values[len(d.values) // 2] for d in prototype.space}


def answers(responses: list[Response]) -> dict[tuple[str, str], float]:
    return {(r.vertex, r.stimulus): r.output for r in responses}


def test_every_vertex_answers_every_stimulus_once(prototype: Prototype, inputs: Tensor) -> None:
    state = prototype.module.state_dict()
    responses = Prober(prototype, inputs).probe(half(prototype), state)
    vertices = [d.name for d in prototype.dimensions] + [b.name for b in prototype.blocks]
    asked = [(vertex, stimulus) for vertex in vertices for stimulus in STIMULI]
    assert sorted((r.vertex, r.stimulus) for r in responses) == sorted(asked)
    assert all(0 < r.output < 100 for r in responses if r.stimulus != "drop")
    assert any(r.output > 0.01 for r in responses if r.stimulus == "drop")


def test_a_vertex_that_is_not_there_answers_nothing(prototype: Prototype, inputs: Tensor) -> None:
    block = prototype.blocks[0].name
    state = prototype.module.state_dict()
    without = answers(Prober(prototype, inputs).probe({**prototype.largest(), block: False}, state))
    hidden = reading(prototype, "inner").name
    for stimulus in STIMULI:
        assert without[block, stimulus] == 0
        # Channels inside the block are still there to choose, but nobody hears them.
        assert without[hidden, stimulus] == 0
    assert without[reading(prototype, "last").name, "scale"] > 0


def test_halving_a_vertex_is_halving_what_its_readers_hear(
    prototype: Prototype, task: ClassificationTask, inputs: Tensor
) -> None:
    weights = ElasticWeights(prototype)
    architecture = half(prototype)
    found = answers(Prober(prototype, inputs).probe(architecture, weights.averages()))
    network = weights.extract(architecture)
    samples = inputs
    with torch.no_grad():
        calm = network(samples)
        network.get_parameter("head.weight").mul_(0.5)
        stirred = network(samples)
    expected = float(((stirred - calm).norm(dim=1) / calm.norm(dim=1)).mean())
    assert found[reading(prototype, "last").name, "scale"] == pytest.approx(expected, rel=1e-4)


def test_a_swapped_vertex_says_what_it_says_of_another_sample(prototype: Prototype, inputs: Tensor) -> None:
    last = reading(prototype, "last").name
    samples = inputs
    with torch.no_grad():
        other = prototype.gated().eval()(samples, swaps={last: torch.arange(len(samples)).roll(1)})
        calm = prototype.module(samples)
    # Nothing but the classifier reads the last convolution, so whole answers change places.
    assert torch.allclose(other, calm.roll(1, 0), atol=1e-5)
    found = answers(Prober(prototype, inputs).probe(prototype.largest(), prototype.module.state_dict()))
    expected = float(((calm.roll(1, 0) - calm).norm(dim=1) / calm.norm(dim=1)).mean())
    assert found[last, "swap"] == pytest.approx(expected, rel=1e-4)


def test_a_stimulus_is_heard_downstream_and_not_upstream(prototype: Prototype, inputs: Tensor) -> None:
    responses = Prober(prototype, inputs).probe(prototype.largest(), prototype.module.state_dict())
    heard = {(r.vertex, r.stimulus): r.downstream for r in responses}
    stem, last = reading(prototype, "stem").name, reading(prototype, "last").name
    for stimulus in STIMULI:
        assert heard[stem, stimulus] > 0.01
        assert heard[last, stimulus] == 0


def test_gates_of_one_change_nothing_and_gates_of_zero_change_the_output(
    prototype: Prototype, inputs: Tensor
) -> None:
    gated = prototype.gated().eval()
    count = len(inputs)
    ones = {d.name: torch.ones(count, d.units) for d in prototype.dimensions}
    ones |= {b.name: torch.ones(count) for b in prototype.blocks}
    with torch.no_grad():
        calm = prototype.module(inputs)
        assert torch.allclose(gated(inputs, ones), calm, atol=1e-5)
        for name, gate in ones.items():
            stirred = gated(inputs, {**ones, name: torch.zeros_like(gate)})
            assert float((stirred - calm).norm(dim=1).mean()) > 0.01, name


def test_probing_one_network_reads_the_weights_it_is_given(prototype: Prototype, inputs: Tensor) -> None:
    prober = Prober(prototype, inputs)
    state = {name: tensor.clone() for name, tensor in prototype.module.state_dict().items()}
    first = answers(prober.probe(prototype.largest(), state))
    state["head.bias"] += 5.0
    louder = answers(prober.probe(prototype.largest(), state))
    assert all(louder[key] < value for key, value in first.items() if value > 0)


def test_probing_changes_no_weight(prototype: Prototype, inputs: Tensor) -> None:
    weights = ElasticWeights(prototype)
    shared = {name: tensor.clone() for name, tensor in weights.state().items()}
    module = {name: tensor.clone() for name, tensor in prototype.module.state_dict().items()}
    Prober(prototype, inputs).probe(half(prototype), weights.averages())
    assert all(torch.equal(tensor, shared[name]) for name, tensor in weights.state().items())
    assert all(torch.equal(t, module[name]) for name, t in prototype.module.state_dict().items())


def test_a_seed_decides_the_stimuli(prototype: Prototype, inputs: Tensor) -> None:
    state = prototype.module.state_dict()
    one, same, other = (
        answers(Prober(prototype, inputs, seed=seed).probe(half(prototype), state)) for seed in (1, 1, 2)
    )
    assert one == same
    last = reading(prototype, "last").name
    assert one[last, "noise"] != other[last, "noise"]
    assert one[last, "scale"] == other[last, "scale"]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_few_samples_are_enough(prototype: Prototype, inputs: Tensor, count: int) -> None:
    state = prototype.module.state_dict()
    assert Prober(prototype, inputs[:count]).probe(half(prototype), state)


def test_a_probe_in_many_passes_finds_what_one_pass_finds(
    prototype: Prototype, inputs: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = prototype.module.state_dict()
    at_once = Prober(prototype, inputs).probe(half(prototype), state)
    monkeypatch.setattr("edgesynth.synthesis.probing.AT_ONCE", 3 * inputs.numel())
    in_parts = Prober(prototype, inputs).probe(half(prototype), state)
    assert [(r.vertex, r.stimulus) for r in in_parts] == [(r.vertex, r.stimulus) for r in at_once]
    for one, other in zip(at_once, in_parts, strict=True):
        assert one.output == pytest.approx(other.output, rel=1e-4, abs=1e-6)
        assert one.downstream == pytest.approx(other.downstream, rel=1e-4, abs=1e-6)


def test_probing_takes_what_the_budget_allows(prototype: Prototype) -> None:
    stimuli = (len(prototype.dimensions) + len(prototype.blocks)) * len(STIMULI)
    a_sample = stimuli * prototype.cost().macs
    assert affordable(prototype, 2, 1e18) == (2, 8)
    assert affordable(prototype, 2, 2 * 5 * a_sample) == (2, 5)
    assert affordable(prototype, 2, 2 * 2 * a_sample - 1) == (1, 2)
    assert affordable(prototype, 2, 2 * a_sample - 1) == (0, 2)
    assert affordable(prototype, 0, 1e18)[0] == 0
