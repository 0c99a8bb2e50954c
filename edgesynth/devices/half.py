"""FP16 in the graph itself, for TensorRT that takes precision from types instead of flags (10.12 and later).

Inputs and outputs stay FLOAT, with a cast at the edge: those of the network, and those of the branches and
loops inside it, so that what a loop carries from turn to turn is not rounded by being carried. Only the rows
that a Scan hands out are FLOAT16, cast before it: TensorRT cannot cast them inside. What sums or
exponentiates many values stays FLOAT inside too: statistics of norms, softmax, reductions; so does every node
that is known to leave the range of FP16, a branch or a loop with all that is in it. From opset 19 on
Q/DQ pairs quantise FLOAT16, and give it: their type is that of their scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgesynth.devices.onnx_file import DEFAULT_DOMAINS
from edgesynth.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

__all__ = ["HALF_MAX", "KEPT_OPERATORS", "Kept", "half_file", "node_name", "to_half"]

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
_PAIR: Final = ("QuantizeLinear", "DequantizeLinear")
_PAIR_OPSET: Final = 19
"""From it on a pair has a scale of FLOAT16."""
_SCALE_ERROR: Final = 2.0**-10
"""Of a scale that FP16 holds well enough: an eighth of a step at the end of the range."""
_STEPS: Final = 128
"""Of INT8 on either side of zero."""
_HALF: Final = 10  # TensorProto.FLOAT16
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
        The copy, and the nodes that stay in FP32 with the reason; what is inside one of those is not listed.
    """
    half = _with_types(model)
    kept = {kept.node: kept for kept in overflowing}
    opset = max((entry.version for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS), default=0)
    _Caster(half.graph, kept, pairs=opset >= _PAIR_OPSET).rewrite()
    return half, tuple(kept.values())


def half_file(path: Path) -> bytes:
    """The content of a file that computes in FP16 what an FP32 one does.

    Raises:
        InputError: It is no ONNX model.
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
    """Gives every node the tensors of its own type, with one cast per tensor and direction.

    Args:
        graph: With the types of its tensors; rewritten in place.
        kept: Nodes that stay in FP32, by name; those that are found to are added.
        around: Of the graph that this one is inside of.
        full: Whether everything in it stays in FP32.
        pairs: Whether Q/DQ pairs may compute in FP16.
        rows: How many of its inputs, at the end, are rows that come in FP16 where they are FLOAT.
    """

    def __init__(
        self,
        graph: GraphProto,
        kept: dict[str, Kept],
        around: _Caster | None = None,
        *,
        full: bool = False,
        pairs: bool = False,
        rows: int = 0,
    ) -> None:
        _hoist_constants(graph)
        self.graph, self.kept, self.around, self.full, self.pairs = graph, kept, around, full, pairs
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.floats = _floats(graph)
        made = (name for node in graph.node for name in node.output)
        self.own = {*(value.name for value in graph.input), *self.weights, *made}
        self.home: dict[str, bool] = {}  # whether a tensor is half where it is made
        self.nodes: list[NodeProto] = []
        self.made: dict[tuple[str, bool], str] = {}
        for value in graph.input[len(graph.input) - rows :]:
            if value.name in self.floats:
                value.type.tensor_type.elem_type = _HALF
                self.home[value.name] = True

    def rewrite(self) -> None:
        import onnx

        results = [value.name for value in self.graph.output]
        for node in list(self.graph.node):
            inner = list(_subgraphs(node))
            half = not inner and self._computes_in_half(node)
            full = _FULL_INPUTS.get(node.op_type, ())
            stays = self.full or node_name(node) in self.kept
            rows = 0 if stays or node.op_type != "Scan" else _rows(node)
            for index, tensor in enumerate(node.input):
                if self._is_float(tensor):
                    is_row = index >= len(node.input) - rows
                    node.input[index] = self._as(tensor, half=is_row or (half and index not in full))
            for graph in inner:
                _Caster(graph, self.kept, self, full=stays, pairs=self.pairs, rows=rows).rewrite()
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
        used = {*_taken(self.graph), *results}
        stale = [tensor for tensor in self.graph.initializer if tensor.name not in used]
        for tensor in stale:
            self.graph.initializer.remove(tensor)

    def _computes_in_half(self, node: NodeProto) -> bool:
        """Whether a node does; one that stays in FP32 for what it is is added to those that are kept."""
        if self.full or not any(self._is_float(tensor) for tensor in node.input):
            return False
        name = node_name(node)
        if node.op_type in _PAIR:
            return self.pairs and name not in self.kept and self._pair_fits(node)
        weights = [weight for tensor in node.input if (weight := self._weight(tensor)) is not None]
        reason = "" if name in self.kept else _reason(node, weights)
        if reason:
            self.kept[name] = Kept(name, node.op_type, reason)
        return name not in self.kept and node.op_type not in _TYPED

    def _pair_fits(self, node: NodeProto) -> bool:
        """Whether FP16 holds what a Q or DQ takes and gives; a scale that is computed is not known to."""
        import onnx

        held, weight = self._weight(node.input[1]), self._weight(node.input[0])
        if held is None:
            return False
        scale = onnx.numpy_helper.to_array(held).astype(np.float64)
        with np.errstate(over="ignore"):
            off = np.abs(scale.astype(np.float16) - scale)
        if np.any(off > _SCALE_ERROR * np.abs(scale)) or np.max(scale, initial=0.0) * _STEPS > HALF_MAX:
            return False
        # What is made in FP32 may be so because FP16 does not hold it.
        return node.op_type == "DequantizeLinear" or weight is not None or self.home.get(node.input[0], False)

    def _is_float(self, tensor: str) -> bool:
        if tensor in self.own or self.around is None:
            return tensor in self.floats
        return self.around._is_float(tensor)

    def _weight(self, tensor: str) -> TensorProto | None:
        if tensor in self.own or self.around is None:
            return self.weights.get(tensor)
        return self.around._weight(tensor)

    def _as(self, tensor: str, *, half: bool) -> str:
        """The name of a tensor in the type wanted, made on first use, in the graph that the tensor is of."""
        import onnx

        if tensor not in self.own and self.around is not None:
            return self.around._as(tensor, half=half)
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


def node_name(node: NodeProto) -> str:
    """What a node is called: after what it makes where it has no name."""
    return node.name or (node.output[0] if node.output else node.op_type)


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for entry in node.attribute:
        if entry.HasField("g"):
            yield entry.g
        yield from entry.graphs


def _rows(scan: NodeProto) -> int:
    """How many inputs of a Scan it hands out row by row; they come last."""
    return next(int(entry.i) for entry in scan.attribute if entry.name == "num_scan_inputs")


def _taken(graph: GraphProto) -> Iterator[str]:
    """Names of all that nodes take, and graphs inside give."""
    for node in graph.node:
        yield from node.input
        for inner in _subgraphs(node):
            yield from _taken(inner)
            yield from (value.name for value in inner.output)


def _with_types(model: ModelProto) -> ModelProto:
    """A copy that tells the types of its tensors, as far as they can be inferred."""
    import onnx

    copy = onnx.ModelProto()
    try:
        copy.CopyFrom(
            onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=False, data_prop=True)
        )
    except Exception:  # what the file declares itself is known still
        copy.CopyFrom(model)
    for inferred, declared in zip(copy.graph.output, model.graph.output, strict=True):
        inferred.CopyFrom(declared)
    return copy


def _floats(graph: GraphProto) -> set[str]:
    """Names of the tensors of a graph that are FLOAT."""
    import onnx

    wanted = onnx.TensorProto.FLOAT
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


def _hoist_constants(graph: GraphProto) -> None:
    """Turn ``Constant`` nodes that hold FLOAT into initializers, which can be stored in FP16."""
    import onnx

    rest = []
    for node in graph.node:
        held = next((entry.t for entry in node.attribute if entry.name == "value"), None)
        if node.op_type != "Constant" or held is None or held.data_type != onnx.TensorProto.FLOAT:
            rest.append(node)
            continue
        tensor = onnx.TensorProto()
        tensor.CopyFrom(held)
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
    del graph.node[:]
    graph.node.extend(rest)


def _cast(source: str, target: str, kind: int) -> NodeProto:
    import onnx

    return onnx.helper.make_node("Cast", [source], [target], name=f"{target}_cast", to=kind)
