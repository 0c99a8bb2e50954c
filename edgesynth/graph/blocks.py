"""Removable residual blocks: additions whose one operand is all the other one is computed from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import fx

from edgesynth.graph.labels import Labels
from edgesynth.graph.trace import Trace, operator_name

__all__ = ["ResidualBlock", "find_blocks"]


@dataclass(frozen=True)
class ResidualBlock:
    """A branch ``f`` in ``x + f(x)`` that can be left out, leaving ``x``.

    Attributes:
        name: The module that holds all of the branch and nothing else, or its first and last layer.
        add: The addition.
        trunk: The operand that remains.
        branch: The operand that goes.
        interior: Every node that serves the branch alone, ``branch`` included.
        layers: Names of the layers with weights inside.
    """

    name: str
    add: fx.Node
    trunk: fx.Node
    branch: fx.Node
    interior: frozenset[fx.Node]
    layers: tuple[str, ...]


def find_blocks(trace: Trace, labels: Labels, taken: Iterable[str] = ()) -> tuple[ResidualBlock, ...]:
    """Find every removable residual block, in execution order.

    Args:
        trace: The traced network.
        labels: What propagation found; an addition the rules do not know is left alone.
        taken: Names that blocks must not have.
    """
    names = set(taken)
    everything = set(_layers(trace, frozenset(trace.calls())))
    order = {node: i for i, node in enumerate(trace.graph.nodes)}
    found: list[ResidualBlock] = []
    for node in trace.calls():
        if operator_name(node) != "aten.add" or node in labels.reasons or len(node.all_input_nodes) != 2:
            continue
        for trunk, branch in (node.all_input_nodes, node.all_input_nodes[::-1]):
            scaled = node.kwargs.get("alpha", 1) != 1 and trunk is not node.args[0]
            same = trace.shapes[trunk] == trace.shapes[branch] == trace.shapes[node]
            if scaled or not same:
                continue
            interior = _interior(trace, trunk, branch, node, order)
            layers = _layers(trace, interior)
            if layers:
                name = _name(layers, everything - set(layers), names)
                names.add(name)
                found.append(ResidualBlock(name, node, trunk, branch, interior, layers))
                break
    return tuple(found)


def _interior(
    trace: Trace, trunk: fx.Node, branch: fx.Node, add: fx.Node, order: dict[fx.Node, int]
) -> frozenset[fx.Node]:
    """Nodes between trunk and addition; empty if the branch reads or feeds anything else."""
    interior: set[fx.Node] = set()
    pending = [branch]
    while pending:
        node = pending.pop()
        if node is trunk or node in interior or node in trace.state or node in trace.constants:
            continue
        if not trace.shapes[node]:
            continue  # batch-size arithmetic carries no signal
        if order[node] < order[trunk] or node.op != "call_function":
            return frozenset()
        interior.add(node)
        pending.extend(node.all_input_nodes)
    for node in interior:
        if any(user not in interior and user is not add and trace.shapes[user] for user in node.users):
            return frozenset()
    return frozenset(interior)


def _layers(trace: Trace, interior: frozenset[fx.Node]) -> tuple[str, ...]:
    layers: dict[str, None] = {}
    for node in trace.calls():
        if node in interior:
            for source in node.all_input_nodes:
                if source in trace.state:
                    name = trace.state[source]
                    layers[name.rpartition(".")[0] or name] = None
    return tuple(layers)


def _name(layers: tuple[str, ...], outside: set[str], taken: set[str]) -> str:
    """The module that holds all of the branch and nothing else, or its first and last layer."""
    paths = [layer.split(".") for layer in layers]
    common: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    prefix = ".".join(common)
    alone = prefix and not any(f"{layer}.".startswith(f"{prefix}.") for layer in outside)
    span = f"{layers[0]}-{layers[-1].removeprefix(prefix).lstrip('.')}" if len(layers) > 1 else layers[0]
    for candidate in ((prefix,) if alone else ()) + (span, f"{span}.block"):
        if candidate not in taken:
            return candidate
    return next(f"{span}.block{i}" for i in range(2, len(taken) + 3) if f"{span}.block{i}" not in taken)
