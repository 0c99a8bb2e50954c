"""Read an ONNX file as the work it asks of a device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgesynth.devices import LayerWork, Workload, fuse
from edgesynth.devices.onnx_file import DEFAULT_DOMAINS
from edgesynth.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    import onnx

__all__ = ["check_onnx", "workload_from_onnx"]

_SCALAR_BYTES: Final = 4
_NO_WORK: Final = frozenset({"Constant", "Shape", "Identity", "ConstantOfShape", "Range"})
_WEIGHT: Final = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Convolutions, and which of their inputs is the weight."""
_PRODUCTS: Final = frozenset({"MatMul", "MatMulInteger", "QLinearMatMul"})
_COUNTED: Final = frozenset({*_WEIGHT, *_PRODUCTS, "ConvTranspose", "Gemm", "Einsum"})
_UNCOUNTED: Final = frozenset(
    {"RNN", "LSTM", "GRU", "DeformConv", "Attention", "LinearAttention", "CausalConvWithState"}
)
"""Operators that multiply and accumulate in a way that is not counted here."""


def workload_from_onnx(path: str | Path) -> Workload:
    """Read an ONNX model, whatever its operator set.

    Multiply-accumulates are counted of convolutions, matrix products and ``Einsum``; every other operator is
    memory traffic. Weights and activations count four bytes a scalar, whatever type the file keeps.

    Args:
        path: An ONNX file. Unknown dimensions (a dynamic batch) count as 1.

    Raises:
        InputError: The file is missing, is no ONNX model, its shapes cannot be inferred, an input is of
            nothing, or it has work that cannot be counted: an operator of another kind that multiplies, one
            of another domain, or products inside ``If``, ``Loop`` or ``Scan``, which run as often as the data
            say.
        MissingDependencyError: The ``onnx`` package is not installed.
    """
    reader = _Reader(Path(path))
    return Workload(Path(path).stem, reader.layers(), reader.input_shape, reader.fixed_batch)


def check_onnx(path: str | Path) -> None:
    """Refuse what is no ONNX model, whatever is in it.

    Raises:
        InputError: The file is missing or is no ONNX model.
        MissingDependencyError: The ``onnx`` package is not installed.
    """
    _load(Path(path))


def _load(path: Path) -> onnx.ModelProto:
    try:
        import onnx
        import onnx.inliner
    except ImportError as error:
        raise MissingDependencyError("reading ONNX files needs onnx; pip install onnx") from error
    if not path.is_file():
        raise InputError(f"no ONNX file at {path}; check the path")
    if not path.stat().st_size:
        raise InputError(f"{path} is empty and no ONNX file; export the model again")
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except DecodeError as error:
        raise InputError(f"{path} is not an ONNX file: {error}; export the model with torch.onnx") from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is not a valid ONNX model: {first}; export it again") from error
    declared = max((each.version for each in model.opset_import if not each.domain), default=0)
    if declared > onnx.defs.onnx_opset_version():
        raise InputError(
            f"{path} declares opset {declared}, and the newest that is known here is "
            f"{onnx.defs.onnx_opset_version()}; export it with an older one, like opset_version=17"
        )
    if not inferred.graph.node:
        raise InputError(f"{path} holds an empty graph; export the model again")
    return inferred


class _Reader:
    """One model: its shapes, its weights, and which of its tensors are known before it runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._graph = _load(path).graph
        self._weights = {tensor.name: tuple(tensor.dims) for tensor in self._graph.initializer}
        self._shapes = self._known_shapes()
        self._folded = self._known_before_running()
        inputs = [value.name for value in self._graph.input if value.name not in self._weights]
        if not inputs or not self._shapes.get(inputs[0]):
            raise InputError(f"{path} has no input with a shape; export the model with an example input")
        self._batch, *rest = self._shapes[inputs[0]]
        self.input_shape = tuple(rest)
        self.fixed_batch = self._fixed_batch(inputs)

    def layers(self) -> tuple[LayerWork, ...]:
        """The work of one sample, in the order of the file, fused along the edges of the graph."""
        found: list[LayerWork] = []
        producer: dict[str, str] = {}
        inputs: dict[str, list[str]] = {}
        for index, node in enumerate(self._graph.node):
            if self._folded.issuperset(node.output):
                continue
            self._refuse_uncounted(node)
            if node.op_type in _NO_WORK:
                continue
            layer = self._layer(node, index)
            found.append(layer)
            producer.update(dict.fromkeys(node.output, layer.name))
            inputs[layer.name] = [producer[name] for name in node.input if name in producer]
        if not found:
            raise InputError(f"{self._path} computes nothing from its inputs; export the whole network")
        return fuse(found, inputs)

    def _known_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes = dict(self._weights)
        for value in (*self._graph.input, *self._graph.value_info, *self._graph.output):
            kind = value.type.tensor_type
            if kind.HasField("shape"):
                shapes[value.name] = tuple(max(1, dim.dim_value) for dim in kind.shape.dim)
        return shapes

    def _fixed_batch(self, names: list[str]) -> int | None:
        """The first axis of the inputs, which all share it; ``None`` where it is free."""
        first = []
        for value in self._graph.input:
            axes = value.type.tensor_type.shape.dim if value.name in names else ()
            if any(axis.HasField("dim_value") and axis.dim_value == 0 for axis in axes):
                raise InputError(f"{self._path}: an axis of {value.name!r} has the length 0; export it again")
            first += [axis.dim_value for axis in axes[:1] if axis.dim_value > 0]
        return first[0] if first else None

    def _known_before_running(self) -> set[str]:
        """Tensors that follow from weights and constants alone: the engine folds them when it is built."""
        known = set(self._weights)
        for node in self._graph.node:
            reads = {*filter(None, node.input), *(name for inner in _within(node) for name in inner.input)}
            if node.op_type == "Constant" or (node.input and known.issuperset(reads)):
                known.update(node.output)
        return known

    def _layer(self, node: onnx.NodeProto, index: int) -> LayerWork:
        missing = [name for name in node.output if name and name not in self._shapes]
        if missing:
            raise InputError(
                f"{self._path}: the shape of {missing[0]!r} ({node.op_type}) cannot be inferred; "
                "export with fixed input sizes"
            )
        moved = [
            name for name in (*node.input, *node.output) if name in self._shapes and name not in self._folded
        ]
        weights = {name for name in node.input if name in self._folded and name in self._shapes}
        groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
        return LayerWork(
            name=node.name or f"{node.op_type.lower()}_{index}",
            operator=node.op_type,
            macs=self._macs(node) // self._batch,
            weight_bytes=_SCALAR_BYTES * sum(math.prod(self._shapes[name]) for name in weights),
            activation_bytes=_SCALAR_BYTES
            * sum(math.prod(self._shapes[name]) for name in moved)
            // self._batch,
            groups=groups,
        )

    def _macs(self, node: onnx.NodeProto) -> int:
        if node.op_type not in _COUNTED:
            return 0
        shape = [self._shapes.get(name, ()) for name in node.input]
        output = math.prod(self._shapes[node.output[0]])
        if node.op_type in _WEIGHT:  # [out, in / groups, *kernel]
            return output * math.prod(shape[_WEIGHT[node.op_type]][1:])
        if node.op_type == "ConvTranspose":  # weight [in, out / groups, *kernel], once per input element
            return math.prod(shape[0]) * math.prod(shape[1][1:])
        if node.op_type == "Gemm":
            transposed = any(entry.name == "transA" and entry.i for entry in node.attribute)
            return output * shape[0][0 if transposed else 1]
        if node.op_type == "Einsum":
            return self._einsum_macs(node, shape)
        return output * shape[0][-1]

    def _einsum_macs(self, node: onnx.NodeProto, shapes: list[tuple[int, ...]]) -> int:
        """One multiplication per combination of indices; only two operands have one order of computing."""
        equation = next(entry.s.decode() for entry in node.attribute if entry.name == "equation")
        operands = equation.replace(" ", "").partition("->")[0].split(",")
        if len(operands) > 2 or "..." in equation:
            raise InputError(f"{self._path}: the work of Einsum {equation!r} cannot be counted; use MatMul")
        sizes = {
            index: size
            for operand, shape in zip(operands, shapes, strict=True)
            for index, size in zip(operand, shape, strict=True)
        }
        return math.prod(sizes.values()) if len(operands) == 2 else 0

    def _refuse_uncounted(self, node: onnx.NodeProto) -> None:
        name = f"{node.op_type} {node.name!r}"
        inner = list(_within(node))
        inside = sorted({each.op_type for each in inner} & (_COUNTED | _UNCOUNTED))
        foreign = next((each for each in (node, *inner) if each.domain not in DEFAULT_DOMAINS), None)
        if foreign is not None:
            problem = f"nobody can tell what {foreign.op_type} of the domain {foreign.domain!r} does"
        elif inside:
            problem = (
                f"{inside[0]} inside {name} runs as often as the data say, so its work cannot be counted"
            )
        elif node.op_type in _UNCOUNTED:
            problem = f"the work of {name} cannot be counted"
        else:
            return
        raise InputError(
            f"{self._path}: {problem}; measure this network on a device that runs it, or do without that"
        )


def _within(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The nodes of the graphs that a node holds, and of those in them."""
    for entry in node.attribute:
        for graph in (entry.g, *entry.graphs):
            for inner in graph.node:
                yield inner
                yield from _within(inner)
