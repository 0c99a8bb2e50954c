"""What is known when a file is written, and exporters leave as nodes: integers, and weights.

An old exporter writes ``-1 mod 3`` where it means axis 2, and TensorRT before 8.5 has no ``Mod``; nor does it
take a convolution whose weight is the product of two constants, as weight normalisation is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.onnx_graph import DEFAULT_DOMAINS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["fold_integers", "fold_weights"]

_FOLDED: Final = frozenset(
    {"Add", "Cast", "Concat", "Div", "Gather", "Identity", "Mod", "Mul", "Neg", "Reshape", "Slice", "Squeeze"}
    | {"Sub", "Unsqueeze"}
)
_MOST: Final = 64
"""Numbers of a constant that is a size, and no weight."""
_ANY: Final = 1 << 40
"""Bytes of a weight: however large it is, the file grows no larger than by what it is made of."""


def fold_integers(model: ModelProto) -> ModelProto:
    """Compute nodes whose inputs are all constants of few whole numbers; the model itself is changed.

    Nodes whose inputs are floating-point stay, so that no arithmetic of the network is done twice.
    """
    import onnx
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    graph, known = model.graph, _constants(model)
    results = {output.name for output in graph.output}
    folded: dict[str, NDArray[np.int64]] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        inputs = [name for name in node.input if name]
        able = node.op_type in _FOLDED and node.domain in DEFAULT_DOMAINS and not results & set(node.output)
        if not (able and inputs and all(name in known for name in inputs)):
            nodes.append(node)
            continue
        whole = onnx.helper.make_model(
            onnx.helper.make_graph(
                [node],
                "one",
                [],
                [onnx.ValueInfoProto(name=name) for name in node.output],
                [numpy_helper.from_array(known[name], name) for name in dict.fromkeys(inputs)],
            ),
            opset_imports=model.opset_import,
        )
        try:
            (value,) = (np.asarray(found) for found in ReferenceEvaluator(whole).run(None, {}))
        except Exception:  # whatever it is, the runtime says it better
            nodes.append(node)
            continue
        if value.dtype.kind not in "iu" or value.size > _MOST:
            nodes.append(node)
            continue
        known[node.output[0]] = folded[node.output[0]] = value
    if folded:
        del graph.node[:]
        graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in folded.items() if name in used
        )
    return model


def fold_weights(model: ModelProto) -> ModelProto:
    """Compute nodes of floating-point numbers whose inputs are all constants, by the optimizer of onnxscript.

    A model that is quantised is left as it is, since its weights are stored as its ``QuantizeLinear`` takes
    them; so is one that has no such nodes.

    Args:
        model: Not changed.
    """
    import onnx_ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass
    from onnxscript.optimizer import fold_constants

    if not _makes_weights(model):
        return model
    graph = onnx_ir.serde.deserialize_model(model)
    fold_constants(graph, onnx_shape_inference=False, input_size_limit=_ANY, output_size_limit=_ANY)
    RemoveUnusedNodesPass()(graph)
    folded: ModelProto = onnx_ir.serde.serialize_model(graph)
    return folded


def _makes_weights(model: ModelProto) -> bool:
    """Whether a node computes what constants alone decide."""
    if any(node.op_type in {"QuantizeLinear", "DequantizeLinear"} for node in model.graph.node):
        return False
    inputs = {value.name for value in model.graph.input}
    known = {tensor.name for tensor in model.graph.initializer if tensor.data_type == 1} - inputs
    known |= {
        node.output[0]
        for node in model.graph.node
        for entry in node.attribute
        if node.op_type == "Constant" and entry.name == "value" and entry.t.data_type == 1
    }
    return any(node.input and all(name in known for name in node.input) for node in model.graph.node)


def _constants(model: ModelProto) -> dict[str, NDArray[np.int64]]:
    """Constants of few whole numbers that no input of the same name may replace."""
    from onnx import numpy_helper

    inputs = {value.name for value in model.graph.input}
    held = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name not in inputs}
    for node in model.graph.node:
        value = next((entry.t for entry in node.attribute if entry.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            held[node.output[0]] = value
    found = {}
    for name, tensor in held.items():
        size = int(np.prod(list(tensor.dims), dtype=np.int64))
        if tensor.data_type in (6, 7) and size <= _MOST and not tensor.external_data:  # INT32 and INT64
            found[name] = np.asarray(numpy_helper.to_array(tensor))
    return found
