"""Networks with branches and loops, whose tensors come from everywhere: their own, and from around them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def weight(name, seed, *shape):
    values = np.random.default_rng(seed).normal(size=shape or (4, 4)).astype(np.float32) / 2
    return numpy_helper.from_array(values, name)


def value(name, shape=(1, 4), kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def whole(name, number):
    return numpy_helper.from_array(np.array(number, np.int64), name)


def branch(name, nodes, output, weights=()):
    return helper.make_graph(nodes, name, [], [value(output)], list(weights))


def network(nodes, weights, outputs=("output",)):
    """From ``input``, of two axes."""
    graph = helper.make_graph(nodes, "net", [value("input")], [value(name) for name in outputs], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def decision():
    """Whether the sum of the input is positive."""
    return [
        helper.make_node("ReduceSum", ["input"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "zero"], ["which"]),
    ], [numpy_helper.from_array(np.array(0, np.float32), "zero")]


def branches():
    """Two branches with a name in common: one has a weight of its own, one takes it from around it."""
    nodes, weights = decision()
    own = branch(
        "own",
        [helper.make_node("MatMul", ["before", "inner"], ["x"]), helper.make_node("Relu", ["x"], ["y"])],
        "y",
        [weight("inner", 1)],
    )
    other = branch(
        "other",
        [
            helper.make_node("Constant", [], ["x"], value=weight("x", 2)),
            helper.make_node("MatMul", ["input", "shared"], ["z"]),
            helper.make_node("MatMul", ["z", "x"], ["y"]),
        ],
        "y",
    )
    return network(
        [
            helper.make_node("MatMul", ["input", "shared"], ["before"]),
            *nodes,
            helper.make_node("If", ["which"], ["chosen"], name="if", then_branch=own, else_branch=other),
            helper.make_node("MatMul", ["chosen", "shared"], ["output"]),
        ],
        [*weights, weight("shared", 3)],
    )


def loop():
    """Four turns that carry a state, take a tensor from before the loop, and decide something each time."""
    inner = branch("inner", [helper.make_node("Tanh", ["mixed"], ["bent"])], "bent")
    plain = branch("plain", [helper.make_node("Identity", ["mixed"], ["same"])], "same")
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "step"], ["moved"]),
            helper.make_node("Add", ["moved", "before"], ["mixed"]),
            helper.make_node("Equal", ["turn", "second"], ["is_second"]),
            helper.make_node("If", ["is_second"], ["next"], then_branch=inner, else_branch=plain),
            helper.make_node("Mul", ["next", "half"], ["told"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [
            value("turn", (), TensorProto.INT64),
            value("go", (), TensorProto.BOOL),
            value("state"),
        ],
        [value("go_on", (), TensorProto.BOOL), value("next"), value("told")],
        [numpy_helper.from_array(np.array(0.5, np.float32), "half")],
    )
    return network(
        [
            helper.make_node("MatMul", ["input", "step"], ["before"]),
            helper.make_node("Loop", ["turns", "yes", "input"], ["last", "every"], name="loop", body=body),
            helper.make_node("ReduceMax", ["every"], ["most"], axes=[0], keepdims=0),
            helper.make_node("Add", ["last", "most"], ["output"]),
        ],
        [
            *(whole("turns", 4), whole("second", 1), weight("step", 4)),
            numpy_helper.from_array(np.array(True), "yes"),
        ],
    )


def scan():
    """A recurrence over the rows of the input."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "step"], ["moved"]),
            helper.make_node("Add", ["moved", "row"], ["next"]),
            helper.make_node("Identity", ["next"], ["told"]),
        ],
        "body",
        [value("state", (4,)), value("row", (4,))],
        [value("next", (4,)), value("told", (4,))],
    )
    return network(
        [helper.make_node("Scan", ["start", "input"], ["last", "output"], body=body, num_scan_inputs=1)],
        [weight("step", 5), weight("start", 6, 4)],
    )


NETWORKS = {"If": branches, "Loop": loop, "Scan": scan}
