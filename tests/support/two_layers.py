"""Two layers with a free batch: a hidden tensor to go wrong in, and four classes."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["CLASSES", "labelled", "write_network"]

CLASSES = ("cat", "dog", "eel", "fox")


def write_network(path, scale=1.0, seed=0, classes=4):
    generator = np.random.default_rng(seed)
    weights = {
        "first": (generator.normal(size=(6, 16)) * scale).astype(np.float32),
        "second": (generator.normal(size=(16, classes)) / scale).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["image", "first"], ["one"], name="dense_1"),
            helper.make_node("Relu", ["one"], ["two"], name="relu_1"),
            helper.make_node("MatMul", ["two", "second"], ["scores"], name="dense_2"),
        ],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def labelled(path, network, samples):
    """Samples that the network labels itself: all of them are right."""
    import onnxruntime

    image = np.random.default_rng(1).normal(size=(samples, 6)).astype(np.float32)
    (scores,) = onnxruntime.InferenceSession(network.read_bytes()).run(None, {"image": image})
    np.savez(path, image=image, labels=scores.argmax(1))
    return str(path)
