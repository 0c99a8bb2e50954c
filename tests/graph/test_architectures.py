"""What must hold for every network, however its channels are coupled."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from architectures import CASES, Case, traced
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from edgesynth.graph import Prototype
from edgesynth.graph.trace import plain_attention
from edgesynth.space import Architecture


def architectures(prototype: Prototype, count: int = 3) -> Iterator[Architecture]:
    """The two extremes, and some in between with and without all blocks."""
    yield prototype.smallest()
    yield prototype.largest()
    for seed in range(count):
        yield prototype.space.sample(seed)
    yield prototype.space.sample(99) | {block.name: True for block in prototype.blocks}


def leaves(outputs: object) -> list[Tensor]:
    return pytree.tree_leaves(outputs)


def difference(actual: object, expected: object) -> float:
    """Largest difference, relative to the largest output."""
    pairs = list(zip(leaves(actual), leaves(expected), strict=True))
    assert pairs
    assert all(a.shape == e.shape for a, e in pairs)
    return max(float((a - e).abs().max() / (1 + e.abs().max())) for a, e in pairs)


def counted_macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Half of what torch counts; its counter knows attention only as matrix products."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), plain_attention(), sdpa_kernel(SDPBackend.MATH), counter:
        module(*inputs)
    return counter.get_total_flops() // 2


def test_outputs_tell_samples_apart(case_and_prototype: tuple[Case, Prototype]) -> None:
    # Guards the tests below: a dead network would agree with anything.
    case, prototype = case_and_prototype
    with torch.no_grad():
        outputs = leaves(prototype.module(*case.inputs(5)))
    assert all(float(output.std(0).mean()) > 0.01 for output in outputs)


def test_exactly_these_dimensions_and_blocks_are_free(case_and_prototype: tuple[Case, Prototype]) -> None:
    case, prototype = case_and_prototype
    assert {d.name: d.units for d in prototype.dimensions} == case.free
    assert tuple(block.name for block in prototype.blocks) == case.blocks


def test_slicing_equals_masking(case_and_prototype: tuple[Case, Prototype]) -> None:
    case, prototype = case_and_prototype
    inputs = case.inputs(4)
    for architecture in architectures(prototype):
        with torch.no_grad():
            sliced = prototype.slice(architecture)(*inputs)
            masked = prototype.mask(architecture)(*inputs)
        assert difference(sliced, masked) < 1e-5, architecture


def test_slicing_equals_masking_for_any_kept_units(case_and_prototype: tuple[Case, Prototype]) -> None:
    case, prototype = case_and_prototype
    rng = np.random.default_rng(0)
    inputs = case.inputs(3)
    for _ in range(3):
        keep = {}
        for dimension in prototype.dimensions:
            chosen = rng.random(dimension.units) < 0.5
            for stratum in set(dimension.strata):
                members = np.flatnonzero(np.array(dimension.strata) == stratum)
                chosen[rng.choice(members)] = True
            keep[dimension.name] = np.flatnonzero(chosen).tolist()
        architecture = prototype.largest()
        with torch.no_grad():
            sliced = prototype.slice(architecture, keep)(*inputs)
            masked = prototype.mask(architecture, keep)(*inputs)
        assert difference(sliced, masked) < 1e-5, keep
        assert prototype.cost(architecture, keep).macs == counted_macs(
            prototype.slice(architecture, keep), case.inputs(1)
        )


def test_the_largest_slice_is_the_original(case_and_prototype: tuple[Case, Prototype]) -> None:
    case, prototype = case_and_prototype
    whole = prototype.slice()
    inputs = case.inputs(3)
    with torch.no_grad():
        assert difference(whole(*inputs), prototype.module(*inputs)) < 1e-6
    assert type(whole) is type(prototype.module)
    assert set(whole.state_dict()) == set(prototype.module.state_dict())


def test_many_architectures_cost_at_once_what_each_costs_alone(
    case_and_prototype: tuple[Case, Prototype],
) -> None:
    _, prototype = case_and_prototype
    drawn = [prototype.smallest(), prototype.largest(), *(prototype.space.sample(seed) for seed in range(20))]
    together = prototype.totals(np.stack([prototype.space.encode(architecture) for architecture in drawn]))
    for row, architecture in enumerate(drawn):
        alone = prototype.cost(architecture)
        totals = {name: int(values[row]) for name, values in together.items()}
        assert totals == {"macs": alone.macs, "parameters": alone.parameters, "bytes": alone.bytes}


def test_cost_equals_what_torch_counts(case_and_prototype: tuple[Case, Prototype]) -> None:
    case, prototype = case_and_prototype
    for architecture in architectures(prototype):
        sliced, cost = prototype.slice(architecture), prototype.cost(architecture)
        assert cost.macs == counted_macs(sliced, case.inputs(1))
        assert cost.parameters == sum(parameter.numel() for parameter in sliced.parameters())
        assert cost.macs == sum(layer.macs for layer in cost.layers)
        assert cost.activation_bytes == sum(layer.activation_bytes for layer in cost.layers)


def test_slices_are_the_users_class_where_its_forward_allows(
    case_and_prototype: tuple[Case, Prototype],
) -> None:
    case, prototype = case_and_prototype
    present = {block.name: True for block in prototype.blocks}
    rebuilt = [prototype.plan(prototype.space.sample(seed) | present).rebuilt for seed in range(4)]
    assert any(rebuilt) == case.rebuilt


def test_shared_weights_train_through_a_plan(case_and_prototype: tuple[Case, Prototype]) -> None:
    case, prototype = case_and_prototype
    shared = {name: p.detach().clone().requires_grad_() for name, p in prototype.module.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in prototype.module.named_buffers()}
    architecture = prototype.space.sample(1)
    plan = prototype.plan(architecture)
    gathered = plan.gather(shared | buffers)
    inputs = case.inputs(3)
    outputs = functional_call(plan.module_for(), gathered, inputs)
    with torch.no_grad():
        assert difference(outputs, prototype.slice(architecture)(*inputs)) < 1e-6
    sum(output.square().sum() for output in leaves(outputs)).backward()
    touched = [shared[name].grad for name in plan.state_names if name in shared]
    assert touched
    assert all(gradient is not None and gradient.isfinite().all() for gradient in touched)
    assert sum(float(gradient.abs().sum()) for gradient in touched) > 0


def test_slices_train_on_their_own(case_and_prototype: tuple[Case, Prototype]) -> None:
    case, prototype = case_and_prototype
    prototype.module.zero_grad()  # other tests share the prototype, in any order
    sliced = prototype.slice(prototype.space.sample(2)).train()
    outputs = sliced(*case.inputs(4))
    sum(output.square().sum() for output in leaves(outputs)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in sliced.parameters())
    assert all(p.grad is None for p in prototype.module.parameters())


def test_open_gates_leave_the_network_as_it_is(case_and_prototype: tuple[Case, Prototype]) -> None:
    case, prototype = case_and_prototype
    inputs = case.inputs(3)
    gates = {d.name: torch.ones(3, d.units, requires_grad=True) for d in prototype.dimensions}
    gates |= {block.name: torch.ones(3, requires_grad=True) for block in prototype.blocks}
    outputs, signals = prototype.gated()(inputs, gates, watch=[d.name for d in prototype.dimensions])
    with torch.no_grad():
        assert difference(outputs, prototype.module(*inputs)) < 1e-6
    sum(output.square().sum() for output in leaves(outputs)).backward()
    assert all(gate.grad is not None and float(gate.grad.abs().sum()) > 0 for gate in gates.values())
    assert {name: tuple(signal.shape) for name, signal in signals.items()} == {
        d.name: (3, d.units) for d in prototype.dimensions
    }


def test_samples_that_swap_signals_change_places_only_where_they_do(
    case_and_prototype: tuple[Case, Prototype],
) -> None:
    case, prototype = case_and_prototype
    inputs = case.inputs(6)
    names = [d.name for d in prototype.dimensions] + [block.name for block in prototype.blocks]
    gated, itself = prototype.gated(), torch.arange(6)
    with torch.no_grad():
        calm = prototype.module(*inputs)
        assert difference(gated(inputs, swaps=dict.fromkeys(names, itself)), calm) < 1e-6
        for name in names:
            # Five samples pass their signals round, the sixth keeps its own and its answer. A vertex that
            # is read several times in a row swaps each time, so a shorter round would end where it began.
            stirred = leaves(gated(inputs, swaps={name: torch.tensor([1, 2, 3, 4, 0, 5])}))
            pairs = list(zip(stirred, leaves(calm), strict=True))
            assert max(difference(one[5], other[5]) for one, other in pairs) < 1e-6
            assert max(difference(one[:5], other[:5]) for one, other in pairs) > 1e-6


def test_closed_gates_equal_masking_without_channel_norms(case_and_prototype: tuple[Case, Prototype]) -> None:
    case, prototype = case_and_prototype
    if any(layer.operator in ("layer_norm", "group_norm") for layer in prototype.cost().layers):
        pytest.skip("normalises over channels")
    architecture, inputs = prototype.space.sample(3), case.inputs(3)
    gates = {}
    for name, kept in prototype.keep_sets(architecture).items():
        gates[name] = torch.zeros(case.free[name])
        gates[name][kept] = 1.0
    gates |= {block.name: torch.tensor(float(architecture[block.name])) for block in prototype.blocks}
    with torch.no_grad():
        gated = prototype.gated()(inputs, gates)
        assert difference(gated, prototype.slice(architecture)(*inputs)) < 1e-5


EXPORTED = [
    pytest.param(name, marks=() if i % 4 == 0 else pytest.mark.slow)
    for i, name in enumerate(name for name, case in CASES.items() if case.export)
]


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.filterwarnings("ignore")
def test_onnx_runtime_agrees_with_the_slice(name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    case, prototype = CASES[name], traced(name)
    architecture = prototype.space.sample(5)
    sliced, inputs = prototype.slice(architecture).eval(), case.inputs(2)
    buffer = io.BytesIO()
    with torch.no_grad():
        expected = leaves(sliced(*inputs))
        torch.onnx.export(sliced, inputs, buffer, dynamo=False, opset_version=14)
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    feeds = {node.name: tensor.numpy() for node, tensor in zip(session.get_inputs(), inputs, strict=True)}
    outputs = [torch.from_numpy(array) for array in session.run(None, feeds)]
    assert difference(outputs, expected) < 1e-4
