"""FP16 in the graph itself, for TensorRT that takes precision from types instead of flags (10.12 and later).

Inputs and outputs stay FLOAT, with a cast at the edge. What sums or exponentiates many values stays FLOAT
inside too: statistics of norms, softmax, reductions; so does every node whose tensors leave the range of FP16
on calibration inputs, which is found by running the FP32 model and named.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edgesynth.deploy.onnx_graph import sites
from edgesynth.deploy.runners import Arrays, OnnxRunner, run_in_parts
from edgesynth.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["HALF_MAX", "KEPT_OPERATORS", "Kept", "find_overflows", "to_half"]

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


def find_overflows(model: ModelProto, data: Arrays) -> tuple[Kept, ...]:
    """Nodes whose tensors leave the range of FP16 when the model runs on these inputs.

    Args:
        model: In FP32.
        data: Calibration inputs by name, axis 0 the batch.

    Raises:
        InputError: The model cannot run on them.
    """
    found = []
    floats = [site for site in sites(model) if site.depth == 0]
    names = [
        name
        for site in floats
        for name in site.node.output
        if site.scope.value(name).type in {"FLOAT", ""} and name
    ]
    made = run_in_parts(OnnxRunner(model, names, optimise=False), data)
    largest = {
        name: float(np.max(np.abs(value), initial=0.0))
        for name, value in made.items()
        if value.dtype.kind == "f"
    }
    for site in floats:
        reach = max((largest.get(name, 0.0) for name in site.node.output), default=0.0)
        inward = max((largest.get(name, 0.0) for name in site.node.input), default=0.0)
        # A NaN compares false, and is no overflow of ours: the FP32 model has it.
        if max(reach, inward) > HALF_MAX:
            reason = "its result" if reach > HALF_MAX else "its input"
            found.append(
                Kept(site.name, site.node.op_type, f"{reason} leaves the range of FP16", max(reach, inward))
            )
    return tuple(found)


def to_half(model: ModelProto, overflowing: Sequence[Kept] = ()) -> tuple[ModelProto, tuple[Kept, ...]]:
    """A copy of the model that computes in FP16 wherever it may.

    Args:
        model: In FP32; not changed.
        overflowing: What :func:`find_overflows` found.

    Returns:
        The copy, and the nodes that stay in FP32 with the reason.

    Raises:
        InputError: The model has subgraphs, whose tensors this does not follow.
    """
    import onnx

    every = sites(model)
    if any(site.depth for site in every):
        raise InputError(
            "FP16 in the graph needs one without subgraphs (If, Loop, Scan); unroll them in the export"
        )
    half = onnx.ModelProto()
    half.CopyFrom(model)
    _hoist_constants(half)
    floats = {
        name
        for site in every
        for name in (*site.node.input, *site.node.output)
        if name and site.scope.value(name).type == "FLOAT"
    }
    weights = {tensor.name: tensor for tensor in half.graph.initializer}
    kept = {kept.node: kept for kept in overflowing}
    for site in every:
        reason = _reason(site.node, [weights[name] for name in site.node.input if name in weights])
        if reason and site.name not in kept and any(name in floats for name in site.node.input):
            kept[site.name] = Kept(site.name, site.node.op_type, reason)
    _Caster(half, floats, kept).rewrite()
    return half, tuple(kept.values())


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
            name = node.name or (node.output[0] if node.output else node.op_type)
            half = (
                name not in self.kept
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
