"""Networks with inputs and outputs of several types, and what boards make of them."""

import numpy as np
import onnx
from onnx import TensorProto, helper


def write_network(path, batch="batch"):
    """Write it; the batch is free unless it is given."""
    weight = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "index"], ["row"], axis=0),
        helper.make_node("Add", ["image", "row"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["relu"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 6]),
            helper.make_tensor_value_info("index", TensorProto.INT64, [batch]),
        ],
        [
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [batch, 6]),
            helper.make_tensor_value_info("relu", TensorProto.FLOAT, [batch, 6]),
        ],
        [onnx.numpy_helper.from_array(weight, "table")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def write_kinds(path):
    """Write one whose outputs are whole numbers and truth values, in batch 2."""
    graph = helper.make_graph(
        [
            helper.make_node("ArgMax", ["x"], ["best"], axis=1, keepdims=0),
            helper.make_node("Greater", ["x", "zero"], ["positive"]),
        ],
        "kinds",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5])],
        [
            helper.make_tensor_value_info("best", TensorProto.INT64, [2]),
            helper.make_tensor_value_info("positive", TensorProto.BOOL, [2, 5]),
        ],
        [onnx.numpy_helper.from_array(np.zeros((), np.float32), "zero")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def feed(samples):
    """Data for so many samples."""
    generator = np.random.default_rng(1)
    return {
        "image": generator.normal(size=(samples, 6)).astype(np.float32),
        "index": generator.integers(0, 5, samples),
    }


def build(board, network, batch):
    """The plan that a board builds of it."""
    events = board.ask(
        "build",
        network={"model": str(network)},
        precision="fp32",
        batch=batch,
        folder=str(board.folder),
    )
    assert events[-1]["event"] == "end", events
    return next(event["plan"] for event in events if "plan" in event)
