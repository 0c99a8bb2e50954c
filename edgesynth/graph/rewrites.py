"""Constants written into a graph that depend on how many channels are kept, and how they change.

A rewrite takes the original node and the kept entries of every labelled axis, and says which
function to call with which arguments instead. Only operators that spell out sizes need one.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from edgesynth.graph.labels import Labels, Value, bind
from edgesynth.graph.trace import Argument, Trace, operator_name

__all__ = ["Kept", "Rewritten", "rewrite"]

Rewritten: TypeAlias = tuple[Argument, tuple[Argument, ...], dict[str, Argument]]


class Kept:
    """Which entries of every axis of every traced value remain.

    Args:
        trace: The traced network.
        labels: Labels of its values.
        mask: Maps the atoms of an axis to whether each is kept.
    """

    def __init__(
        self, trace: Trace, labels: Labels, mask: Callable[[NDArray[np.int64]], NDArray[np.bool_]]
    ) -> None:
        self.trace = trace
        self.labels = labels
        self._mask = mask
        self._cache: dict[int, NDArray[np.bool_]] = {}

    def mask(self, atoms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these atoms remain."""
        found = self._cache.get(id(atoms))
        if found is None:
            found = self._cache[id(atoms)] = self._mask(atoms)
        return found

    def entries(self, value: Value, axis: int) -> NDArray[np.bool_]:
        """Which entries of an axis remain."""
        atoms = value.axis(axis)
        size = value.shape[axis]
        return np.ones(size, dtype=np.bool_) if atoms is None else self.mask(atoms)

    def size(self, value: Value, axis: int) -> int:
        """How many entries of an axis remain."""
        return int(self.entries(value, axis).sum())

    def value(self, node: fx.Node) -> Value:
        """The value of a node with one output."""
        return self.labels.values[node][0]

    def groups(self, node: fx.Node) -> int | None:
        """New number of groups, if the groups of this node are dropped whole."""
        atoms = self.labels.groups.get(node)
        return None if atoms is None else int(self._mask(atoms).sum())


_Rewrite: TypeAlias = Callable[[fx.Node, dict[str, Argument], Kept], Rewritten]
_REWRITES: dict[str, _Rewrite] = {}


def _rewrites(*operators: str) -> Callable[[_Rewrite], _Rewrite]:
    def register(function: _Rewrite) -> _Rewrite:
        _REWRITES.update(dict.fromkeys(operators, function))
        return function

    return register


def rewrite(node: fx.Node, kept: Kept) -> Rewritten:
    """What to call instead of ``node``: function or method name, arguments, keyword arguments."""
    function = _REWRITES.get(operator_name(node))
    if function is not None:
        return function(node, bind(node), kept)
    args, kwargs = node.args, dict(node.kwargs)
    groups = kept.groups(node)
    if groups is not None:
        arguments = bind(node)
        name = "num_groups" if "num_groups" in arguments else "groups"
        return node.target, (), {**arguments, name: groups}
    return node.target, args, kwargs


def _sizes(node: fx.Node, sizes: Argument, kept: Kept, first: int = 0) -> list[Argument]:
    value = kept.value(node)
    return [
        size if not isinstance(size, int) or size == -1 else kept.size(value, first + i)
        for i, size in enumerate(sizes)
    ]


@_rewrites("aten.view", "aten.reshape", "aten._unsafe_view")
def _view(node: fx.Node, arguments: dict[str, Argument], kept: Kept) -> Rewritten:
    return "reshape", (node.args[0], *_sizes(node, node.args[1], kept)), {}


@_rewrites("aten.expand", "aten.broadcast_to")
def _expand(node: fx.Node, arguments: dict[str, Argument], kept: Kept) -> Rewritten:
    return "expand", (node.args[0], *_sizes(node, node.args[1], kept)), {}


@_rewrites("aten.unflatten")
def _unflatten(node: fx.Node, arguments: dict[str, Argument], kept: Kept) -> Rewritten:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dim = arguments["dim"] % len(kept.value(source).shape)
    return torch.unflatten, (source, dim, _sizes(node, arguments["sizes"], kept, dim)), {}


@_rewrites("aten.split", "aten.split_with_sizes", "aten.chunk", "aten.tensor_split")
def _split(node: fx.Node, arguments: dict[str, Argument], kept: Kept) -> Rewritten:
    parts = kept.labels.values[node]
    dim = arguments["dim"] % len(parts[0].shape)
    if all(part.axis(dim) is None for part in parts):
        return node.target, node.args, dict(node.kwargs)
    return torch.split, (node.args[0], [kept.size(part, dim) for part in parts], dim), {}


@_rewrites("aten.slice", "aten.narrow")
def _slice(node: fx.Node, arguments: dict[str, Argument], kept: Kept) -> Rewritten:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    value, out = kept.value(source), kept.value(node)
    dim = arguments["dim"] % len(value.shape)
    if value.axis(dim) is None or out.axis(dim) is None:
        return node.target, node.args, dict(node.kwargs)
    start = arguments["start"] or 0
    start = start + value.shape[dim] if start < 0 else start
    first = int(kept.entries(value, dim)[:start].sum())
    index = (*[slice(None)] * dim, slice(first, first + kept.size(out, dim)))
    return operator.getitem, (source, index), {}


@_rewrites("aten.select")
def _select(node: fx.Node, arguments: dict[str, Argument], kept: Kept) -> Rewritten:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    value, dim, index = kept.value(source), arguments["dim"], arguments["index"]
    if value.axis(dim) is None or not isinstance(index, int):
        return node.target, node.args, dict(node.kwargs)
    index = index + value.shape[dim] if index < 0 else index
    return torch.select, (source, dim, int(kept.entries(value, dim)[:index].sum())), {}


@_rewrites("aten.pad", "aten.constant_pad_nd")
def _pad(node: fx.Node, arguments: dict[str, Argument], kept: Kept) -> Rewritten:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    value, amounts = kept.value(node), list(arguments["pad"])
    for i in range(len(amounts) // 2):
        axis = len(value.shape) - 1 - i
        if value.axis(axis) is not None and kept.value(source).axis(axis) is not None:
            entries = kept.entries(value, axis)
            before, after = amounts[2 * i], amounts[2 * i + 1]
            amounts[2 * i] = int(entries[:before].sum())
            amounts[2 * i + 1] = int(entries[len(entries) - after :].sum())
    mode, fill = arguments.get("mode", "constant"), arguments.get("value")
    return torch.nn.functional.pad, (source, amounts, mode, fill), {}


@_rewrites("aten.layer_norm", "aten.rms_norm")
def _layer_norm(node: fx.Node, arguments: dict[str, Argument], kept: Kept) -> Rewritten:
    value, trailing = kept.value(node), len(arguments["normalized_shape"])
    shape = [kept.size(value, axis) for axis in range(-trailing, 0)]
    return node.target, (), {**arguments, "normalized_shape": shape}


@_rewrites("aten.scaled_dot_product_attention")
def _attention(node: fx.Node, arguments: dict[str, Argument], kept: Kept) -> Rewritten:
    query = arguments["query"]
    scale = arguments["scale"]
    features = kept.value(query).shape[-1]
    if scale is None and kept.size(kept.value(query), -1) != features:
        # The default would follow the kept features, the original network's does not.
        scale = 1 / math.sqrt(features)
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    function = torch.nn.functional.scaled_dot_product_attention
    return function, tuple(arguments[name] for name in names), {"scale": scale}
