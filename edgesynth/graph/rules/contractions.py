"""Operators that sum over an axis shared by two operands: layers with weights, products, attention."""

from __future__ import annotations

import numpy as np

from edgesynth.graph.atoms import Indices
from edgesynth.graph.labels import Call, Value, register_rule
from edgesynth.graph.rules.pointwise import broadcast

__all__ = ["convolution", "einsum", "linear", "matmul", "transposed_convolution"]


@register_rule("aten.conv1d", "aten.conv2d", "aten.conv3d")
def convolution(call: Call) -> Value:
    """Weight ``[out, in / groups, *kernel]`` on input ``[batch, in, *space]``."""
    x, weight, bias, groups = call["input"], call["weight"], call["bias"], call["groups"]
    call.fix_all(weight, "kernel axis", keep=(0, 1))
    call.fix_all(x, "convolved axis", keep=(0, 1))
    if len(x.shape) != len(weight.shape):
        return _give_up(call, "convolution without a batch axis")
    if groups == 1:
        entering, leaving = call.tie(x.axis(1), weight.axis(1)), weight.axis(0)
    elif _dropped_whole(x, weight.shape[1], groups):
        entering, leaving = _whole_groups(call, x.axis(1), weight.axis(0), groups)
        call.fix(weight.axis(1), "groups are dropped whole")
    else:
        entering, columns = _across_groups(call, x.axis(1), groups)
        call.tie(columns, weight.axis(1))
        leaving, _ = _across_groups(call, weight.axis(0), groups)
    if bias is not None:
        leaving = call.tie(leaving, bias.axis(0))
    if weight.shape[1] > 1 or groups == 1:
        call.read("input", 1, entering)
    call.produces(weight, leaving, entering)
    return call.value({0: x.axis(0), 1: leaving})


@register_rule("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d")
def transposed_convolution(call: Call) -> Value:
    """Weight ``[in, out / groups, *kernel]`` on input ``[batch, in, *space]``."""
    x, weight, bias, groups = call["input"], call["weight"], call["bias"], call["groups"]
    call.fix_all(weight, "kernel axis", keep=(0, 1))
    call.fix_all(x, "convolved axis", keep=(0, 1))
    if len(x.shape) != len(weight.shape):
        return _give_up(call, "convolution without a batch axis")
    entering = call.tie(x.axis(1), weight.axis(0))
    per_group = weight.shape[1]
    if groups == 1:
        leaving = weight.axis(1)
    elif entering is not None and _dropped_whole(x, weight.shape[0] // groups, groups):
        entering, _ = _whole_groups(call, entering, None, groups)
        call.fix(weight.axis(1), "groups are dropped whole")
        leaving = None if entering is None else np.repeat(entering.reshape(groups, -1)[:, 0], per_group)
    else:
        entering, _ = _across_groups(call, entering, groups)
        columns = weight.axis(1)
        leaving = None if columns is None else np.tile(columns, groups)
    if bias is not None:
        leaving = call.tie(leaving, bias.axis(0))
    if groups == 1 or weight.shape[0] > groups:
        call.read("input", 1, entering)
    call.produces(weight, leaving, entering)
    return call.value({0: x.axis(0), 1: leaving})


def _dropped_whole(x: Value, per_group: int, groups: int) -> bool:
    # An input that cannot change allows no group to go, but each group may still make fewer channels.
    return x.axis(1) is not None and groups >= per_group


def _whole_groups(
    call: Call, entering: Indices | None, leaving: Indices | None, groups: int
) -> tuple[Indices | None, Indices | None]:
    """One unit per group: its inputs and its outputs go together."""
    first: Indices | None = None
    for labels in (entering, leaving):
        if labels is not None:
            head = call.tie_rows(np.ascontiguousarray(labels.reshape(groups, -1).T))
            first = head if first is None else call.tie(first, head)
    if first is not None:
        call.whole_groups(first)
    return entering, leaving


def _across_groups(call: Call, labels: Indices | None, groups: int) -> tuple[Indices | None, Indices | None]:
    """Every group loses the same positions; returns the labels and those of one group."""
    return (None, None) if labels is None else (labels, call.tie_rows(labels.reshape(groups, -1)))


def _give_up(call: Call, text: str) -> Value:
    for value in call.tensors:
        call.fix_all(value, text)
    return call.value({})


@register_rule("aten.linear")
def linear(call: Call) -> Value:
    """Weight ``[out, in]`` on the last axis of the input."""
    x, weight, bias = call["input"], call["weight"], call["bias"]
    entering = call.tie(x.axis(-1), weight.axis(1))
    leaving: Indices | None = weight.axis(0)
    if bias is not None:
        leaving = call.tie(leaving, bias.axis(0))
    call.read("input", -1, entering)
    call.produces(weight, leaving, entering)
    return call.value({**x.labels, len(x.shape) - 1: leaving})


@register_rule("aten.matmul", "aten.mm", "aten.bmm", "aten.mv", "aten.dot")
def matmul(call: Call) -> Value:
    """``[..., n, k] @ [..., k, m]`` with leading axes broadcast; vectors as in NumPy."""
    left, right = call.tensors
    name = "input" if call.get("input") is left else "self"
    inner = call.tie(left.axis(-1), right.axis(-2 if len(right.shape) > 1 else -1))
    call.read(name, -1, inner)
    shape = call.shape
    rows, columns = len(left.shape) > 1, len(right.shape) > 1
    leading = shape[: len(shape) - rows - columns]
    labels = broadcast(call, [_leading(left), _leading(right)], leading)
    if rows:
        labels[len(leading)] = left.axis(-2)
    if columns:
        labels[len(shape) - 1] = right.axis(-1)
        call.produces(right, right.axis(-1), inner)
    return call.value(labels)


def _leading(value: Value) -> Value:
    kept = max(0, len(value.shape) - 2)
    return Value(value.shape[:kept], {a: atoms for a, atoms in value.labels.items() if a < kept})


@register_rule("aten.addmm", "aten.baddbmm")
def addmm(call: Call) -> Value:
    """``bias + left @ right``."""
    bias, left, right = call.tensors
    name = "mat1" if call.get("mat1") is left else "batch1"
    inner = call.tie(left.axis(-1), right.axis(-2))
    call.read(name, -1, inner)
    product = Value(
        call.shape,
        {
            axis: atoms
            for axis, atoms in {
                **_leading(left).labels,
                len(call.shape) - 2: left.axis(-2),
                len(call.shape) - 1: right.axis(-1),
            }.items()
            if atoms is not None
        },
    )
    return call.value(broadcast(call, [product, bias], call.shape))


@register_rule("aten.scaled_dot_product_attention")
def attention(call: Call) -> Value:
    """``softmax(q k^T * scale) v`` over ``[..., tokens, features]``; tokens never change."""
    query, key, value = call["query"], call["key"], call["value"]
    leading = call.shape[:-2]
    labels = broadcast(call, [_leading(query), _leading(key), _leading(value)], leading)
    features = call.tie(query.axis(-1), key.axis(-1))
    call.read("query", -1, features)
    call.fix(key.axis(-2), "attention normalises over tokens")
    call.fix(value.axis(-2), "attention normalises over tokens")
    if call["attn_mask"] is not None:
        mask = call["attn_mask"]
        call.fix_all(mask, "attention mask")
        if mask.shape and len(mask.shape) > 2:
            for axis, atoms in labels.items():
                if mask.shape[axis - len(call.shape)] > 1:
                    call.fix(atoms, "meets an attention mask")
    labels[len(leading)] = query.axis(-2)
    labels[len(leading) + 1] = value.axis(-1)
    return call.value(labels)


@register_rule("aten.einsum")
def einsum(call: Call) -> Value:
    """Axes with the same letter are tied; letters missing from the result are summed over."""
    equation = call["equation"].replace(" ", "")
    operands, nodes = call["tensors"], call.nodes("tensors")
    inputs, _, output = equation.partition("->")
    terms = inputs.split(",")
    plain = "." not in equation and "->" in equation and all(len(set(term)) == len(term) for term in terms)
    if not plain:
        return _give_up(call, f"einsum {equation!r} is not explicit")
    seen: dict[str, Indices | None] = {}
    for term, operand in zip(terms, operands, strict=True):
        for axis, letter in enumerate(term):
            own = operand.axis(axis)
            seen[letter] = call.tie(seen[letter], own) if letter in seen else own
    for term, node in zip(terms, nodes, strict=True):
        for axis, letter in enumerate(term):
            first = next(t for t in terms if letter in t) is term
            if letter not in output and first:
                call.read_node(node, axis, seen[letter])
    return call.value({axis: seen[letter] for axis, letter in enumerate(output)})


@register_rule("aten.embedding")
def embedding(call: Call) -> Value:
    """Rows of a table ``[entries, features]``."""
    weight = call["weight"]
    call.fix(weight.axis(0), "entries of an embedding table")
    call.produces(weight, weight.axis(1))
    return call.value({len(call.shape) - 1: weight.axis(1)})
