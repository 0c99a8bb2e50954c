"""Operators that reduce over axes, or work along one: means, maxima, softmax, cumulative sums."""

from __future__ import annotations

from edgesynth.graph.atoms import Indices
from edgesynth.graph.labels import Call, Value, register_rule
from edgesynth.graph.rules.pointwise import pointwise
from edgesynth.graph.trace import Argument

__all__ = ["along", "reduce"]


def _axes(dims: Argument, ndim: int) -> set[int]:
    if dims is None or dims == []:
        return set(range(ndim))
    return {dim % ndim for dim in (dims if isinstance(dims, (list, tuple)) else [dims])}


@register_rule(
    "aten.mean",
    "aten.sum",
    "aten.amax",
    "aten.amin",
    "aten.max",
    "aten.min",
    "aten.var",
    "aten.std",
    "aten.var_mean",
    "aten.prod",
    "aten.argmax",
    "aten.argmin",
    "aten.any",
    "aten.all",
    "aten.logsumexp",
    "aten.norm",
    "aten.linalg_vector_norm",
    "aten.median",
)
def reduce(call: Call) -> Value | tuple[Value, ...]:
    """Reduced axes must keep their size, except under a sum, which skips zeros.

    With two tensors, as in ``max(a, b)``, these are pointwise.
    """
    if len(call.tensors) > 1:
        return pointwise(call)
    x = call.tensors[0]
    name = next(key for key in ("self", "input", "x") if call.get(key) is x)
    reduced = _axes(call.get("dim"), len(x.shape)) if x.shape else set()
    for axis in sorted(reduced):
        if call.operator == "aten.sum":
            call.read(name, axis, x.labels.get(axis))
        else:
            call.fix(
                x.labels.get(axis),
                f"{call.operator} over channels depends on how many there are; a norm that is written out "
                "may be nn.LayerNorm, nn.GroupNorm or nn.RMSNorm, whose channels are free",
            )
    out: dict[int, Indices] = {}
    position = 0
    for axis in range(len(x.shape)):
        if axis in reduced:
            position += bool(call.get("keepdim"))
            continue
        if axis in x.labels:
            out[position] = x.labels[axis]
        position += 1
    values = tuple(Value(shape, dict(out)) for shape in call.shapes)
    return values if len(values) > 1 else values[0]


@register_rule(
    "aten.softmax",
    "aten.log_softmax",
    "aten._softmax",
    "aten._log_softmax",
    "aten.cumsum",
    "aten.cumprod",
    "aten.flip",
    "aten.roll",
    "aten.sort",
    "aten.topk",
)
def along(call: Call) -> Value | tuple[Value, ...]:
    """The axes worked along must keep their size; the others are carried over."""
    x = call.tensors[0]
    dims = call.get("dim", call.get("dims"))
    for axis in _axes(dims, len(x.shape)):
        call.fix(x.labels.get(axis), f"{call.operator} mixes channels")
    values = tuple(
        Value(shape, {a: atoms for a, atoms in x.labels.items() if shape[a] == x.shape[a]})
        for shape in call.shapes
    )
    return values if len(values) > 1 else values[0]


@register_rule(
    "aten.max_pool1d",
    "aten.max_pool2d",
    "aten.max_pool3d",
    "aten.max_pool2d_with_indices",
    "aten.avg_pool1d",
    "aten.avg_pool2d",
    "aten.avg_pool3d",
    "aten.adaptive_avg_pool1d",
    "aten.adaptive_avg_pool2d",
    "aten.adaptive_avg_pool3d",
    "aten.adaptive_max_pool1d",
    "aten.adaptive_max_pool2d",
    "aten.upsample_nearest1d",
    "aten.upsample_nearest2d",
    "aten.upsample_nearest3d",
    "aten._upsample_nearest_exact1d",
    "aten._upsample_nearest_exact2d",
    "aten.upsample_linear1d",
    "aten.upsample_bilinear2d",
    "aten.upsample_bicubic2d",
    "aten.upsample_trilinear3d",
    "aten._upsample_bilinear2d_aa",
    "aten._upsample_bicubic2d_aa",
    "aten.grid_sampler",
    "aten.im2col",
    "aten.reflection_pad2d",
    "aten.replication_pad2d",
)
def spatial(call: Call) -> Value | tuple[Value, ...]:
    """Pooling and resampling leave batch and channels alone and fix the axes after them."""
    x = call.tensors[0]
    for other in call.tensors[1:]:
        call.fix_all(other, f"decides positions in {call.operator}")
    call.fix_all(x, f"{call.operator} works along this axis", keep=(0, 1))
    kept = {axis: atoms for axis, atoms in x.labels.items() if axis < 2}
    if call.operator == "aten.im2col":
        call.fix(x.axis(1), "unfolding mixes channels and positions")
        kept = {}
    values = tuple(Value(shape, kept) for shape in call.shapes)
    return values if len(values) > 1 else values[0]
