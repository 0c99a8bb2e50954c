"""Labels: which atom each index of each axis of a traced value stands for, and the rules that say so.

A rule reads the labels of an operator's inputs, ties or fixes atoms where the operator demands it,
and returns the labels of its outputs. Rules are registered by operator name; users add their own
with :func:`register_rule`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from torch import fx

from edgesynth.graph.atoms import FIXED, Atoms, Indices, Reason
from edgesynth.graph.trace import Argument, Trace, operator_name

__all__ = ["RULES", "Call", "Labels", "Read", "Value", "bind", "concatenate", "register_rule"]


@dataclass(frozen=True)
class Value:
    """A tensor of the trace, as the rules see it.

    Attributes:
        shape: Concrete shape.
        labels: Atoms of shape ``[shape[axis]]`` by axis; an axis without an entry never changes size.
        state: Its name if it is a parameter or buffer, else empty.
    """

    shape: tuple[int, ...]
    labels: Mapping[int, Indices] = field(default_factory=dict)
    state: str = ""

    def axis(self, axis: int) -> Indices | None:
        """Labels of one axis, which may be counted from the end; None if it is fixed."""
        return self.labels.get(axis % len(self.shape)) if self.shape else None


Result: TypeAlias = Value | tuple[Value, ...]
Rule: TypeAlias = Callable[["Call"], Result]

RULES: dict[str, Rule] = {}


def register_rule(*operators: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators by name without overload, e.g. ``aten.conv2d``.

    A later registration replaces an earlier one. A rule gets a :class:`Call` and returns a
    :class:`Value`, or a tuple of them for operators that return several tensors.
    """

    def register(rule: Rule) -> Rule:
        for operator in operators:
            RULES[operator] = rule
        return rule

    return register


@dataclass(frozen=True)
class Read:
    """A place where an axis is summed over: the operand whose unused entries must be zero there.

    Attributes:
        node: The contraction.
        operand: The node that is read.
        axis: The summed axis of the operand.
        labels: Its atoms.
    """

    node: fx.Node
    operand: fx.Node
    axis: int
    labels: Indices


@dataclass
class Labels:
    """Everything propagation found out about a trace.

    Attributes:
        atoms: Which atoms go together, and which are fixed.
        values: One value per tensor of every node.
        reads: Contractions over labelled axes.
        produced: Atoms of the output axis by layer name, for every layer that makes new channels.
        consumed: Atoms of the input axis by layer name.
        groups: Atoms per group of grouped layers whose groups are dropped whole.
        reasons: The reason of every operator without a rule, by node.
    """

    atoms: Atoms
    values: dict[fx.Node, tuple[Value, ...]] = field(default_factory=dict)
    reads: list[Read] = field(default_factory=list)
    produced: dict[str, list[Indices]] = field(default_factory=dict)
    consumed: dict[str, list[Indices]] = field(default_factory=dict)
    groups: dict[fx.Node, Indices] = field(default_factory=dict)
    reasons: dict[fx.Node, Reason] = field(default_factory=dict)


class Call:
    """One operator call as a rule sees it: arguments by name, and the verbs ``tie``, ``fix``, ``read``."""

    def __init__(self, node: fx.Node, trace: Trace, labels: Labels) -> None:
        self.node = node
        self.operator = operator_name(node)
        self.shapes = trace.shapes[node]
        self.symbolic = trace.merged_batch[node]
        self._trace = trace
        self._labels = labels
        self._nodes = bind(node)
        self._arguments = {name: self._value(argument) for name, argument in self._nodes.items()}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the (first) output."""
        return self.shapes[0]

    def __getitem__(self, name: str) -> Argument:
        """An argument by its schema name; tensors are values, lists of tensors lists of values."""
        return self._arguments[name]

    def get(self, name: str, default: Argument = None) -> Argument:
        """An argument by its schema name, or ``default`` if the overload has none of that name."""
        return self._arguments.get(name, default)

    @property
    def tensors(self) -> list[Value]:
        """Every tensor argument, those in lists included."""
        return [
            leaf
            for argument in self._arguments.values()
            for leaf in (argument if isinstance(argument, (list, tuple)) else [argument])
            if isinstance(leaf, Value)
        ]

    def reason(self, text: str) -> Reason:
        """A reason that points at this call."""
        name, kind = self._trace.layers[self.node]
        module = f"{name} ({kind.rpartition('.')[2]})" if name else ""
        return Reason(text, self.operator, self.node.name, self._trace.lines[self.node], module)

    def tie(self, left: Indices | None, right: Indices | None, text: str = "") -> Indices | None:
        """Demand that two axes lose the same entries; an axis that cannot lose any fixes the other.

        Returns:
            The labels of the common axis: those of ``left``, or None if the axis is fixed.
        """
        if left is None or right is None:
            other = right if left is None else left
            if other is not None:
                self.fix(other, text or "meets an axis that cannot change")
            return None
        self._labels.atoms.unite(left, right, self.reason(text or "tied to channels that cannot change"))
        return left

    def tie_rows(self, grid: Indices) -> Indices:
        """Tie all rows of a 2-D array of atoms, column by column; returns the first row."""
        for row in grid[1:]:
            self.tie(grid[0], row)
        first: Indices = grid[0]
        return first

    def fix(self, labels: Indices | None, text: str) -> None:
        """Forbid an axis to change."""
        if labels is not None:
            self._labels.atoms.fix(labels, self.reason(text))

    def fix_all(self, value: Value | None, text: str, *, keep: Iterable[int] = ()) -> None:
        """Forbid every axis of a value to change, except those in ``keep``."""
        if value is not None:
            for axis, labels in value.labels.items():
                if axis not in keep:
                    self.fix(labels, text)

    def read(self, name: str, axis: int, labels: Indices | None) -> None:
        """Record that the operator sums over an axis of an argument."""
        node = self._nodes[name]
        if labels is not None and isinstance(node, fx.Node):
            self._labels.reads.append(Read(self.node, node, axis % len(self._trace.shape(node)), labels))

    def read_node(self, node: fx.Node, axis: int, labels: Indices | None) -> None:
        """Like :meth:`read`, for an operand inside a list of tensors."""
        if labels is not None:
            self._labels.reads.append(Read(self.node, node, axis, labels))

    def nodes(self, name: str) -> Argument:
        """The graph node, or list of nodes, behind an argument."""
        return self._nodes[name]

    def produces(self, weight: Value, labels: Indices | None, consumes: Indices | None = None) -> None:
        """Record the output (and input) axis of a layer with weights."""
        layer = weight.state.rpartition(".")[0] or weight.state or self.node.name
        if labels is not None:
            self._labels.produced.setdefault(layer, []).append(labels)
        if consumes is not None:
            self._labels.consumed.setdefault(layer, []).append(consumes)

    def whole_groups(self, labels: Indices) -> None:
        """Record that the groups of this layer are dropped whole; one atom per group."""
        self._labels.groups[self.node] = labels

    def fresh(self, count: int) -> Indices:
        """New atoms for entries that no parameter makes, such as zero padding."""
        return self._labels.atoms.new(count)

    def units(self, labels: Indices) -> int:
        """How many classes of atoms an axis has."""
        return len(np.unique(self._labels.atoms.find(labels)))

    def roots(self, labels: Indices) -> Indices:
        """Representatives of the classes of atoms, in the shape of ``labels``."""
        return self._labels.atoms.find(labels)

    def value(self, labels: Mapping[int, Indices | None]) -> Value:
        """The output value with these labels; axes that are None are fixed."""
        shape = self.shape
        return Value(shape, {axis % len(shape): atoms for axis, atoms in labels.items() if atoms is not None})

    def _value(self, argument: Argument) -> Argument:
        if isinstance(argument, fx.Node):
            values = self._labels.values.get(argument, ())
            return values[0] if len(values) == 1 else (values or argument)
        if isinstance(argument, (list, tuple)):
            return [self._value(item) for item in argument]
        return argument


def bind(node: fx.Node) -> dict[str, Argument]:
    """Arguments by schema name, defaults filled in."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return {str(i): argument for i, argument in enumerate(node.args)} | dict(node.kwargs)
    bound: dict[str, Argument] = {}
    for i, argument in enumerate(node.target._schema.arguments):
        if i < len(node.args):
            bound[argument.name] = node.args[i]
        else:
            bound[argument.name] = node.kwargs.get(argument.name, argument.default_value)
    return bound


def concatenate(parts: Sequence[tuple[Indices | None, int]]) -> Indices | None:
    """Join axes of given sizes; parts without labels become fixed entries, all fixed gives None."""
    if all(labels is None for labels, _ in parts):
        return None
    return np.concatenate(
        [np.full(size, FIXED, dtype=np.int64) if labels is None else labels for labels, size in parts]
    )
