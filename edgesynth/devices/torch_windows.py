"""Operators of ONNX that go over a picture in windows, by torch: convolution, pooling, resizing.

Source: the ONNX operator specification, from operator set 13 on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from edgesynth.devices.torch_arguments import Attributes, Inputs, Unsupported, given, ints, needed, require

__all__ = ["average_pool", "convolve", "max_pool", "padded", "resize"]

Pools = Sequence[Callable[..., Tensor]]

_MAX_POOLS: Final[Pools] = (torch.max_pool1d, torch.max_pool2d, torch.max_pool3d)
_AVERAGE_POOLS: Final[Pools] = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


def _pads(attributes: Attributes, axes: int) -> tuple[list[int], list[int]]:
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise Unsupported(f"auto_pad is {attributes['auto_pad']!r}")
    pads = list(attributes.get("pads", [0] * 2 * axes))
    return pads[:axes], pads[axes:]


def padded(data: Tensor, begin: Sequence[int], end: Sequence[int], value: float = 0.0) -> Tensor:
    """Data with a value around it: ``begin`` and ``end`` have one size per axis, of the last axes."""
    sizes = [size for pair in zip(reversed(begin), reversed(end), strict=True) for size in pair]
    return functional.pad(data, sizes, value=value)


def convolve(inputs: Inputs, attributes: Attributes, *, transposed: bool = False) -> Tensor:
    """``Conv``, and ``ConvTranspose``."""
    data, weight = needed(inputs, 0), needed(inputs, 1)
    axes = data.ndim - 2
    begin, end = _pads(attributes, axes)
    if transposed and (begin != end or "output_shape" in attributes):
        raise Unsupported("its padding is not the same on both sides, or comes from an output shape")
    if begin != end:
        data, begin = padded(data, begin, end), [0] * axes
    ones, zeros = [1] * axes, [0] * axes
    strides, dilations = attributes.get("strides", ones), attributes.get("dilations", ones)
    more, groups = attributes.get("output_padding", zeros), attributes.get("group", 1)
    return torch.convolution(
        data, weight, given(inputs, 2), strides, begin, dilations, transposed, more, groups
    )


def max_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    """``MaxPool``."""
    data = needed(inputs, 0)
    axes = data.ndim - 2
    begin, end = _pads(attributes, axes)
    if any((*begin, *end)) and attributes.get("ceil_mode"):
        raise Unsupported("it is padded, and takes windows that are not whole")
    data = padded(data, begin, end, -math.inf)
    ones = [1] * axes
    return _MAX_POOLS[axes - 1](
        data,
        attributes["kernel_shape"],
        attributes.get("strides", ones),
        0,
        attributes.get("dilations", ones),
        bool(attributes.get("ceil_mode", 0)),
    )


def average_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    """``AveragePool``."""
    require(attributes, ceil_mode=0)
    data = needed(inputs, 0)
    axes = data.ndim - 2
    begin, end = _pads(attributes, axes)
    ones = [1] * axes
    kernel = attributes["kernel_shape"]
    if begin != end or list(attributes.get("dilations", ones)) != ones:
        raise Unsupported("its padding is not the same on both sides, or it is dilated")
    if any(2 * pad > size for pad, size in zip(begin, kernel, strict=True)):
        raise Unsupported("it is padded by more than half of its kernel")
    return _AVERAGE_POOLS[axes - 1](
        data,
        kernel,
        attributes.get("strides", ones),
        begin,
        False,
        bool(attributes.get("count_include_pad", 0)),
    )


def resize(inputs: Inputs, attributes: Attributes) -> Tensor:
    """``Resize`` of pictures: nearest as torch takes it, and linear."""
    require(attributes, antialias=0, keep_aspect_ratio_policy="stretch")
    data, scales, sizes = needed(inputs, 0), given(inputs, 2), given(inputs, 3)
    how = attributes.get("mode", "nearest")
    where = attributes.get("coordinate_transformation_mode", "half_pixel")
    if "axes" in attributes or data.ndim != 4:
        raise Unsupported("it resizes other axes than those of pictures")
    if how == "nearest" and (where, attributes.get("nearest_mode")) == ("asymmetric", "floor"):
        kind: dict[str, Any] = {"mode": "nearest"}
    elif how == "linear" and where in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        kind = {"mode": "bilinear", "align_corners": where == "align_corners"}
    else:
        raise Unsupported(f"mode is {how!r} by {where!r}")
    if sizes is not None and sizes.numel():
        by = [new / old for new, old in zip(ints(sizes), data.shape, strict=True)]
        kind["size"] = ints(sizes)[2:]
    else:
        by = [float(scale) for scale in needed([scales], 0).tolist()]
        kind["scale_factor"] = by[2:]
    if by[:2] != [1, 1]:
        raise Unsupported("it resizes other axes than those of pictures")
    if where == "align_corners" and any(
        new * old % 1 for new, old in zip(by[2:], data.shape[2:], strict=True)
    ):
        raise Unsupported("its factors give no whole number of pixels between aligned corners")
    resized: Tensor = functional.interpolate(data, **kind)
    if where == "pytorch_half_pixel" and 1 in resized.shape[2:]:
        raise Unsupported(f"it gives a single row or column by {where!r}")
    return resized
