"""Bring a model to another operator set.

ONNX's own converter goes up well and down hardly at all: it has no way back for a ``Relu`` of opset 14,
which only came to allow one more type. A node goes down here when the older operator has every attribute
and input that the node uses, and means the same by them; what does not is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from edgesynth.deploy.onnx_graph import FreeNames, default_opset
from edgesynth.deploy.runners import first_line
from edgesynth.devices.half import node_name
from edgesynth.devices.onnx_file import DEFAULT_DOMAINS
from edgesynth.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["convert_opset"]

_MEANING_CHANGED: Final = frozenset(
    {"GridSample", "GroupNormalization", "RoiAlign", "ImageDecoder", "Attention"}
)
"""Operators that mean something else under the same attributes in an older set, after opset 13."""
_INPUT_WAS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{
            f"Reduce{kind}": "axes"
            for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
        },
        "Squeeze": "axes",
        "Unsqueeze": "axes",
        "Split": "split",
    }
)
"""What became the second input of operators, with opset 13 or 18, and was an attribute before."""
_FLATTENING: Final = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
"""Operators that took all axes from one on together, before opset 13."""
_PER_AXIS: Final = 13
"""The opset in which those came to take one axis, and quantising a scale per channel."""
_QUANTISING: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})
_LOWEST: Final = 11
"""What TensorRT 7 reads; nothing is taken further down but by ONNX's own converter."""


def convert_opset(model: ModelProto, opset: int) -> ModelProto:
    """A copy of the model that declares another default operator set and means the same.

    Raises:
        InputError: A node has no counterpart there; it is named.
    """
    import onnx

    was = default_opset(model)
    if opset > was or opset < _LOWEST:
        try:
            converted = onnx.version_converter.convert_version(model, opset)
        except Exception as error:
            raise InputError(
                f"opset {was} cannot be converted to {opset}: {first_line(error)}; export it in opset {opset}"
            ) from error
        if default_opset(converted) != opset:
            raise InputError(
                f"opset {was} came out as {default_opset(converted)}; export it in opset {opset}"
            )
    else:
        converted = onnx.ModelProto()
        converted.CopyFrom(model)
        ranks = _ranks(model) if opset < _PER_AXIS <= was else {}
        for node in converted.graph.node:
            _lower(node, was, opset, converted)
            if opset < _PER_AXIS <= was and node.op_type in _FLATTENING and node.domain in DEFAULT_DOMAINS:
                _take_last_axis(node, opset, ranks)
        for entry in converted.opset_import:
            if entry.domain in DEFAULT_DOMAINS:
                entry.version = opset
    return converted


def _lower(node: NodeProto, was: int, opset: int, model: ModelProto) -> None:
    import onnx

    if node.domain not in DEFAULT_DOMAINS:
        return
    if any(entry.HasField("g") or entry.graphs for entry in node.attribute):
        raise InputError(_no(node, opset, "it holds a subgraph"))
    try:
        new = onnx.defs.get_schema(node.op_type, was, "")
        old = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        raise InputError(_no(node, opset, "there is no such operator")) from None
    if new.since_version == old.since_version:
        return
    if node.op_type in _MEANING_CHANGED or (node.op_type in _QUANTISING and opset < _PER_AXIS):
        raise InputError(_no(node, opset, "it means something else there"))
    name = _INPUT_WAS.get(node.op_type, "")
    if name in old.attributes:
        _input_to_attribute(node, name, opset, model)
    if node.op_type == "Split" and not node.input[1:]:
        _remove(node, "num_outputs")
    if node.op_type == "Resize":
        _give_every_input(node, old, model)
    for entry in list(node.attribute):
        if entry.name in old.attributes:
            continue
        if not _is_off(entry, new.attributes[entry.name].default_value):
            raise InputError(_no(node, opset, f"its attribute {entry.name} is not there"))
        node.attribute.remove(entry)
    if len(node.input) > old.max_input or len(node.output) > old.max_output:
        raise InputError(_no(node, opset, "it has more inputs or outputs than there"))


def _input_to_attribute(node: NodeProto, name: str, opset: int, model: ModelProto) -> None:
    """Write a constant second input as the attribute that it was."""
    import onnx

    if not node.input[1:]:
        return
    held = next((tensor for tensor in model.graph.initializer if tensor.name == node.input[1]), None)
    if held is None:
        held = next(
            (
                entry.t
                for other in model.graph.node
                if node.input[1] in other.output
                for entry in other.attribute
                if entry.name == "value"
            ),
            None,
        )
    if held is None:
        raise InputError(_no(node, opset, f"its {name} {'are' if name == 'axes' else 'is'} computed"))
    numbers = [int(number) for number in onnx.numpy_helper.to_array(held).reshape(-1)]
    del node.input[1:]
    if numbers:
        node.attribute.append(onnx.helper.make_attribute(name, numbers))


def _give_every_input(node: NodeProto, old: Any, model: ModelProto) -> None:  # noqa: ANN401 - a schema of ONNX's
    """Put an empty tensor where an input could be left out only later."""
    import onnx

    for index, (taken, known) in enumerate(zip(node.input, old.inputs, strict=False)):
        if not taken and known.option == onnx.defs.OpSchema.FormalParameterOption.Single:
            node.input[index] = FreeNames(model.graph).like(f"{node_name(node)}_{known.name}")
            empty = onnx.helper.make_tensor(node.input[index], onnx.TensorProto.FLOAT, [0], [])
            model.graph.initializer.append(empty)


def _ranks(model: ModelProto) -> dict[str, int]:
    """Numbers of axes, by tensor, as far as they can be inferred."""
    from edgesynth.deploy.onnx_graph import value_of, with_types

    graph = with_types(model).graph
    known = {value.name: value_of(value.type).rank for value in (*graph.value_info, *graph.input)}
    return {name: rank for name, rank in known.items() if rank is not None}


def _take_last_axis(node: NodeProto, opset: int, ranks: Mapping[str, int]) -> None:
    """Name the last axis as such, which means the same where an operator takes all axes from it on."""
    import onnx

    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), -1)
    if axis != -1 and axis != ranks.get(node.input[0], 0) - 1:
        raise InputError(_no(node, opset, "it takes all axes from one on together there"))
    _remove(node, "axis")
    node.attribute.append(onnx.helper.make_attribute("axis", -1))


def _is_off(entry: Any, default: Any) -> bool:  # noqa: ANN401 - attributes of any kind
    """Whether an attribute says what leaving it out means: its default, or zero where there is none."""
    import onnx

    value = onnx.helper.get_attribute_value(entry)
    if default.type == onnx.AttributeProto.UNDEFINED:
        return not value
    return bool(value == onnx.helper.get_attribute_value(default))


def _remove(node: NodeProto, name: str) -> None:
    for entry in [entry for entry in node.attribute if entry.name == name]:
        node.attribute.remove(entry)


def _no(node: NodeProto, opset: int, reason: str) -> str:
    name = node.name or (node.output[0] if node.output else "?")
    return (
        f"{name} ({node.op_type}) has no counterpart in opset {opset}: {reason}; export it in opset {opset}"
    )
