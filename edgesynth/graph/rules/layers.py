"""Normalisation layers: their parameters follow the channels; statistics are over what is kept."""

from __future__ import annotations

import numpy as np

from edgesynth.graph.labels import Call, Value, register_rule

__all__ = ["batch_norm", "group_norm", "layer_norm"]


@register_rule("aten.batch_norm", "aten.instance_norm", "aten._native_batch_norm_legit_no_training")
def batch_norm(call: Call) -> Value | tuple[Value, ...]:
    """Per-channel statistics and affine on axis 1."""
    x = call["input"]
    channels = x.axis(1)
    for name in ("weight", "bias", "running_mean", "running_var"):
        if call.get(name) is not None:
            channels = call.tie(channels, call[name].axis(0))
    labels = {axis: atoms for axis, atoms in x.labels.items() if axis != 1}
    if channels is not None:
        labels[1] = channels
    # Some forms also return statistics, which nothing reads in inference.
    values = tuple(Value(shape, labels if shape == x.shape else {}) for shape in call.shapes)
    return values if len(values) > 1 else values[0]


@register_rule("aten.layer_norm", "aten.rms_norm")
def layer_norm(call: Call) -> Value:
    """Statistics over the trailing axes, affine of their shape."""
    x = call["input"]
    labels = dict(x.labels)
    trailing = len(call["normalized_shape"])
    for name in ("weight", "bias"):
        affine = call.get(name)
        if affine is None:
            continue
        for axis in range(-trailing, 0):
            common = call.tie(labels.get(len(x.shape) + axis), affine.axis(axis))
            if common is None:
                labels.pop(len(x.shape) + axis, None)
    return call.value(labels)


@register_rule("aten.group_norm")
def group_norm(call: Call) -> Value:
    """Groups are dropped whole if there are at least as many as channels in each, else shrunk alike."""
    x, groups = call["input"], call["num_groups"]
    channels = x.axis(1)
    for name in ("weight", "bias"):
        if call[name] is not None:
            channels = call.tie(channels, call[name].axis(0))
    if channels is not None and groups > 1:
        grid = channels.reshape(groups, -1)
        if groups >= grid.shape[1]:
            call.whole_groups(call.tie_rows(np.ascontiguousarray(grid.T)))
        else:
            call.tie_rows(grid)
    return call.value({**x.labels, 1: channels})
