"""Each way to choose the range of an activation does what it is called by."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesynth.deploy.quantisation import METHODS, quantise


def input_range(method: str) -> float:
    """The range that a method gives to 200,000 numbers between -1 and 1, and a single one of 100."""
    values = np.random.default_rng(0).uniform(-1, 1, size=(2000, 100)).astype(np.float32)
    values[7, 3] = 100
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 100])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.eye(100, 4, dtype=np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return 127 * scale_of(quantise(model, {"x": values}, methods=[method]).model, "x")


def scale_of(model: onnx.ModelProto, tensor: str) -> float:
    pair = next(
        node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == tensor
    )
    held = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    return float(held[pair.input[1]])


@pytest.mark.parametrize(
    ("method", "least", "most"),
    [
        ("min-max", 99.99, 100.01),  # all of them
        ("percentile", 0.9, 1.1),  # one in 200,000 is less than one in 100,000
        ("entropy", 1.0, 60.0),  # a compromise between the many and the one
    ],
)
def test_a_single_large_value_counts_as_much_as_the_method_says(
    method: str, least: float, most: float
) -> None:
    assert least < input_range(method) < most


def test_there_are_no_other_ways() -> None:
    assert set(METHODS) == {"min-max", "percentile", "entropy"}
