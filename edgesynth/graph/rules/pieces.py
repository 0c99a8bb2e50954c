"""Operators that put tensors together or take them apart: concatenation, splits, slices, padding."""

from __future__ import annotations

import numpy as np

from edgesynth.graph.atoms import Indices
from edgesynth.graph.labels import Call, Value, concatenate, register_rule
from edgesynth.graph.rules.pointwise import broadcast

__all__ = ["cat", "pad", "select", "slice_", "split", "stack", "unbind"]


@register_rule("aten.cat", "aten.concat", "aten.concatenate")
def cat(call: Call) -> Value:
    """Join along one axis, tie along the others."""
    # A tensor of shape [0] is skipped by torch, whatever the others look like.
    values = [value for value in call["tensors"] if value.shape != (0,)]
    ndim = len(call.shape)
    dim = (call["dim"] or 0) % ndim
    flat = [
        Value(
            (*value.shape[:dim], 1, *value.shape[dim + 1 :]),
            {a: labels for a, labels in value.labels.items() if a != dim},
        )
        for value in values
    ]
    labels = broadcast(call, flat, (*call.shape[:dim], 1, *call.shape[dim + 1 :]))
    labels[dim] = concatenate([(value.labels.get(dim), value.shape[dim]) for value in values])
    return call.value(labels)


@register_rule("aten.stack")
def stack(call: Call) -> Value:
    """Join along a new axis, tie along the old ones."""
    dim = call["dim"] % len(call.shape)
    labels = broadcast(call, call["tensors"], call["tensors"][0].shape)
    return call.value({axis + (axis >= dim): atoms for axis, atoms in labels.items()})


@register_rule(
    "aten.split", "aten.split_with_sizes", "aten.chunk", "aten.tensor_split", "aten.unsafe_chunk",
    "aten.unsafe_split",
)  # fmt: skip
def split(call: Call) -> tuple[Value, ...]:
    """Cut one axis into consecutive parts."""
    x = call.tensors[0]
    dim = call["dim"] % len(x.shape)
    parts, start = [], 0
    for shape in call.shapes:
        labels = dict(x.labels)
        if dim in labels:
            labels[dim] = labels[dim][start : start + shape[dim]]
        parts.append(Value(shape, labels))
        start += shape[dim]
    return tuple(parts)


@register_rule("aten.unbind")
def unbind(call: Call) -> tuple[Value, ...]:
    """One output per index of an axis, so the axis cannot change."""
    x = call.tensors[0]
    dim = call["dim"] % len(x.shape)
    call.fix(x.labels.get(dim), "every index of this axis is used by itself")
    return tuple(Value(shape, _without(x, dim)) for shape in call.shapes)


@register_rule("getitem")
def getitem(call: Call) -> Value:
    """Pick one of several outputs."""
    items = call["0"]
    chosen = items[call["1"]] if isinstance(items, (list, tuple)) else items
    return Value(call.shape, chosen.labels)


@register_rule("aten.select")
def select(call: Call) -> Value:
    """Take one index of an axis; that index is always kept."""
    x = call.tensors[0]
    dim = call["dim"] % len(x.shape)
    if dim in x.labels:
        index = call["index"]
        chosen = x.labels[dim][[index]] if isinstance(index, int) else x.labels[dim]
        call.fix(chosen, "this index is used by itself")
    return call.value(_without(x, dim))


def _without(x: Value, dim: int) -> dict[int, Indices]:
    return {a - (a > dim): labels for a, labels in x.labels.items() if a != dim}


@register_rule("aten.slice", "aten.narrow")
def slice_(call: Call) -> Value:
    """Take consecutive indices of an axis; strides other than 1 fix it."""
    x = call.tensors[0]
    dim = call["dim"] % len(x.shape)
    labels: dict[int, Indices | None] = dict(x.labels)
    if dim not in x.labels or x.shape[dim] == call.shape[dim]:
        return call.value(labels)
    start, step = call["start"] or 0, call.get("step", 1)
    if not isinstance(start, int) or step != 1:
        call.fix(x.labels[dim], "taken with a stride, or from a computed position")
        return call.value({**labels, dim: None})
    start = max(0, start + x.shape[dim]) if start < 0 else start
    return call.value({**labels, dim: x.labels[dim][start : start + call.shape[dim]]})


@register_rule("aten.pad", "aten.constant_pad_nd")
def pad(call: Call) -> Value:
    """Constant entries added to the channels may be dropped again; other axes must not be free."""
    x = call.tensors[0]
    ndim = len(x.shape)
    amounts = call["pad"]
    constant = call.operator == "aten.constant_pad_nd" or call["mode"] == "constant"
    labels: dict[int, Indices | None] = dict(x.labels)
    for i in range(len(amounts) // 2):
        axis = ndim - 1 - i
        before, after = amounts[2 * i], amounts[2 * i + 1]
        if axis not in x.labels or (before == 0 and after == 0):
            continue
        if constant and isinstance(before, int) and isinstance(after, int) and min(before, after) >= 0:
            fresh = call.fresh(before + after)
            labels[axis] = np.concatenate([fresh[:before], x.labels[axis], fresh[before:]])
        else:
            call.fix(x.labels[axis], "padded with copies or cropped")
            labels[axis] = None
    return call.value(labels)
