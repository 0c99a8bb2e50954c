"""An ONNX file as it is read: nodes of every subgraph, types and shapes of their tensors, constants."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.runners import first_line
from edgesynth.devices.half import node_name
from edgesynth.devices.onnx_file import DEFAULT_DOMAINS
from edgesynth.errors import InputError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto

__all__ = [
    "FreeNames",
    "Scope",
    "Site",
    "Value",
    "all_initializers",
    "batch_of",
    "default_opset",
    "index_outputs",
    "input_shapes",
    "load_model",
    "read_model",
    "sites",
    "subgraphs",
    "with_types",
]

_INDEX_OF = {"ArgMax": 0, "ArgMin": 0, "NonMaxSuppression": 0, "NonZero": 0, "TopK": 1}
"""Operators that give indices, and which of their outputs are."""
_CARRIERS = (
    "Cast",
    "Concat",
    "Flatten",
    "Gather",
    "Identity",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
"""Operators that hand on what is in their first input."""


@dataclass(frozen=True)
class Value:
    """What is known about one tensor.

    Attributes:
        type: Its element type as ONNX calls it (``FLOAT``, ``INT64``); ``""`` when it could not be inferred.
        shape: A size, the name of a free axis, or ``None`` per axis; ``None`` when the rank is not known.
    """

    type: str = ""
    shape: tuple[int | str | None, ...] | None = None

    @property
    def rank(self) -> int | None:
        """Number of axes, if known."""
        return None if self.shape is None else len(self.shape)


@dataclass(frozen=True)
class Scope:
    """The tensors one graph can see: its own, and those of the graphs around it."""

    values: Mapping[str, Value]
    constants: Mapping[str, NDArray[Any] | None]
    dequantised: frozenset[str] = frozenset()
    parent: Scope | None = None

    def value(self, name: str) -> Value:
        """Type and shape of a tensor, as far as they are known."""
        return self.values.get(name) or (self.parent.value(name) if self.parent else Value())

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is an initializer or comes out of a ``Constant``."""
        return name in self.constants or (self.parent is not None and self.parent.is_constant(name))

    def is_dequantised(self, name: str) -> bool:
        """Whether a tensor comes out of a ``DequantizeLinear``."""
        return name in self.dequantised or (self.parent is not None and self.parent.is_dequantised(name))

    def constant(self, name: str) -> NDArray[Any] | None:
        """The content of a constant, or ``None`` when it is none or lies in another file."""
        if name in self.constants:
            return self.constants[name]
        return self.parent.constant(name) if self.parent else None


@dataclass(frozen=True)
class Site:
    """One node where it stands."""

    node: NodeProto
    scope: Scope
    depth: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The node's name, or the tensor it makes when it has none."""
        return node_name(self.node)

    def input(self, index: int) -> str:
        """Name of one input; ``""`` when it is left out."""
        return self.node.input[index] if index < len(self.node.input) else ""

    def has_output(self, index: int) -> bool:
        """Whether an optional output is asked for."""
        return index < len(self.node.output) and bool(self.node.output[index])


def read_model(path: str | os.PathLike[str]) -> ModelProto:
    """Read the structure of a file; tensors kept in other files are left there.

    Raises:
        InputError: It is missing, is no ONNX model, or is damaged.
    """
    import onnx

    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no ONNX file {source}; check the path")
    try:
        model = onnx.load(str(source), load_external_data=False)
    except Exception as error:  # protobuf's own DecodeError, which has no typed home.
        raise InputError(
            f"{source} cannot be read as ONNX: {first_line(error)}; export or copy it again"
        ) from error
    if not model.ir_version or not model.graph.output:
        raise InputError(
            f"{source} is no ONNX model: it has no graph with outputs; give a file written by an exporter"
        )
    return model


def load_model(path: str | os.PathLike[str]) -> ModelProto:
    """Read a file with all of its tensors, and check that it is well-formed.

    Raises:
        InputError: It is missing, is no ONNX model, is damaged, or a tensor it keeps elsewhere is missing.
    """
    import onnx

    model = read_model(path)
    try:
        onnx.load_external_data_for_model(model, str(Path(path).parent))
        onnx.checker.check_model(model)
    except Exception as error:
        raise InputError(f"{path} is damaged: {first_line(error)}; export it again") from error
    return model


def input_shapes(model: ModelProto) -> dict[str, tuple[int | str | None, ...] | None]:
    """Shape of every input that is no weight, in call order; ``None`` where it is not declared."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: value_of(value.type).shape for value in model.graph.input if value.name not in weights
    }


def batch_of(model: ModelProto) -> int | None:
    """How many samples a model takes at a time; ``None`` when any number will do."""
    shapes = input_shapes(model).values()
    return next((shape[0] for shape in shapes if shape and isinstance(shape[0], int)), None)


class FreeNames:
    """Names that no tensor of a graph has, nor of one inside it.

    Args:
        graph: Which one; names that are given out count as taken.
    """

    def __init__(self, graph: GraphProto) -> None:
        self._taken = set(_tensor_names(graph))

    def like(self, name: str) -> str:
        """The name itself where it is free, else one like it."""
        found, number = name, 0
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found


def _tensor_names(graph: GraphProto) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    for node in graph.node:
        yield from (*node.input, *node.output)
        for inner in subgraphs(node):
            yield from _tensor_names(inner)


def default_opset(model: ModelProto) -> int:
    """The version of the default operator set a model declares; 0 when it declares none."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS), 0)


def all_initializers(graph: GraphProto) -> Iterator[TensorProto]:
    """The initializers of a graph and of every graph inside it."""
    yield from graph.initializer
    for node in graph.node:
        for inner in subgraphs(node):
            yield from all_initializers(inner)


def sites(model: ModelProto) -> list[Site]:
    """Every node of a model, those in subgraphs after the node that holds them."""
    return list(_walk(with_types(model).graph, None, 0))


def with_types(model: ModelProto) -> ModelProto:
    """The model with types and shapes of its tensors, as far as they can be inferred."""
    import onnx

    try:
        inferred: ModelProto = onnx.shape_inference.infer_shapes(
            model, check_type=False, strict_mode=False, data_prop=True
        )
    except Exception:  # Types stay unknown then; whoever asks for them says so.
        return model
    return inferred


def value_of(kind: TypeProto) -> Value:
    """Type and shape out of a declaration; what is no tensor has the name of its kind as type."""
    import onnx

    which = kind.WhichOneof("value")
    if which != "tensor_type":
        return Value(type=(which or "").removesuffix("_type").upper())
    tensor = kind.tensor_type
    name = onnx.TensorProto.DataType.Name(tensor.elem_type) if tensor.elem_type else ""
    if not tensor.HasField("shape"):
        return Value(name)
    sizes: list[int | str | None] = []
    for axis in tensor.shape.dim:
        # Some exporters write -1 for a free axis.
        fixed = axis.HasField("dim_value") and axis.dim_value >= 0
        sizes.append(axis.dim_value if fixed else axis.dim_param or None)
    return Value(name, tuple(sizes))


def _walk(graph: GraphProto, parent: Scope | None, depth: int) -> Iterator[Site]:
    import onnx

    values = {
        info.name: value_of(info.type)
        for info in (*graph.input, *graph.value_info, *graph.output)
        if info.name
    }
    constants: dict[str, NDArray[Any] | None] = {}
    for tensor in graph.initializer:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        values[tensor.name] = Value(kind, tuple(tensor.dims))
        constants[tensor.name] = _content(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            held = next((entry.t for entry in node.attribute if entry.name == "value"), None)
            constants[node.output[0]] = None if held is None else _content(held)
    dequantised = frozenset(node.output[0] for node in graph.node if node.op_type == "DequantizeLinear")
    scope = Scope(values, constants, dequantised, parent)
    for node in graph.node:
        yield Site(
            node,
            scope,
            depth,
            {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute},
        )
        for inner in subgraphs(node):
            yield from _walk(inner, scope, depth + 1)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs inside a node: branches, or the body of a loop."""
    for entry in node.attribute:
        if entry.HasField("g"):
            yield entry.g
        yield from entry.graphs


def _content(tensor: TensorProto) -> NDArray[Any] | None:
    """What a tensor holds; ``None`` when it lies in another file, or holds what NumPy has no type for."""
    import onnx

    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except (TypeError, ValueError):
        return None


def shape_text(shape: Sequence[int | str | None] | None) -> str:
    """A shape for people: ``batchx3x?``."""
    return (
        "?" if shape is None else "x".join("?" if size is None else str(size) for size in shape) or "scalar"
    )


def index_outputs(model: ModelProto) -> frozenset[str]:
    """The outputs that are indices, such as classes: what two of them differ by means nothing."""
    carried: set[str] = set()
    for node in model.graph.node:  # in the order in which they compute
        place = _INDEX_OF.get(node.op_type)
        if place is not None:
            carried.update(node.output[place : place + 1])
        elif node.op_type in _CARRIERS and node.input[0] in carried:
            carried.update(node.output)
    return frozenset(value.name for value in model.graph.output if value.name in carried)
