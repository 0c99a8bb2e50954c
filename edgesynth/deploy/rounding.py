"""FP16 imitated in FP32: what layers take and make goes through FP16 and back."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from edgesynth.deploy.onnx_graph import FreeNames
from edgesynth.devices.half import HALF_MAX, node_name

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["float_tensors", "rounded"]


def rounded(model: ModelProto, layers: Collection[str]) -> ModelProto:
    """A copy of an FP32 model in which all that these layers take and make is rounded to FP16.

    What leaves the range of FP16 becomes infinite, as it does there.

    Args:
        model: With the types of its tensors.
        layers: Names of nodes.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in copy.graph.initializer}
    nodes, floats, free = list(copy.graph.node), float_tensors(copy), FreeNames(copy.graph)
    halves: dict[str, str] = {}
    del copy.graph.node[:]

    def half(name: str) -> str:
        """The same tensor after a way through FP16."""
        held = weights.get(name)
        if name not in halves and held is not None:
            value = np.clip(onnx.numpy_helper.to_array(held), -HALF_MAX, HALF_MAX)
            halves[name] = free.like(f"{name}_rounded")
            small = value.astype(np.float16).astype(np.float32)
            copy.graph.initializer.append(onnx.numpy_helper.from_array(small, halves[name]))
        elif name not in halves:
            halves[name] = free.like(f"{name}_rounded")
            _round(copy, name, halves[name], free)
        return halves[name]

    for node in nodes:
        if node_name(node) not in layers:
            copy.graph.node.append(node)
            continue
        for index, name in enumerate(node.input):
            if name in floats:
                node.input[index] = half(name)
        made = [(index, name) for index, name in enumerate(node.output) if name in floats]
        exact = {name: free.like(f"{name}_exact") for _, name in made}
        for index, name in made:
            node.output[index] = exact[name]
            halves[name] = name  # it is rounded where it is made
        copy.graph.node.append(node)
        for _, name in made:
            _round(copy, exact[name], name, free)
    return copy


def _round(model: ModelProto, source: str, target: str, names: FreeNames) -> None:
    """Take a tensor through FP16; the runtime leaves such pairs of casts as they are."""
    import onnx

    half = names.like(f"{source}_half")
    for one, other, kind in (
        (source, half, onnx.TensorProto.FLOAT16),
        (half, target, onnx.TensorProto.FLOAT),
    ):
        model.graph.node.append(onnx.helper.make_node("Cast", [one], [other], to=kind))


def float_tensors(model: ModelProto) -> set[str]:
    """Names of the tensors that are FLOAT, as far as the model tells their types."""
    import onnx

    return {
        value.name
        for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    } | {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
