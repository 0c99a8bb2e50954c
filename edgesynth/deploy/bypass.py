"""A quantised model in which some layers are not: the Q/DQ pairs around them are left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from edgesynth.deploy.quantisation import QUANTISED
from edgesynth.devices.half import node_name

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["bypassed"]

_PAIR: Final = ("QuantizeLinear", "DequantizeLinear")


def bypassed(model: ModelProto, layers: Collection[str]) -> ModelProto:
    """A copy of a quantised model in which these layers take what stands before their Q/DQ pairs.

    What they make is not quantised either where no quantised layer takes it, nor what becomes of a tensor on
    its way to them alone.

    Args:
        model: With Q/DQ pairs.
        layers: Names of nodes.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    makers = {name: node for node in copy.graph.node for name in node.output}
    free = {name for node in copy.graph.node if node_name(node) in layers for name in node.output}
    ahead = _ahead(copy, makers, layers)
    for node in copy.graph.node:
        if node.op_type in _PAIR or (node.op_type in QUANTISED and node_name(node) not in layers):
            continue
        for index, name in enumerate(node.input):
            source = _behind(makers, name)
            if source is not None and (node_name(node) in ahead or source in free):
                node.input[index] = source
    for value in copy.graph.output:
        source = _behind(makers, value.name)
        if source is not None and source in free:
            last = makers[value.name]
            for node in (makers[last.input[0]], last):
                copy.graph.node.remove(node)
            _rename(copy, source, value.name)
    _drop_unused(copy)
    return copy


def _ahead(model: ModelProto, makers: Mapping[str, NodeProto], layers: Collection[str]) -> set[str]:
    """The layers, and what is between them and the ones before: nodes that make something for them alone."""
    takers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in () if node.op_type in _PAIR else node.input:
            takers.setdefault(_behind(makers, name) or name, []).append(node)
    found, outputs = set(layers), {value.name for value in model.graph.output}
    for node in reversed(model.graph.node):
        ends = [taker for name in node.output for taker in takers.get(name, ())]
        inner = node.op_type not in (*_PAIR, *QUANTISED) and outputs.isdisjoint(node.output)
        if inner and ends and all(node_name(taker) in found for taker in ends):
            found.add(node_name(node))
    return found


def _behind(makers: Mapping[str, NodeProto], name: str) -> str | None:
    """What a Q/DQ pair is made of; ``None`` where the tensor comes from no such pair."""
    last = makers.get(name)
    if last is None or last.op_type != "DequantizeLinear":
        return None
    first = makers.get(last.input[0])
    return None if first is None or first.op_type != "QuantizeLinear" else first.input[0]


def _rename(model: ModelProto, old: str, new: str) -> None:
    """Call a tensor otherwise, for who makes it and for who takes it."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _drop_unused(model: ModelProto) -> None:
    """Pairs that nobody takes any more, and what they alone were made of."""
    outputs, gone = {value.name for value in model.graph.output}, set[str]()
    while True:
        taken = {name for node in model.graph.node for name in node.input} | outputs
        stale = [node for node in model.graph.node if node.op_type in _PAIR and taken.isdisjoint(node.output)]
        if not stale:
            break
        for node in stale:
            gone.update(node.input)
            model.graph.node.remove(node)
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name in gone - taken]:
        model.graph.initializer.remove(tensor)
