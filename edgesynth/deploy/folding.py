"""What is known when a file is written, and exporters leave as nodes: integers, and weights.

An old exporter writes ``-1 mod 3`` where it means axis 2, and TensorRT before 8.5 has no ``Mod``; nor does it
take a convolution whose weight is the product of two constants, as weight normalisation is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.devices.onnx_file import DEFAULT_DOMAINS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["fold_constants"]

_SHAPING: Final = frozenset(
    {"Cast", "Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
_ARITHMETIC: Final = frozenset(
    {"Abs", "Add", "Div", "Exp", "MatMul", "Max", "Min", "Mod", "Mul", "Neg"}
    | {"Pow", "Reciprocal", "Sqrt", "Sub"}
    | {"ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare"}
)
_FOLDED: Final = _SHAPING | _ARITHMETIC
_MOST: Final = 64
"""Whole numbers of a constant that is a size, and no weight."""
_FLOAT: Final = 1
_INTEGERS: Final = (6, 7)  # INT32 and INT64


def fold_constants(model: ModelProto) -> ModelProto:
    """Compute nodes whose inputs are all constants: few whole numbers, or weights; changes the model.

    A weight is computed where that takes no more room than what it is made of, and in no quantised model,
    whose weights are stored as its ``QuantizeLinear`` takes them.
    """
    from onnx import numpy_helper

    graph, known = model.graph, _Constants(model)
    results = {output.name for output in graph.output}
    folded: dict[str, NDArray[Any]] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        inputs = [name for name in node.input if name]
        able = node.op_type in _FOLDED and node.domain in DEFAULT_DOMAINS and not results & set(node.output)
        if not (able and inputs and all(name in known for name in inputs)):
            nodes.append(node)
            continue
        values = {name: known[name] for name in dict.fromkeys(inputs)}
        value = _computed(node, values, model)
        if value is None or not _kept(value, values):
            nodes.append(node)
            continue
        known[node.output[0]] = folded[node.output[0]] = value
    if folded:
        del graph.node[:]
        graph.node.extend(nodes)
        # What only folded nodes took is let go; graphs inside nodes may take anything from outside.
        used = {name for node in nodes for name in node.input} | results
        inner = any(attribute.HasField("g") for node in nodes for attribute in node.attribute)
        graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in folded.items() if name in used or inner
        )
        for tensor in [tensor for tensor in graph.initializer if tensor.name not in used and not inner]:
            graph.initializer.remove(tensor)
    return model


class _Constants:
    """Constants that no input of the same name may replace, read when they are asked for."""

    def __init__(self, model: ModelProto) -> None:
        inputs = {value.name for value in model.graph.input}
        held: dict[str, TensorProto] = {
            tensor.name: tensor for tensor in model.graph.initializer if tensor.name not in inputs
        }
        for node in model.graph.node:
            value = next((entry.t for entry in node.attribute if entry.name == "value"), None)
            if node.op_type == "Constant" and value is not None:
                held[node.output[0]] = value
        quantised = any("QuantizeLinear" in node.op_type for node in model.graph.node)
        self._held = {
            name: tensor
            for name, tensor in held.items()
            if not tensor.external_data
            and (
                _few(tensor)
                if tensor.data_type in _INTEGERS
                else tensor.data_type == _FLOAT and not quantised
            )
        }
        self._made: dict[str, NDArray[Any]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._made or name in self._held

    def __getitem__(self, name: str) -> NDArray[Any]:
        from onnx import numpy_helper

        return self._made[name] if name in self._made else np.asarray(numpy_helper.to_array(self._held[name]))

    def __setitem__(self, name: str, value: NDArray[Any]) -> None:
        self._made[name] = value


def _few(tensor: TensorProto) -> bool:
    return int(np.prod(list(tensor.dims), dtype=np.int64)) <= _MOST


def _computed(node: NodeProto, values: dict[str, NDArray[Any]], model: ModelProto) -> NDArray[Any] | None:
    """What a node makes of constants; nothing where it cannot be told."""
    import onnx
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    whole = onnx.helper.make_model(
        onnx.helper.make_graph(
            [node],
            "one",
            [],
            [onnx.ValueInfoProto(name=name) for name in node.output],
            [numpy_helper.from_array(value, name) for name, value in values.items()],
        ),
        opset_imports=model.opset_import,
    )
    try:
        (value,) = (np.asarray(found) for found in ReferenceEvaluator(whole).run(None, {}))
    except Exception:  # whatever it is, the runtime says it better
        return None
    return value


def _kept(value: NDArray[Any], values: dict[str, NDArray[Any]]) -> bool:
    """Whether what was computed is stored instead of what computes it."""
    if value.dtype.kind in "iu":
        return value.size <= _MOST
    return value.dtype == np.float32 and value.nbytes <= sum(each.nbytes for each in values.values())
