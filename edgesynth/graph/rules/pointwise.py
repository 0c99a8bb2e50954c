"""Operators that treat every entry alike: arithmetic, activations, copies.

Positions that meet are tied, with broadcasting aligned from the right as in NumPy.
"""

from __future__ import annotations

from edgesynth.graph.atoms import Indices
from edgesynth.graph.labels import Call, Value, register_rule

__all__ = ["broadcast", "pointwise"]


def broadcast(call: Call, values: list[Value], shape: tuple[int, ...]) -> dict[int, Indices | None]:
    """Tie the axes of ``values`` that meet when they broadcast to ``shape``; labels by output axis."""
    labels: dict[int, Indices | None] = {}
    for axis, size in enumerate(shape):
        meeting: list[Indices | None] = []
        for value in values:
            own = axis - len(shape) + len(value.shape)
            if own >= 0 and value.shape[own] == size and (size > 1):
                meeting.append(value.labels.get(own))
        if not meeting:
            continue
        common = meeting[0]
        fixed = any(labels is None for labels in meeting)
        for other in meeting[1:]:
            call.tie(common if common is not None else other, other)
            common = common if common is not None else other
        if fixed:
            call.fix(common, "meets an axis that cannot change")
        labels[axis] = None if fixed else common
    return labels


# torch tags most of these as pointwise; those named here are the ones it does not tag.
@register_rule(
    "pointwise",
    "aten.hardswish",
    "aten.relu6",
    "aten.log_sigmoid",
    "aten.dropout",
    "aten.feature_dropout",
    "aten.alpha_dropout",
    "aten.feature_alpha_dropout",
    "aten.contiguous",
    "aten.clone",
    "aten.to",
    "aten._to_copy",
    "aten.type_as",
    "aten.detach",
    "aten.alias",
    "aten.lift_fresh_copy",
    "aten.lift_fresh",
    "aten.zeros_like",
    "aten.ones_like",
    "aten.full_like",
    "aten.rand_like",
    "aten.randn_like",
    "aten.floor_divide",
    "aten.square",
    "aten.tanhshrink",
    "aten.softsign",
    "aten.native_dropout",
)
def pointwise(call: Call) -> Value:
    """Tie all tensor arguments position by position."""
    return call.value(broadcast(call, call.tensors, call.shape))


@register_rule("aten.prelu", "aten._prelu_kernel")
def prelu(call: Call) -> Value:
    """One slope per channel on axis 1, or one for all."""
    x, slope = call.tensors
    labels: dict[int, Indices | None] = dict(x.labels)
    if slope.shape and slope.shape[0] > 1:
        labels[1] = call.tie(x.axis(1), slope.axis(0))
    return call.value(labels)
