"""Index-set propagation: run every operator's rule once, from the inputs to the outputs."""

from __future__ import annotations

import torch
from torch import fx

from edgesynth.graph import rules  # noqa: F401  (importing the package registers its rules)
from edgesynth.graph.atoms import Atoms, Reason
from edgesynth.graph.labels import RULES, Call, Labels, Value
from edgesynth.graph.trace import Trace

__all__ = ["propagate"]


def propagate(trace: Trace) -> Labels:
    """Run every operator's rule once, in execution order.

    A single pass is enough: ties are made on atoms, which all values share.
    """
    labels = Labels(Atoms())
    by_state: dict[str, Value] = {}
    for node in trace.graph.nodes:
        if node.op == "placeholder":
            labels.values[node] = _source(node, trace, labels.atoms, by_state)
        elif node.op == "call_function" and trace.shapes[node]:
            labels.values[node] = _apply(node, trace, labels)
        elif node.op == "output":
            _fix_outputs(node, trace, labels)
    return labels


def _source(node: fx.Node, trace: Trace, atoms: Atoms, seen: dict[str, Value]) -> tuple[Value, ...]:
    if not trace.shapes[node]:
        return ()
    shape, name = trace.shape(node), trace.state.get(node, "")
    if not name:
        return (Value(shape),)
    if name not in seen:
        axes = {axis: atoms.new(size) for axis, size in enumerate(shape) if size > 1}
        seen[name] = Value(shape, axes, name)
    return (seen[name],)


def _apply(node: fx.Node, trace: Trace, labels: Labels) -> tuple[Value, ...]:
    call = Call(node, trace, labels)
    rule = RULES.get(call.operator) or (RULES["pointwise"] if _is_pointwise(node) else None)
    if rule is None:
        reason = call.reason(
            f"no rule for operator {call.operator}; use another, or teach it with "
            "edgesynth.graph.register_rule"
        )
        for value in call.tensors:
            call.fix_all(value, reason.text)
        labels.reasons[node] = reason
        return tuple(Value(shape) for shape in call.shapes)
    result = rule(call)
    return result if isinstance(result, tuple) else (result,)


def _is_pointwise(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags


def _fix_outputs(node: fx.Node, trace: Trace, labels: Labels) -> None:
    for source in node.all_input_nodes:
        reason = Reason("network output", "output", source.name, trace.lines[source])
        for value in labels.values.get(source, ()):
            for atoms in value.labels.values():
                labels.atoms.fix(atoms, reason)
