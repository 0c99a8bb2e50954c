"""A workload and ONNX files that several tests of the profiler use."""

import numpy as np
import pytest

from edgesynth.devices import LayerWork, Workload, fuse


def build_workload(layers=20, macs=2_000_000):
    found = []
    for index in range(layers):
        found.append(LayerWork(f"conv{index}", "conv2d", macs, 9 * 256 * 4, 2 * 16 * 1024 * 4))
        found.append(LayerWork(f"relu{index}", "relu", 0, 0, 2 * 16 * 1024 * 4))
    return Workload("net", fuse(found), (3, 32, 32))


@pytest.fixture
def make_workload():
    return build_workload


@pytest.fixture
def workload():
    return build_workload()


@pytest.fixture
def onnx_model():
    """Build a one-input ONNX model from nodes and weights."""
    from onnx import TensorProto, helper, numpy_helper

    def build(nodes, weights, *, shape=("n", 3, 32, 32), out=("a", "b", "c", "d"), opset=13):
        return helper.make_model(
            helper.make_graph(
                nodes,
                "g",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
                [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, list(out))],
                [numpy_helper.from_array(np.ones(size, np.float32), name) for name, size in weights.items()],
            ),
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=7,
        )

    return build


@pytest.fixture
def onnx_file(onnx_model, tmp_path):
    """A small network on disk: convolution, activation, depthwise convolution, pooling, classifier."""
    import onnx
    from onnx import helper

    nodes = [
        helper.make_node(
            "Conv", ["x", "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], name="first"
        ),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu"),
        helper.make_node(
            "Conv", ["r1", "w2"], ["c2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=16, name="depthwise"
        ),
        helper.make_node("GlobalAveragePool", ["c2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], transB=1, name="head"),
    ]
    weights = {"w1": (16, 3, 3, 3), "b1": (16,), "w2": (16, 1, 3, 3), "w3": (10, 16), "b3": (10,)}
    path = tmp_path / "small.onnx"
    onnx.save(onnx_model(nodes, weights, out=["n", 10]), path)
    return path
