"""Operators that move entries without computing: reshapes, transposes, repeats, shuffles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgesynth.graph.atoms import Indices
from edgesynth.graph.labels import Call, Value, register_rule

__all__ = ["reshape", "split_axis"]


@register_rule(
    "aten.view", "aten.reshape", "aten._unsafe_view", "aten.flatten", "aten.unflatten", "aten.view_as"
)
def reshape(call: Call) -> Value:
    """Split and merge axes, one independent run of axes at a time."""
    x = call.tensors[0]
    labels: dict[int, Indices | None] = {}
    for old, new in _runs(x.shape, call.shape):
        labels.update(_regroup(call, x, old, new))
    return call.value(labels)


def _runs(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Shortest runs of axes of equal element count, axes of size 1 left out."""
    left = [axis for axis, size in enumerate(old) if size != 1]
    right = [axis for axis, size in enumerate(new) if size != 1]
    runs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        a, b = [left[i]], [right[j]]
        i, j = i + 1, j + 1
        sizes = [old[a[0]], new[b[0]]]
        while sizes[0] != sizes[1]:
            if sizes[0] < sizes[1]:
                a.append(left[i])
                sizes[0], i = sizes[0] * old[left[i]], i + 1
            else:
                b.append(right[j])
                sizes[1], j = sizes[1] * new[right[j]], j + 1
        runs.append((a, b))
    return runs


def _regroup(call: Call, x: Value, old: list[int], new: list[int]) -> dict[int, Indices | None]:
    labelled = [axis for axis in old if axis in x.labels]
    if not labelled:
        return {}
    if len(old) == len(new) == 1:
        return {new[0]: x.labels[old[0]]}
    fixed = [i for i, axis in enumerate(new) if axis in call.symbolic]
    if len(fixed) == len(new):
        for axis in labelled:
            call.fix(x.labels[axis], "merged with the batch axis")
        return {}
    # Two free axes cannot be told apart once merged, so the one with more units stays free.
    free = max(labelled, key=lambda axis: call.units(x.labels[axis]))
    for axis in labelled:
        if axis != free:
            call.fix(x.labels[axis], "merged with another free axis")
    own = [1] * len(old)
    own[old.index(free)] = x.shape[free]
    sizes = [x.shape[axis] for axis in old]
    grid = np.broadcast_to(x.labels[free].reshape(own), sizes).reshape([call.shape[axis] for axis in new])
    axis, labels = split_axis(call, np.ascontiguousarray(grid), fixed)
    return {new[axis]: labels}


def split_axis(call: Call, grid: Indices, fixed: Sequence[int] = ()) -> tuple[int, Indices]:
    """Choose the axis of ``grid`` that stays free, and tie the atoms along all others.

    What is kept of a tensor must be a product of index sets, one per axis. One factor stays free:
    the one that leaves the most units, the longer of two that leave as many.

    Args:
        call: The operator that splits.
        grid: Atoms in the shape of the axes split into.
        fixed: Axes of ``grid`` that cannot stay free.

    Returns:
        The position of the free axis and its labels.
    """
    roots = call.roots(grid)
    choices = []
    for axis in sorted(set(range(grid.ndim)) - set(fixed)):
        rows = np.moveaxis(roots, axis, -1).reshape(-1, grid.shape[axis])
        choices.append((_classes(rows), grid.shape[axis], axis))
    _, _, best = max(choices)
    rows = np.moveaxis(grid, best, -1).reshape(-1, grid.shape[best])
    distinct = np.unique(call.roots(rows), axis=0)
    return best, call.tie_rows(distinct)


def _classes(rows: Indices) -> int:
    """How many classes remain when all rows are tied column by column."""
    distinct = np.unique(rows, axis=0)
    parent: dict[int, int] = {}

    def root(atom: int) -> int:
        while parent.setdefault(atom, atom) != atom:
            atom = parent[atom]
        return atom

    for row in distinct:
        for a, b in zip(distinct[0].tolist(), row.tolist(), strict=True):
            parent[root(a)] = root(b)
    return len({root(atom) for atom in parent})


def _move(call: Call, order: list[int]) -> Value:
    """Output axis ``i`` is input axis ``order[i]``."""
    x = call.tensors[0]
    return call.value({i: x.labels.get(axis) for i, axis in enumerate(order)})


@register_rule("aten.permute")
def permute(call: Call) -> Value:
    """Reorder axes."""
    return _move(call, [dim % len(call.shape) for dim in call["dims"]])


@register_rule("aten.transpose", "aten.swapaxes", "aten.swapdims", "aten.t", "aten.numpy_T", "aten.mT")
def transpose(call: Call) -> Value:
    """Swap two axes; the last two where none are named."""
    ndim = len(call.shape)
    names = [key for key in ("dim0", "axis0") if call.get(key) is not None]
    first, second = (call[names[0]], call[names[0].replace("0", "1")]) if names else (-2, -1)
    order = list(range(ndim))
    if ndim > 1:
        order[first % ndim], order[second % ndim] = second % ndim, first % ndim
    return _move(call, order)


@register_rule("aten.movedim", "aten.moveaxis")
def movedim(call: Call) -> Value:
    """Move axes to new places."""
    ndim = len(call.shape)
    source, target = call["source"], call["destination"]
    sources = [s % ndim for s in (source if isinstance(source, (list, tuple)) else [source])]
    targets = [t % ndim for t in (target if isinstance(target, (list, tuple)) else [target])]
    rest = iter([axis for axis in range(ndim) if axis not in sources])
    order = [sources[targets.index(i)] if i in targets else next(rest) for i in range(ndim)]
    return _move(call, order)


@register_rule("aten.unsqueeze", "aten.squeeze")
def squeeze(call: Call) -> Value:
    """Add or remove axes of size 1."""
    x = call.tensors[0]
    old = [axis for axis, size in enumerate(x.shape) if size != 1]
    new = [axis for axis, size in enumerate(call.shape) if size != 1]
    return call.value({b: x.labels.get(a) for a, b in zip(old, new, strict=True)})


@register_rule("aten.expand", "aten.expand_as", "aten.broadcast_to")
def expand(call: Call) -> Value:
    """Repeat axes of size 1 without copying."""
    x = call.tensors[0]
    offset = len(call.shape) - len(x.shape)
    return call.value({axis + offset: labels for axis, labels in x.labels.items()})


@register_rule("aten.repeat", "aten.tile")
def repeat(call: Call) -> Value:
    """Repeat every axis a number of times."""
    x = call.tensors[0]
    offset = len(call.shape) - len(x.shape)
    return call.value(
        {a + offset: np.tile(labels, call.shape[a + offset] // x.shape[a]) for a, labels in x.labels.items()}
    )


@register_rule("aten.repeat_interleave")
def repeat_interleave(call: Call) -> Value:
    """Repeat every entry of one axis a number of times."""
    x, dim = call.tensors[0], call.get("dim")
    if len(call.tensors) > 1 or dim is None or not isinstance(call.get("repeats"), int):
        for value in call.tensors:
            call.fix_all(value, "repeats depend on data")
        return call.value({})
    labels = dict(x.labels)
    if dim % len(x.shape) in labels:
        labels[dim % len(x.shape)] = np.repeat(labels[dim % len(x.shape)], call["repeats"])
    return call.value(labels)


@register_rule("aten.pixel_shuffle")
def pixel_shuffle(call: Call) -> Value:
    """``[b, c r r, h, w]`` to ``[b, c, h r, w r]``: the r r channels of one result go together."""
    x, factor = call.tensors[0], call["upscale_factor"]
    call.fix_all(x, "becomes part of the image", keep=(0, len(x.shape) - 3))
    channels = x.axis(-3)
    if channels is None:
        return call.value({0: x.axis(0)})
    return call.value(
        {
            0: x.axis(0),
            len(x.shape) - 3: call.tie_rows(np.ascontiguousarray(channels.reshape(-1, factor**2).T)),
        }
    )


@register_rule("aten.pixel_unshuffle")
def pixel_unshuffle(call: Call) -> Value:
    """``[b, c, h r, w r]`` to ``[b, c r r, h, w]``."""
    x, factor = call.tensors[0], call["downscale_factor"]
    call.fix_all(x, "becomes part of the channels", keep=(0, len(x.shape) - 3))
    channels = x.axis(-3)
    merged = None if channels is None else np.repeat(channels, factor**2)
    return call.value({0: x.axis(0), len(x.shape) - 3: merged})


@register_rule("aten.channel_shuffle", "aten.native_channel_shuffle")
def channel_shuffle(call: Call) -> Value:
    """Transpose ``[groups, channels / groups]`` inside the channel axis."""
    x, groups = call.tensors[0], call["groups"]
    channels = x.axis(1)
    if channels is None:
        return call.value(dict(x.labels))
    grid = channels.reshape(groups, -1)
    axis, labels = split_axis(call, grid)
    if axis == 0:
        call.whole_groups(labels)
    tied = np.broadcast_to(labels if axis == 1 else labels[:, None], grid.shape)
    return call.value({**x.labels, 1: np.ascontiguousarray(tied.T).ravel()})


@register_rule("aten.glu")
def glu(call: Call) -> Value:
    """Halve an axis: first half times the sigmoid of the second."""
    x = call.tensors[0]
    dim = call["dim"] % len(x.shape)
    labels: dict[int, Indices | None] = dict(x.labels)
    if dim in x.labels:
        half = len(x.labels[dim]) // 2
        labels[dim] = call.tie(x.labels[dim][:half], x.labels[dim][half:])
    return call.value(labels)


@register_rule(
    "aten.zeros", "aten.ones", "aten.full", "aten.arange", "aten.empty", "aten.rand", "aten.randn",
    "aten.scalar_tensor", "aten.linspace", "aten.eye",
)  # fmt: skip
def create(call: Call) -> Value:
    """A tensor of written-out size has axes that cannot change."""
    return call.value({})


@register_rule("aten.new_zeros", "aten.new_ones", "aten.new_full", "aten.new_empty")
def create_like(call: Call) -> Value:
    """As :func:`create`; the tensor it takes its type from is not read."""
    return call.value({})
