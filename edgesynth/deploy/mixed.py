"""Mixed precision: layers that a lower precision spoils stay in a higher one, found by bisecting.

Every layer is put into the lower precision alone first, which ranks them by what they do to the outputs. Then
the fewest of the worst are looked for whose staying higher brings the outputs back within their tolerance.
FP16 is imitated by rounding what a layer takes and makes; INT8 by leaving out the Q/DQ pairs
of all other layers, with the ranges that were calibrated for all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.onnx_graph import with_types
from edgesynth.deploy.quantisation import QUANTISED, output_error
from edgesynth.deploy.runners import Arrays, OnnxRunner, run_in_parts
from edgesynth.devices.half import HALF_MAX, KEPT_OPERATORS, Kept

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["Fits", "bypassed", "keep_from_half", "keep_from_int8", "layers_to_keep", "rounded"]

Fits = Callable[[Mapping[str, NDArray[Any]]], bool]
"""Whether outputs, by name, will do."""

_MOST_BYTES: Final = 20 << 30
"""Of models that ranking makes, one for each layer: minutes. A network that takes more is left as it is."""
_RANKING: Final = 8
"""Samples that layers are ranked on; whether the outputs will do is told by all."""
_PAIR: Final = ("QuantizeLinear", "DequantizeLinear")


def layers_to_keep(
    layers: Sequence[str], alone: Callable[[str], float], fits: Callable[[Collection[str]], bool]
) -> tuple[str, ...] | None:
    """The fewest of the worst layers that have to stay higher for the outputs to be right.

    Args:
        layers: Names.
        alone: The error of the outputs with this layer alone in the lower precision.
        fits: Whether the outputs are right with these layers in the higher one.

    Returns:
        The worst first, none where none has to; ``None`` where half of them would not be enough: what is left
        would not deserve the name of the lower precision.
    """
    low, high = 0, len(layers) // 2
    if fits(()):
        return ()
    ranked = sorted(layers, key=alone, reverse=True) if high else []
    if not high or not fits(ranked[:high]):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(ranked[:middle]) else (middle, high)
    return tuple(ranked[:high])


def keep_from_int8(
    model: ModelProto, reference: ModelProto, data: Arrays, fits: Fits
) -> tuple[Kept, ...] | None:
    """The layers of a quantised model that must not be quantised for its outputs to do.

    Args:
        model: With Q/DQ pairs around every layer that can have them.
        reference: In FP32.
        data: Inputs by name, axis 0 the batch.
        fits: Whether outputs on them will do.

    Returns:
        What to give to :func:`bypassed`, none where none has to; ``None`` where the outputs do not do.

    Raises:
        InputError: A model cannot run on the inputs.
    """
    layers = {_name(node): node for node in model.graph.node if node.op_type in QUANTISED}
    kept = _search(
        layers, reference, data, fits, lambda lower: bypassed(model, [n for n in layers if n not in lower])
    )
    return _as_kept(kept, layers, "INT8 is too coarse for it")


def keep_from_half(
    model: ModelProto, data: Arrays, fits: Fits, kept: Collection[str]
) -> tuple[Kept, ...] | None:
    """The layers of an FP32 model that must not be in FP16 for its outputs to do.

    Args:
        model: In FP32.
        data: Inputs by name, axis 0 the batch.
        fits: Whether outputs on them will do.
        kept: Layers that stay in FP32 anyway.

    Returns:
        More layers to keep, none where none has to; ``None`` where the outputs do not do.

    Raises:
        InputError: The model cannot run on the inputs.
    """
    typed = with_types(model)
    layers = {
        _name(node): node
        for node in typed.graph.node
        if _name(node) not in kept and node.op_type not in KEPT_OPERATORS and _makes_floats(typed, node)
    }
    found = _search(layers, model, data, fits, lambda lower: rounded(typed, lower))
    return _as_kept(found, layers, "FP16 is too coarse for it")


def _as_kept(
    names: Sequence[str] | None, layers: Mapping[str, NodeProto], reason: str
) -> tuple[Kept, ...] | None:
    return None if names is None else tuple(Kept(name, layers[name].op_type, reason) for name in names)


def _search(
    layers: Mapping[str, NodeProto],
    reference: ModelProto,
    data: Arrays,
    fits: Fits,
    lowered: Callable[[Collection[str]], ModelProto],
) -> tuple[str, ...] | None:
    """The layers to keep, given how a model looks that has only some layers in the lower precision."""
    if len(layers) * reference.ByteSize() > _MOST_BYTES:
        return ()
    few = {name: value[:_RANKING] for name, value in data.items()}
    whole = next(iter(OnnxRunner(reference).inputs.values()))[1]
    if whole and isinstance(whole[0], int):  # a fixed batch is not cut
        few = {name: value[: max(whole[0], _RANKING - _RANKING % whole[0])] for name, value in data.items()}
    expected = run_in_parts(OnnxRunner(reference), few)

    def outputs(lower: Collection[str], feed: Arrays) -> dict[str, NDArray[Any]]:
        return run_in_parts(OnnxRunner(lowered(lower), optimise=False), feed)

    return layers_to_keep(
        list(layers),
        lambda name: _finite(output_error(expected, outputs([name], few))),
        lambda kept: fits(outputs([name for name in layers if name not in kept], data)),
    )


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
    free = {name for node in copy.graph.node if _name(node) in layers for name in node.output}
    ahead = _ahead(copy, makers, layers)
    for node in copy.graph.node:
        if node.op_type in _PAIR or (node.op_type in QUANTISED and _name(node) not in layers):
            continue
        for index, name in enumerate(node.input):
            source = _behind(makers, name)
            if source is not None and (_name(node) in ahead or source in free):
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
    nodes, floats, free = list(copy.graph.node), _floats(copy), _Names(copy)
    halves: dict[str, str] = {}
    del copy.graph.node[:]

    def half(name: str) -> str:
        """The same tensor after a way through FP16."""
        held = weights.get(name)
        if name not in halves and held is not None:
            value = np.clip(onnx.numpy_helper.to_array(held), -HALF_MAX, HALF_MAX)
            halves[name] = free.name(name)
            small = value.astype(np.float16).astype(np.float32)
            copy.graph.initializer.append(onnx.numpy_helper.from_array(small, halves[name]))
        elif name not in halves:
            halves[name] = free.name(name)
            _round(copy, name, halves[name], free)
        return halves[name]

    for node in nodes:
        if _name(node) not in layers:
            copy.graph.node.append(node)
            continue
        for index, name in enumerate(node.input):
            if name in floats:
                node.input[index] = half(name)
        made = [(index, name) for index, name in enumerate(node.output) if name in floats]
        exact = {name: free.name(name) for _, name in made}
        for index, name in made:
            node.output[index] = exact[name]
            halves[name] = name  # it is rounded where it is made
        copy.graph.node.append(node)
        for _, name in made:
            _round(copy, exact[name], name, free)
    return copy


class _Names:
    """Names that no tensor of a model has."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self._taken = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
        for node in graph.node:
            self._taken.update((*node.input, *node.output))

    def name(self, like: str) -> str:
        """One that is like another."""
        found = next(name for index in count() if (name := f"{like}_{index}") not in self._taken)
        self._taken.add(found)
        return found


def _round(model: ModelProto, source: str, target: str, names: _Names) -> None:
    """Take a tensor through FP16; the runtime leaves such pairs of casts as they are."""
    import onnx

    half = names.name(source)
    for one, other, kind in (
        (source, half, onnx.TensorProto.FLOAT16),
        (half, target, onnx.TensorProto.FLOAT),
    ):
        model.graph.node.append(onnx.helper.make_node("Cast", [one], [other], to=kind))


def _name(node: NodeProto) -> str:
    return node.name or (node.output[0] if node.output else node.op_type)


def _finite(error: float) -> float:
    return error if np.isfinite(error) else float("inf")


def _floats(model: ModelProto) -> set[str]:
    import onnx

    return {
        value.name
        for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    } | {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}


def _makes_floats(model: ModelProto, node: NodeProto) -> bool:
    return node.op_type != "Constant" and not _floats(model).isdisjoint(node.output)


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
        if inner and ends and all(_name(taker) in found for taker in ends):
            found.add(_name(node))
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
    """Pairs that nobody takes any more, and their scales."""
    outputs = {value.name for value in model.graph.output}
    while True:
        taken = {name for node in model.graph.node for name in node.input} | outputs
        stale = [node for node in model.graph.node if node.op_type in _PAIR and taken.isdisjoint(node.output)]
        if not stale:
            break
        for node in stale:
            model.graph.node.remove(node)
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in taken]:
        model.graph.initializer.remove(tensor)
