"""What a prototype promises beyond slicing, and how it refuses bad input."""

from __future__ import annotations

import copy
import time
from collections import OrderedDict

import pytest
import torch
from architectures import CASES, traced
from convolutions import Residual
from torch import Tensor, nn
from torch.func import functional_call

from edgesynth.errors import ArchitectureError, InputError, TraceError
from edgesynth.graph import Prototype
from edgesynth.zoo import build


class Undecided(nn.Module):
    """The value of a tensor decides which operators run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if y.sum() > 0:  # the line the message must name
            y = y * 2
        return y


def test_an_untraceable_module_names_the_users_line() -> None:
    with pytest.raises(TraceError, match=r"test_prototype.py:\d+: if y.sum\(\) > 0") as caught:
        Prototype(Undecided(), torch.randn(1, 3, 4, 4))
    assert caught.value.exit_code == 2


def test_a_wrong_shape_is_bad_input_not_a_trace_failure() -> None:
    with pytest.raises(
        InputError, match=r"cannot run on an example input of shape \(1, 4, 16, 16\)"
    ) as caught:
        Prototype(Residual(), torch.randn(1, 4, 16, 16))
    assert not isinstance(caught.value, TraceError)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ("image.png", "is a str"),
        (torch.tensor(1.0), "batch axis"),
        (torch.zeros(0, 3), "batch axis"),
        ((), "empty"),
    ],
)
def test_example_inputs_that_are_none(example: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Prototype(Residual(), example)  # type: ignore[arg-type]


def test_an_untraceable_module_prints_nothing(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TraceError):
        Prototype(Undecided(), torch.randn(1, 3, 4, 4))
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR", "CRITICAL")]
    assert capfd.readouterr() == ("", "")


def test_a_batch_size_written_into_the_code_is_accepted() -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 8, 1), nn.Linear(8 * 16, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.conv(x).relu().reshape(4, -1))

    x = torch.randn(4, 3, 4, 4)
    prototype = Prototype(Stubborn().eval(), x)
    smallest = prototype.smallest()
    with torch.no_grad():
        assert (prototype.slice(smallest)(x) - prototype.mask(smallest)(x)).abs().max() < 1e-6
    assert prototype.cost(smallest).macs == 16 * 3 + 16 * 4


def test_a_recurrent_layer_freezes_only_what_it_touches() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.lstm = nn.Conv1d(3, 8, 3), nn.LSTM(8, 6, batch_first=True)
            self.up, self.down = nn.Linear(6, 16), nn.Linear(16, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.down(self.up(self.lstm(self.conv(x).mT)[0][:, -1]).relu())

    network, x = Recurrent().eval(), torch.randn(3, 3, 9)
    prototype = Prototype(network, x[:1])
    assert [dimension.name for dimension in prototype.dimensions] == ["up"]
    with torch.no_grad():
        assert (prototype.slice()(x) - network(x)).abs().max() < 1e-6


def test_a_network_in_which_nothing_can_change_says_why() -> None:
    with pytest.raises(InputError, match="nothing in Linear can change; weight: network output"):
        Prototype(nn.Linear(3, 2), torch.randn(1, 3))


def test_tracing_leaves_the_module_and_its_mode_alone() -> None:
    network = Residual().train()
    before = copy.deepcopy(network.state_dict())
    prototype = Prototype(network, torch.randn(2, 3, 16, 16))
    prototype.slice(prototype.smallest())
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_frozen_layers_keep_their_channels() -> None:
    case = CASES["residual"]
    prototype = Prototype(case.network(), case.inputs(1), freeze=["layer1.*", "head.*"])
    assert set(prototype.space.names) & set(case.free) == {
        "layer2.0.conv1", "layer2.0.conv2", "layer2.1.conv1",
    }  # fmt: skip
    reasons = {row.layer: row.reason for row in prototype.report.frozen}
    assert reasons["layer1.0.conv1"] == "frozen by request (layer1.*)"
    with pytest.raises(InputError, match=r"freeze pattern 'body.\*' matches no layer"):
        Prototype(case.network(), case.inputs(1), freeze=["body.*"])


def test_widths_reach_an_eighth_in_aligned_steps() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 128, 1), nn.ReLU(), nn.Conv2d(128, 20, 1), nn.ReLU(), nn.Conv2d(20, 2, 1)
    )
    wide, narrow = Prototype(network, torch.randn(1, 3, 4, 4)).space.dimensions
    assert (wide.minimum, wide.maximum, wide.step) == (16, 128, 8)
    assert (narrow.minimum, narrow.maximum, narrow.step) == (2, 20, 2)


def test_a_width_keeps_the_best_ranked_units() -> None:
    case = CASES["residual"]
    prototype = Prototype(case.network(), case.inputs(1))
    prototype.set_ranking("stem.0", [7, 1, 2, 3, 4, 5, 6, 0])
    kept = prototype.keep_sets(prototype.largest() | {"stem.0": 2})
    assert kept["stem.0"] == [1, 7]
    assert prototype.plan(prototype.largest() | {"stem.0": 2}).keep["stem.0"] == [1, 7]
    with pytest.raises(ArchitectureError, match=r"each of units 0\.\.7 once"):
        prototype.set_ranking("stem.0", [0, 0, 1, 2, 3, 4, 5, 6])
    with pytest.raises(ArchitectureError, match="unknown dimension 'stem'"):
        prototype.set_ranking("stem", [0])


def test_the_strongest_weights_are_kept_by_default() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    with torch.no_grad():
        network[0].weight.mul_(torch.linspace(0.1, 9.0, 8).reshape(8, 1, 1, 1))
    prototype = Prototype(network, torch.randn(1, 3, 4, 4))
    assert prototype.ranking["0"][0] == 7 or prototype.ranking["0"][1] == 7
    assert prototype.ranking["0"][-1] in (0, 1)


@pytest.mark.parametrize("name", ["mobilenet", "resnext", "wide-groups", "transposed"])
def test_cost_names_the_channel_groups_of_every_convolution(name: str) -> None:
    prototype = traced(name)
    for architecture in (prototype.smallest(), prototype.space.sample(1), prototype.largest()):
        groups = {
            layer: module.groups
            for layer, module in prototype.slice(architecture).named_modules()
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        }
        rows = {row.name: row.groups for row in prototype.cost(architecture).layers}
        assert groups == {layer: rows[layer] for layer in groups}
        assert all(rows[layer] == 1 for layer in rows.keys() - groups.keys())


def test_cost_depends_on_widths_not_on_the_ranking() -> None:
    case = CASES["chunk-concat"]
    prototype = Prototype(case.network(), case.inputs(1))
    architecture = prototype.space.sample(4)
    before = prototype.cost(architecture)
    for dimension in prototype.dimensions:
        prototype.set_ranking(dimension.name, list(reversed(range(dimension.units))))
    assert prototype.cost(architecture) == before
    assert prototype.cost(architecture, prototype.keep_sets(architecture)) == before


def test_a_stratum_never_runs_empty() -> None:
    prototype = traced("chunk-concat")
    assert len(set(prototype.dimensions[0].strata)) == 2
    with pytest.raises(ArchitectureError, match="at least one of units"):
        prototype.slice(prototype.largest(), {"stem.0": [0, 1, 2]})
    with pytest.raises(ArchitectureError, match="at most once"):
        prototype.slice(prototype.largest(), {"stem.0": [0, 99]})
    with pytest.raises(ArchitectureError, match="unknown dimensions"):
        prototype.slice(prototype.largest(), {"stem": [0]})


def test_architectures_are_checked() -> None:
    prototype = traced("residual")
    for bad in ({}, prototype.largest() | {"stem.0": 99}, prototype.largest() | {"extra": 1}):
        for verb in (prototype.cost, prototype.slice, prototype.mask, prototype.plan):
            with pytest.raises(ArchitectureError):
                verb(bad)


def test_pricing_is_fast() -> None:
    prototype = traced("mobilenet")
    architectures = [prototype.space.sample(seed) for seed in range(50)]
    prototype.cost(architectures[0])
    start = time.process_time()
    for architecture in architectures:
        prototype.cost(architecture)
    assert (time.process_time() - start) / len(architectures) < 2e-3


def test_batch_norm_and_activation_ride_on_their_convolution() -> None:
    layers = {layer.name: layer for layer in traced("residual").cost().layers}
    assert layers["layer1.0.bn1"].fused_into == layers["layer1.0.relu"].fused_into == "layer1.0.conv1"
    assert layers["layer1.0.bn2"].fused_into == "layer1.0.conv2"
    # The activation after the addition has no convolution right before it.
    assert layers["layer1.0.relu#2"].fused_into is None
    assert layers["layer1.0.conv1"].output_shape == (8, 16, 16)
    assert layers["layer1.0.conv1"].weight_bytes == 4 * 8 * 8 * 9
    assert layers["layer1.0.conv1"].activation_bytes == 4 * 2 * 8 * 16 * 16


def test_the_report_covers_the_network_and_is_json() -> None:
    report = traced("unknown-operator").report
    assert 0 < report.covered_share <= 1
    assert any("cdist" in row.operator and "couplings.py" in row.line for row in report.frozen)
    assert report.to_json()["free"][0]["dimension"] == "stem.0"


def test_plans_scatter_what_they_gather() -> None:
    prototype = traced("residual")
    shared = {name: tensor.clone() for name, tensor in prototype.module.state_dict().items()}
    plan = prototype.plan(prototype.space.sample(0) | {b.name: True for b in prototype.blocks})
    sliced = {name: tensor + 1 for name, tensor in plan.gather(shared).items()}
    plan.scatter_(shared, sliced)
    again = plan.gather(shared)
    assert all(torch.equal(again[name], sliced[name]) for name in sliced)
    untouched = prototype.module.state_dict()
    changed = sum(int((shared[name] != untouched[name]).sum()) for name in shared)
    assert changed == sum(tensor.numel() for tensor in sliced.values())


def test_a_plan_copies_nothing_that_keeps_its_size() -> None:
    prototype = traced("residual")
    shared = dict(prototype.module.named_parameters())
    assert all(tensor is shared[name] for name, tensor in prototype.plan().gather(shared).items())


def test_tied_weights_stay_tied() -> None:
    prototype = traced("shared")
    sliced = prototype.slice(prototype.smallest())
    assert sliced.a.weight is sliced.b.weight
    tensors = prototype.plan(prototype.smallest()).gather(prototype.module.state_dict(keep_vars=True))
    assert tensors["a.weight"] is tensors["b.weight"]


def test_rebuilt_networks_obey_their_mode() -> None:
    for name in ("residual", "functional"):
        prototype = traced(name)
        architecture = prototype.smallest() if prototype.blocks else prototype.space.sample(0)
        sliced, x = prototype.slice(architecture), CASES[name].inputs(8)[0]
        with torch.no_grad():
            quiet, loud = sliced.eval()(x), sliced.train()(x)
        assert not torch.allclose(quiet, loud, atol=1e-3)


def test_removing_an_outer_block_removes_the_inner_one() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a, self.b, self.c = (nn.Conv2d(i, 8, 1) for i in (3, 8, 8, 8))
            self.out = nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            y = self.a(x).relu()
            return self.out(x + self.c(y + self.b(y)))

    network = Nested().eval()
    prototype = Prototype(network, torch.randn(1, 3, 4, 4))
    inner, outer = (block.name for block in prototype.blocks)
    x = torch.randn(2, 3, 4, 4)
    whole = prototype.largest()
    costs = {
        (i, o): prototype.cost(whole | {inner: i, outer: o}).macs
        for i in (False, True)
        for o in (False, True)
    }
    assert costs[True, False] == costs[False, False] < costs[False, True] < costs[True, True]
    for i, o in costs:
        architecture = whole | {inner: i, outer: o}
        with torch.no_grad():
            difference = prototype.slice(architecture)(x) - prototype.mask(architecture)(x)
        assert difference.abs().max() < 1e-6


def test_widths_that_nobody_hears_are_those_of_removed_blocks() -> None:
    prototype = Prototype(build("resnet20", in_channels=1, classes=10), torch.zeros(1, 1, 28, 28), align=4)
    widths = [dimension.name for dimension in prototype.dimensions]
    silent = 0
    for seed in range(20):
        architecture = {**prototype.space.sample(seed), **{d.name: d.units for d in prototype.dimensions}}
        row = prototype.unheard(prototype.space.encode(architecture)[None])[0]
        least = prototype.canonical(architecture)
        gone = {layer for block in prototype.blocks if not architecture[block.name] for layer in block.layers}
        inside = [gone.issuperset(dimension.layers) for dimension in prototype.dimensions]
        assert inside == row[: len(widths)].tolist()
        assert [least[name] != architecture[name] for name in widths] == row[: len(widths)].tolist()
        assert not row[len(widths) :].any()
        assert prototype.cost(least).macs == prototype.cost(architecture).macs
        silent += int(row.sum())
    assert silent > 20


def test_a_branch_that_is_read_elsewhere_is_no_block() -> None:
    class Leaky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a, self.b, self.out = (nn.Conv2d(i, 8, 1) for i in (3, 8, 8, 16))

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            y = self.a(x)
            return self.out(torch.cat([x + self.b(y), y], 1))

    assert Prototype(Leaky(), torch.randn(1, 3, 4, 4)).blocks == ()


def test_gates_run_on_other_weights() -> None:
    prototype = traced("residual")
    x = CASES["residual"].inputs(2)[0]
    other = CASES["residual"].network(seed=5)
    with torch.no_grad():
        outputs = functional_call(prototype.gated(), other.state_dict(), (x, {}))
        assert torch.allclose(outputs, other(x), atol=1e-5)


def test_a_stimulus_at_one_vertex_is_seen_downstream_only() -> None:
    prototype = traced("plain")
    x = CASES["plain"].inputs(3)[0]
    gate = torch.ones(3, 8)
    gate[1, 4] = 0.0
    with torch.no_grad():
        _, before = prototype.gated()(x, {}, watch=["features.0", "features.4"])
        _, after = prototype.gated()(x, {"features.0": gate}, watch=["features.0", "features.4"])
    changed = (before["features.4"] - after["features.4"]).abs().amax(1)
    assert changed[1] > 1e-4
    assert changed[[0, 2]].max() == 0
    assert after["features.0"][1, 4] == 0
    assert torch.equal(after["features.0"][0], before["features.0"][0])


def test_gates_of_wrong_name_or_shape_are_refused() -> None:
    gated, x = traced("plain").gated(), CASES["plain"].inputs(2)[0]
    with pytest.raises(InputError, match="unknown gates"):
        gated(x, {"features": torch.ones(8)})
    with pytest.raises(InputError, match=r"give \[8\] or \[2, 8\]"):
        gated(x, {"features.0": torch.ones(7)})


@pytest.mark.parametrize("name", ["compiled", "graph", "_graph"])
def test_a_layer_may_have_any_name_that_a_module_leaves_free(name: str) -> None:
    layers = {name: nn.Conv2d(3, 8, 1), "last": nn.Conv2d(8, 4, 1)}
    prototype = Prototype(nn.Sequential(OrderedDict(layers)), torch.randn(2, 3, 4, 4))

    assert f"{name}.weight" in prototype.slice(prototype.smallest()).state_dict()
