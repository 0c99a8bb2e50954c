"""Read an ONNX file as the work it asks of a device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgesynth.devices import LayerWork, Workload, fuse
from edgesynth.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    import onnx

__all__ = ["workload_from_onnx"]

_SCALAR_BYTES: Final = 4
_NO_WORK: Final = frozenset({"Constant", "Shape", "Identity", "ConstantOfShape", "Range"})


def workload_from_onnx(path: str | Path) -> Workload:
    """Read an ONNX model, whatever its operator set.

    Multiply-accumulates are counted for Conv, ConvTranspose, Gemm and MatMul; every other operator is
    memory traffic. Weights and activations count four bytes a scalar, whatever type the file keeps.

    Args:
        path: An ONNX file. Unknown dimensions (a dynamic batch) count as 1.

    Raises:
        InputError: The file is missing, is no ONNX model, or its shapes cannot be inferred.
        MissingDependencyError: The ``onnx`` package is not installed.
    """
    model = _load(Path(path))
    graph = model.graph
    shapes = _shapes(graph)
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in weights]
    if not inputs:
        raise InputError(f"{path} has no input; export the model with an example input")
    computed = _computed_constants(graph, set(weights))
    layers = []
    for index, node in enumerate(graph.node):
        if node.op_type in _NO_WORK or all(name in computed for name in node.output):
            continue
        layers.append(_layer(node, index, shapes, weights, computed, path))
    if not layers:
        raise InputError(f"{path} computes nothing from its inputs; export the whole network")
    batch = shapes[inputs[0]][0] if shapes.get(inputs[0]) else 1
    if batch > 1:  # exported with a fixed batch: the work of one sample is that share of it
        layers = [
            replace(layer, macs=layer.macs // batch, activation_bytes=layer.activation_bytes // batch)
            for layer in layers
        ]
    return Workload(name=Path(path).stem, layers=fuse(layers), input_shape=shapes[inputs[0]][1:])


def _load(path: Path) -> onnx.ModelProto:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("reading ONNX files needs onnx; pip install onnx") from error
    if not path.is_file():
        raise InputError(f"no ONNX file at {path}; check the path")
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except DecodeError as error:
        raise InputError(f"{path} is not an ONNX file: {error}; export the model with torch.onnx") from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is not a valid ONNX model: {first}") from error
    if not inferred.graph.node:
        raise InputError(f"{path} holds an empty graph; export the model again")
    return inferred


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            shapes[value.name] = tuple(max(1, dim.dim_value) for dim in kind.shape.dim)
    return shapes


def _computed_constants(graph: onnx.GraphProto, weights: set[str]) -> set[str]:
    """Names that follow from weights and constants alone: the engine folds them before it runs."""
    known = set(weights)
    for node in graph.node:
        if node.op_type == "Constant" or (node.input and all(not n or n in known for n in node.input)):
            known.update(node.output)
    return known


def _layer(
    node: onnx.NodeProto,
    index: int,
    shapes: Mapping[str, tuple[int, ...]],
    weights: Mapping[str, tuple[int, ...]],
    computed: set[str],
    path: str | Path,
) -> LayerWork:
    missing = [name for name in node.output if name and name not in shapes]
    if missing:
        raise InputError(
            f"{path}: the shape of {missing[0]!r} ({node.op_type}) cannot be inferred; "
            "export with fixed input sizes"
        )
    attributes = {entry.name: entry for entry in node.attribute}
    moved = sum(
        math.prod(shapes[name])
        for name in [*node.input, *node.output]
        if name in shapes and name not in computed
    )
    groups = int(attributes["group"].i) if "group" in attributes else 1
    return LayerWork(
        name=node.name or f"{node.op_type.lower()}_{index}",
        operator=node.op_type,
        macs=_macs(node, groups, shapes, weights),
        weight_bytes=_SCALAR_BYTES * sum(math.prod(weights[name]) for name in node.input if name in weights),
        activation_bytes=_SCALAR_BYTES * moved,
        groups=groups,
    )


def _macs(
    node: onnx.NodeProto,
    groups: int,
    shapes: Mapping[str, tuple[int, ...]],
    weights: Mapping[str, tuple[int, ...]],
) -> int:
    def shape(name: str) -> tuple[int, ...]:
        return weights.get(name) or shapes.get(name, ())

    output: Any = shape(node.output[0])
    if node.op_type == "Conv":  # weight [out, in / groups, *kernel]
        return math.prod(output) * math.prod(shape(node.input[1])[1:])
    if node.op_type == "ConvTranspose":  # weight [in, out / groups, *kernel], once per input element
        return math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])
    if node.op_type == "Gemm":
        transposed = any(entry.name == "transA" and entry.i for entry in node.attribute)
        inner = shape(node.input[0])[0 if transposed else 1]
        return math.prod(output) * inner
    if node.op_type == "MatMul":
        return math.prod(output) * shape(node.input[0])[-1]
    return 0
