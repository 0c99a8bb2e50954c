"""What leaves the range of FP16 is found on calibration inputs, inside branches and loops too."""

import numpy as np
import onnx
import pytest
from control_flow import NETWORKS, branches, loop, network, scan, weight
from onnx import helper, numpy_helper

from edgesynth.deploy.overflow import find_overflows

INPUTS = {"input": np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)}  # sums of both signs


def inner(model, name):
    """A graph inside a model, by its name."""
    pending = [model.graph]
    while pending:
        graph = pending.pop()
        if graph.name == name:
            return graph
        pending += [entry.g for node in graph.node for entry in node.attribute if entry.HasField("g")]
    raise KeyError(name)


def swell(graph, tensor):
    """Have a node's result be large on its way, and what follows be as it was."""
    (node,) = [node for node in graph.node if tensor in node.output]
    at = list(graph.node).index(node)
    node.output[list(node.output).index(tensor)] = "small"
    graph.node.insert(at + 1, helper.make_node("Mul", ["small", "factor"], ["large"]))
    graph.node.insert(at + 2, helper.make_node("Div", ["large", "factor"], [tensor]))
    graph.initializer.append(numpy_helper.from_array(np.array(1e6, np.float32), "factor"))


@pytest.mark.parametrize("name", NETWORKS)
def test_control_flow_within_the_range_is_not_kept(name):
    assert find_overflows(NETWORKS[name](), INPUTS) == ()


@pytest.mark.parametrize(
    ("model", "graph", "tensor", "node"),
    [
        (branches, "own", "x", "if"),
        (branches, "other", "z", "if"),
        (loop, "body", "moved", "loop"),
        (loop, "inner", "bent", "loop"),
        (scan, "body", "moved", "last"),
    ],
)
def test_a_tensor_inside_that_leaves_the_range_keeps_what_it_is_inside_of(model, graph, tensor, node):
    swollen = model()
    swell(inner(swollen, graph), tensor)
    onnx.checker.check_model(swollen, full_check=True)

    (kept,) = find_overflows(swollen, INPUTS)

    assert (kept.node, kept.reason) == (node, "a tensor inside it leaves the range of FP16")
    assert kept.max_abs > 1e5


def test_a_large_tensor_that_is_only_taken_inside_counts_too():
    own = helper.make_graph(
        [helper.make_node("Div", ["large", "factor"], ["y"])],
        "own",
        [],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])],
    )
    model = network(
        [
            helper.make_node("Mul", ["input", "factor"], ["large"], name="mul"),
            helper.make_node("If", ["yes"], ["output"], name="if", then_branch=own, else_branch=own),
        ],
        [
            numpy_helper.from_array(np.array(1e6, np.float32), "factor"),
            numpy_helper.from_array(np.array(True), "yes"),
            weight("unused", 1),
        ],
    )

    assert [(kept.node, kept.reason) for kept in find_overflows(model, INPUTS)] == [
        ("mul", "its result leaves the range of FP16"),
        ("if", "its input leaves the range of FP16"),
    ]
