"""FP16 in the graph itself, for TensorRT that takes precision from types instead of flags (10.12 and later).

Inputs and outputs stay FLOAT, with a cast at the edge. What sums or exponentiates many values stays FLOAT
inside too: statistics of norms, softmax, reductions; so does every node that is known to leave the range of
FP16.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgesynth.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["HALF_MAX", "KEPT_OPERATORS", "Kept", "half_file", "to_half"]

HALF_MAX: Final = 65504.0
"""The largest finite FP16 value."""

KEPT_OPERATORS: Final = frozenset(
    {
        *("BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization"),
        *("LpNormalization", "LRN", "MeanVarianceNormalization", "RMSNormalization"),
        *("LogSoftmax", "Softmax", "Softplus", "Exp", "Log", "Pow", "CumSum", "GlobalAveragePool"),
        *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd"),
        *("ReduceSum", "ReduceSumSquare", "GlobalLpPool", "LpPool"),
    }
)
"""Operators that stay in FP32: they sum, square or exponentiate."""

_TYPED: Final = frozenset(
    {"Cast", "CastLike", "ConstantOfShape", "EyeLike", "QuantizeLinear", "DequantizeLinear", "RandomUniform"}
    | {"RandomNormal", "RandomNormalLike", "RandomUniformLike", "NonMaxSuppression", "Range"}
)
"""Operators that name a type themselves, or that TensorRT gives no FP16 form."""
_FULL_INPUTS: Final = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that are FLOAT whatever the node computes in."""


@dataclass(frozen=True)
class Kept:
    """A node that stays in FP32.

    Attributes:
        node: Its name.
        operator: Its operator.
        reason: Why.
        max_abs: The largest magnitude seen in its tensors; ``None`` when it is kept for what it is.
    """

    node: str
    operator: str
    reason: str
    max_abs: float | None = None


def to_half(model: ModelProto, overflowing: Sequence[Kept] = ()) -> tuple[ModelProto, tuple[Kept, ...]]:
    """A copy of the model that computes in FP16 wherever it may.

    Args:
        model: In FP32; not changed.
        overflowing: Nodes that are known to leave the range of FP16.

    Returns:
        The copy, and the nodes that stay in FP32 with the reason.

    Raises:
        InputError: The model has subgraphs, whose tensors this does not follow.
    """
    import onnx

    if any(entry.HasField("g") or entry.graphs for node in model.graph.node for entry in node.attribute):
        raise InputError(
            "FP16 in the graph needs one without subgraphs (If, Loop, Scan); unroll them in the export"
        )
    floats = _floats(model)
    half = onnx.ModelProto()
    half.CopyFrom(model)
    _hoist_constants(half)
    weights = {tensor.name: tensor for tensor in half.graph.initializer}
    kept = {kept.node: kept for kept in overflowing}
    for node in model.graph.node:
        reason = _reason(node, [weights[name] for name in node.input if name in weights])
        name = _name(node)
        if reason and name not in kept and any(tensor in floats for tensor in node.input):
            kept[name] = Kept(name, node.op_type, reason)
    _Caster(half, floats, kept).rewrite()
    return half, tuple(kept.values())


def half_file(path: Path) -> bytes:
    """The content of a file that computes in FP16 what an FP32 one does.

    Raises:
        InputError: It is no ONNX model, or has subgraphs.
        MissingDependencyError: The ``onnx`` package is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("FP16 in the graph needs onnx; pip install onnx") from error
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # of protobuf, of the checker, and of files beside it
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{path} cannot be read as ONNX: {said[0]}; export it again") from error
    # Old exporters list weights among the inputs, which would make them arguments once they are renamed.
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in weights]:
        model.graph.input.remove(value)
    half, _ = to_half(model)
    content: bytes = half.SerializeToString(deterministic=True)
    return content


class _Caster:
    """Gives every node the tensors of its own type, with one cast per tensor and direction."""

    def __init__(self, model: ModelProto, floats: Collection[str], kept: Collection[str]) -> None:
        self.graph = model.graph
        self.floats, self.kept = floats, kept
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self.home = {
            value.name: False for value in self.graph.input
        }  # whether a tensor is half where it is made
        self.nodes: list[NodeProto] = []
        self.made: dict[tuple[str, bool], str] = {}

    def rewrite(self) -> None:
        import onnx

        results = [value.name for value in self.graph.output]
        for node in list(self.graph.node):
            half = (
                _name(node) not in self.kept
                and node.op_type not in _TYPED
                and any(x in self.floats for x in node.input)
            )
            full = _FULL_INPUTS.get(node.op_type, ())
            for index, tensor in enumerate(node.input):
                if tensor in self.floats:
                    node.input[index] = self._as(tensor, half=half and index not in full)
            self.nodes.append(node)
            for index, tensor in enumerate(node.output):
                if tensor in self.floats:
                    self.home[tensor] = half
                    if half and tensor in results:
                        node.output[index] = f"{tensor}_half"
                        self.made[tensor, True] = f"{tensor}_half"
                        self.nodes.append(_cast(f"{tensor}_half", tensor, onnx.TensorProto.FLOAT))
                        self.home[tensor] = False
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        del self.graph.value_info[:]
        used = {name for node in self.nodes for name in node.input} | set(results)
        stale = [tensor for tensor in self.graph.initializer if tensor.name not in used]
        for tensor in stale:
            self.graph.initializer.remove(tensor)

    def _as(self, tensor: str, *, half: bool) -> str:
        """The name of a tensor in the type wanted, made on first use."""
        import onnx

        if self.home.get(tensor, False) == half:
            return tensor
        if (tensor, half) not in self.made:
            name = f"{tensor}_{'half' if half else 'full'}"
            if tensor in self.weights:
                small = onnx.numpy_helper.to_array(self.weights[tensor]).astype(np.float16)
                self.graph.initializer.append(onnx.numpy_helper.from_array(small, name))
            else:
                kind = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
                self.nodes.append(_cast(tensor, name, kind))
            self.made[tensor, half] = name
        return self.made[tensor, half]


def _name(node: NodeProto) -> str:
    return node.name or (node.output[0] if node.output else node.op_type)


def _floats(model: ModelProto) -> set[str]:
    """Names of the tensors that are FLOAT, as far as types can be inferred."""
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(
            model, check_type=False, strict_mode=False, data_prop=True
        )
    except Exception:  # what the file declares itself is known still
        inferred = model
    graph, wanted = inferred.graph, onnx.TensorProto.FLOAT
    declared = (*graph.input, *graph.value_info, *graph.output)
    return {value.name for value in declared if value.type.tensor_type.elem_type == wanted} | {
        tensor.name for tensor in graph.initializer if tensor.data_type == wanted
    }


def _reason(node: NodeProto, weights: Sequence[TensorProto]) -> str:
    import onnx

    if node.op_type in KEPT_OPERATORS:
        return "it sums, squares or exponentiates"
    if node.op_type in _TYPED:
        return ""
    for tensor in weights:
        held = onnx.numpy_helper.to_array(tensor)
        if held.dtype == np.float32 and np.max(np.abs(held), initial=0.0) > HALF_MAX:
            return "a weight leaves the range of FP16"
    return "" if _takes_half(node) else "ONNX gives it no FP16 form"


def _takes_half(node: NodeProto) -> bool:
    import onnx

    try:
        schema = onnx.defs.get_schema(node.op_type, node.domain)
    except onnx.defs.SchemaError:
        return False
    floating = [rule for rule in schema.type_constraints if "tensor(float)" in rule.allowed_type_strs]
    return all("tensor(float16)" in rule.allowed_type_strs for rule in floating)


def _hoist_constants(model: ModelProto) -> None:
    """Turn ``Constant`` nodes that hold FLOAT into initializers, which can be stored in FP16."""
    import onnx

    rest = []
    for node in model.graph.node:
        held = next((entry.t for entry in node.attribute if entry.name == "value"), None)
        if node.op_type != "Constant" or held is None or held.data_type != onnx.TensorProto.FLOAT:
            rest.append(node)
            continue
        tensor = onnx.TensorProto()
        tensor.CopyFrom(held)
        tensor.name = node.output[0]
        model.graph.initializer.append(tensor)
    del model.graph.node[:]
    model.graph.node.extend(rest)


def _cast(source: str, target: str, kind: int) -> NodeProto:
    import onnx

    return onnx.helper.make_node("Cast", [source], [target], name=f"{target}_cast", to=kind)
