"""Replace in-place operators of a traced graph by their functional forms.

``relu_(x)`` means "from here on, x is relu(x)": later reads of ``x`` become reads of the result.
That is exact as long as no other view of the same memory is read later.
"""

from __future__ import annotations

import torch
from torch import fx

__all__ = ["functionalise"]

# Operators whose result may share memory with their first argument.
_ALIASES = frozenset(
    [
        "view",
        "reshape",
        "flatten",
        "unflatten",
        "transpose",
        "permute",
        "t",
        "slice",
        "select",
        "chunk",
        "split",
        "split_with_sizes",
        "tensor_split",
        "unbind",
        "unsqueeze",
        "squeeze",
        "expand",
        "dropout",
        "contiguous",
        "detach",
        "alias",
        "to",
        "narrow",
        "view_as",
        "feature_dropout",
        "movedim",
        "swapaxes",
        "lift_fresh",
        "getitem",
    ]
)


def functionalise(graph: fx.Graph) -> fx.Graph | None:
    """Rewrite ``graph`` in place; None when a write through a view makes that impossible.

    Args:
        graph: A traced graph of ATen operators.

    Returns:
        The same graph without in-place operators, or None.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    base: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        first = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        base[node] = base[first] if first is not None and _stem(node).rstrip("_") in _ALIASES else node
    for node in [n for n in graph.nodes if _writes(n)]:
        target = node.args[0]
        functional = _functional(node)
        later = [n for n in base if base[n] is base[target] and n not in (target, node)]
        if functional is None or any(order[user] > order[node] for n in later for user in n.users):
            return None
        if base[target].op == "placeholder":
            return None
        node.target = functional
        for user in [u for u in target.users if order[u] > order[node]]:
            user.replace_input_with(target, node)
    return graph


def _stem(node: fx.Node) -> str:
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.partition("::")[2]
    return str(getattr(target, "__name__", target))


def _writes(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _functional(node: fx.Node) -> torch._ops.OpOverload | None:
    stem = _stem(node)
    packet = getattr(torch.ops.aten, stem[:-1], None) if stem.endswith("_") else None
    name = node.target._overloadname  # type: ignore[union-attr]
    return getattr(packet, name, None) if packet is not None else None
