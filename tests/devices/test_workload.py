"""Workloads, and which of their layers launch a kernel."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.devices import LayerWork, Workload, fuse, workload_from_cost
from edgesynth.errors import InputError


def layer(name, operator, **more):
    return LayerWork(name, operator, **more)


def hosts(layers):
    return {entry.name: entry.fused_into for entry in layers}


def test_json_makes_the_round_trip():
    net = Workload("n", fuse([layer("a", "conv2d", macs=5), layer("b", "relu")]), (3, 8, 8))

    assert Workload.from_json(net.to_json()) == net


@pytest.mark.parametrize("data", [{}, {"name": "n", "input_shape": [1], "layers": [{"nome": "x"}]}])
def test_json_of_something_else_is_refused(data):
    with pytest.raises(InputError, match="not a workload"):
        Workload.from_json(data)


def test_the_digest_depends_on_the_work_and_not_on_the_name():
    first = Workload("a", (layer("x", "conv2d", macs=1),), (3, 8, 8))
    renamed = Workload("b", (layer("x", "conv2d", macs=1),), (3, 8, 8))
    heavier = Workload("a", (layer("x", "conv2d", macs=2),), (3, 8, 8))

    assert first.digest == renamed.digest != heavier.digest


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="no layer"):
        Workload("n", (), (1,))
    with pytest.raises(InputError, match="negative"):
        layer("a", "conv2d", macs=-1)
    with pytest.raises(InputError, match="not in the workload"):
        Workload("n", (layer("a", "relu", fused_into="ghost"),), (1,))


def test_a_convolution_takes_what_follows_it():
    layers = [layer("conv", "conv2d"), layer("bn", "batch_norm"), layer("add", "add"), layer("relu", "relu")]

    assert hosts(fuse(layers)) == {"conv": None, "bn": "conv", "add": "conv", "relu": "conv"}


def test_a_second_addition_is_a_kernel_of_its_own():
    layers = [layer("conv", "conv2d"), layer("one", "add"), layer("two", "add"), layer("relu", "relu")]

    assert hosts(fuse(layers)) == {"conv": None, "one": "conv", "two": None, "relu": "two"}


def test_pooling_takes_nothing_and_views_are_free():
    layers = [
        layer("in", "view"),
        layer("pool", "max_pool2d"),
        layer("relu", "relu"),
        layer("flat", "flatten"),
    ]

    assert hosts(fuse(layers)) == {"in": "pool", "pool": None, "relu": None, "flat": "relu"}


def test_a_result_with_two_readers_is_not_fused():
    layers = [layer("conv", "conv2d"), layer("relu", "relu"), layer("sig", "sigmoid")]

    assert hosts(fuse(layers, {"relu": ["conv"], "sig": ["conv"]})) == {
        "conv": None,
        "relu": None,
        "sig": None,
    }


@given(
    st.lists(
        st.sampled_from(["conv2d", "relu", "add", "max_pool2d", "flatten", "linear", "odd"]), max_size=20
    )
)
def test_fusion_always_ends_in_a_kernel(operators):
    layers = fuse([layer(f"{index}", operator) for index, operator in enumerate(operators)])
    launching = {entry.name for entry in layers if entry.fused_into is None}

    assert all(entry.fused_into in launching for entry in layers if entry.fused_into is not None)


@given(st.lists(st.sampled_from(["conv2d", "relu", "add", "flatten", "linear"]), min_size=1, max_size=20))
def test_fusing_twice_changes_nothing(operators):
    once = fuse([layer(f"{index}", operator) for index, operator in enumerate(operators)])

    assert fuse(once) == once


@pytest.mark.parametrize(
    "operator", ["conv2d", "Conv", "aten.conv2d.default", "convolution", "conv_transpose2d"]
)
def test_operators_are_known_by_any_of_their_names(operator):
    assert hosts(fuse([layer("c", operator), layer("r", "aten.relu_.default")]))["r"] == "c"


@dataclass
class Cost:
    layers: list


@dataclass
class Row:
    name: str
    operator: str
    macs: int
    weight_bytes: int
    activation_bytes: int
    fused_into: str | None = None


def test_a_cost_becomes_a_workload():
    cost = Cost([Row("a", "conv2d", 10, 20, 30), Row("b", "relu", 0, 0, 40), Row("c", "linear", 1, 2, 3)])

    net = workload_from_cost("net", cost, (3, 8, 8))

    assert net.macs == 11
    assert net.weight_bytes == 22
    assert [kernel.name for kernel in net.kernels] == ["a", "c"]
