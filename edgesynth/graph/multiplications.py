"""What an operator multiplies, as products of axes: output channels, input channels, then everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import fx

from edgesynth.graph.axes import AxisTable
from edgesynth.graph.labels import bind
from edgesynth.graph.trace import operator_name

__all__ = ["multiplications"]

Products: TypeAlias = list[list[int]]


def multiplications(node: fx.Node, axes: AxisTable) -> Products:
    """Products of axes whose sum is the MACs of an operator; none for operators without.

    Args:
        node: An operator.
        axes: Knows its tensors' axes.

    Returns:
        Of each product its axes: output channels, input channels (of one group), and the others.
    """
    operator = operator_name(node).removeprefix("aten.")
    kind = operator[:-2] if operator.startswith("conv") else operator
    count = _RULES.get(kind)
    return [] if count is None else count(node, bind(node), axes)


_Rule: TypeAlias = Callable[[fx.Node, dict[str, Any], AxisTable], Products]


def _convolution(node: fx.Node, arguments: dict[str, Any], axes: AxisTable) -> Products:
    return [axes.tensor(arguments["weight"]) + axes.tensor(node)[2:]]


def _transposed_convolution(node: fx.Node, arguments: dict[str, Any], axes: AxisTable) -> Products:
    into, out, *kernel = axes.tensor(arguments["weight"])
    return [[out, into, *kernel, *axes.tensor(arguments["input"])[2:]]]


def _product(node: fx.Node, arguments: dict[str, Any], axes: AxisTable) -> Products:
    left = arguments.get("mat1") or arguments.get("batch1") or node.all_input_nodes[0]
    *places, out = axes.tensor(node) or [axes.constant(1)]
    return [[out, axes.tensor(left)[-1], *places]]


def _attention(node: fx.Node, arguments: dict[str, Any], axes: AxisTable) -> Products:
    *queries, features = axes.tensor(arguments["query"])
    *places, out = axes.tensor(node)
    tokens = axes.tensor(arguments["key"])[-2]
    return [[tokens, features, *queries], [out, tokens, *places]]


def _einsum(node: fx.Node, arguments: dict[str, Any], axes: AxisTable) -> Products:
    if len(arguments["tensors"]) != 2:
        return []
    inputs = arguments["equation"].replace(" ", "").partition("->")[0].split(",")
    letters: dict[str, int] = {}
    for term, operand in zip(inputs, arguments["tensors"], strict=True):
        letters.update(zip(term, axes.tensor(operand), strict=True))
    return [list(letters.values())]


_RULES: dict[str, _Rule] = {
    "conv": _convolution,
    "conv_transpose": _transposed_convolution,
    **dict.fromkeys(("linear", "matmul", "mm", "bmm", "mv", "dot", "addmm", "baddbmm"), _product),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
}
