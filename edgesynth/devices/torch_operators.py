"""Operators of ONNX by torch, as far as networks that are measured here use them.

Source: the ONNX operator specification, from operator set 13 on. An operator or an attribute that is not here
is refused, and never taken for another one: :class:`Unsupported`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["OPERATORS", "Attributes", "Unsupported"]

Attributes = Mapping[str, Any]
Inputs = Sequence[Tensor | None]
Operator = Callable[[Inputs, Attributes], Tensor | Sequence[Tensor]]

Pools = Sequence[Callable[..., Tensor]]

_MAX_POOLS: Final[Pools] = (torch.max_pool1d, torch.max_pool2d, torch.max_pool3d)
_AVERAGE_POOLS: Final[Pools] = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)
_KINDS: Final = {  # of onnx.TensorProto
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
}


class Unsupported(Exception):
    """An operator that torch is not asked to run here, in words."""


def _given(inputs: Inputs, index: int) -> Tensor | None:
    return inputs[index] if index < len(inputs) else None


def _needed(inputs: Inputs, index: int) -> Tensor:
    value = _given(inputs, index)
    if value is None:
        raise Unsupported(f"its input {index} is missing")
    return value


def _ints(value: Tensor) -> list[int]:
    return [int(number) for number in value.flatten().tolist()]


def _require(attributes: Attributes, **defaults: object) -> None:
    """Refuse attributes that are not at the only value that is known here."""
    for name, value in defaults.items():
        if attributes.get(name, value) != value:
            raise Unsupported(f"{name} is {attributes[name]!r}")


def _pads(attributes: Attributes, axes: int) -> tuple[list[int], list[int]]:
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise Unsupported(f"auto_pad is {attributes['auto_pad']!r}")
    pads = list(attributes.get("pads", [0] * 2 * axes))
    return pads[:axes], pads[axes:]


def _padded(data: Tensor, begin: Sequence[int], end: Sequence[int], value: float = 0.0) -> Tensor:
    sizes = [size for pair in zip(reversed(begin), reversed(end), strict=True) for size in pair]
    return functional.pad(data, sizes, value=value)


def _convolve(inputs: Inputs, attributes: Attributes, *, transposed: bool = False) -> Tensor:
    data, weight = _needed(inputs, 0), _needed(inputs, 1)
    axes = data.ndim - 2
    begin, end = _pads(attributes, axes)
    if transposed and (begin != end or "output_shape" in attributes):
        raise Unsupported("its padding is not the same on both sides, or comes from an output shape")
    if begin != end:
        data, begin = _padded(data, begin, end), [0] * axes
    ones, zeros = [1] * axes, [0] * axes
    strides, dilations = attributes.get("strides", ones), attributes.get("dilations", ones)
    more, groups = attributes.get("output_padding", zeros), attributes.get("group", 1)
    return torch.convolution(
        data, weight, _given(inputs, 2), strides, begin, dilations, transposed, more, groups
    )


def _max_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    data = _needed(inputs, 0)
    axes = data.ndim - 2
    begin, end = _pads(attributes, axes)
    if any((*begin, *end)) and attributes.get("ceil_mode"):
        raise Unsupported("it is padded, and takes windows that are not whole")
    data = _padded(data, begin, end, -math.inf)
    ones = [1] * axes
    return _MAX_POOLS[axes - 1](
        data,
        attributes["kernel_shape"],
        attributes.get("strides", ones),
        0,
        attributes.get("dilations", ones),
        bool(attributes.get("ceil_mode", 0)),
    )


def _average_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    _require(attributes, ceil_mode=0)
    data = _needed(inputs, 0)
    axes = data.ndim - 2
    begin, end = _pads(attributes, axes)
    ones = [1] * axes
    if begin != end or list(attributes.get("dilations", ones)) != ones:
        raise Unsupported("its padding is not the same on both sides, or it is dilated")
    return _AVERAGE_POOLS[axes - 1](
        data,
        attributes["kernel_shape"],
        attributes.get("strides", ones),
        begin,
        False,
        bool(attributes.get("count_include_pad", 0)),
    )


def _normalize_batch(inputs: Inputs, attributes: Attributes) -> Tensor:
    _require(attributes, training_mode=0)
    data, scale, bias, mean, variance = (_needed(inputs, index) for index in range(5))
    epsilon = attributes.get("epsilon", 1e-5)
    return functional.batch_norm(data, mean, variance, scale, bias, eps=epsilon)


def _normalize_layer(inputs: Inputs, attributes: Attributes) -> Tensor:
    data, scale = _needed(inputs, 0), _needed(inputs, 1)
    shape = data.shape[attributes.get("axis", -1) :]
    return functional.layer_norm(data, shape, scale, _given(inputs, 2), attributes.get("epsilon", 1e-5))


def _multiply(inputs: Inputs, attributes: Attributes) -> Tensor:
    """``Gemm``."""
    left, right = _needed(inputs, 0), _needed(inputs, 1)
    left = left.T if attributes.get("transA") else left
    right = right.T if attributes.get("transB") else right
    alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
    bias = _given(inputs, 2)
    if bias is None:
        return alpha * (left @ right)
    return torch.addmm(bias, left, right, beta=beta, alpha=alpha)


def _clip(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    least, most = _given(inputs, 1), _given(inputs, 2)
    bounds = [None if bound is None else bound.item() for bound in (least, most)]
    clipped: Tensor = torch.clamp(_needed(inputs, 0), *bounds)
    return clipped


def _resize(inputs: Inputs, attributes: Attributes) -> Tensor:
    data, scales, sizes = _needed(inputs, 0), _given(inputs, 2), _given(inputs, 3)
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
        kind["size"] = _ints(sizes)[2:]
    else:
        kind["scale_factor"] = [float(scale) for scale in _needed([scales], 0).tolist()][2:]
    resized: Tensor = functional.interpolate(data, **kind)
    return resized


def _reshape(inputs: Inputs, attributes: Attributes) -> Tensor:
    _require(attributes, allowzero=0)
    data = _needed(inputs, 0)
    shape = [size or data.shape[axis] for axis, size in enumerate(_ints(_needed(inputs, 1)))]
    return data.reshape(shape)


def _flatten(inputs: Inputs, attributes: Attributes) -> Tensor:
    data, axis = _needed(inputs, 0), attributes.get("axis", 1)
    return data.reshape(math.prod(data.shape[:axis]), -1)


def _slice(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    data, starts, ends = _needed(inputs, 0), _ints(_needed(inputs, 1)), _ints(_needed(inputs, 2))
    axes, steps = _given(inputs, 3), _given(inputs, 4)
    chosen = list(range(len(starts))) if axes is None else _ints(axes)
    strides = [1] * len(starts) if steps is None else _ints(steps)
    for axis, start, end, step in zip(chosen, starts, ends, strides, strict=True):
        taken = range(*slice(start, end, step).indices(data.shape[axis]))
        if step > 0:
            data = data[(slice(None),) * (axis % data.ndim) + (slice(taken.start, taken.stop, step),)]
        else:  # torch has no such slices
            data = data.index_select(axis, torch.tensor(list(taken), device=data.device))
    return data


def _gather(inputs: Inputs, attributes: Attributes) -> Tensor:
    data, index = _needed(inputs, 0), _needed(inputs, 1)
    axis = attributes.get("axis", 0) % data.ndim
    index = torch.where(index < 0, index + data.shape[axis], index).to(data.device)
    chosen = data.index_select(axis, index.flatten())
    return chosen.reshape([*data.shape[:axis], *index.shape, *data.shape[axis + 1 :]])


def _unsqueeze(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    data, axes = _needed(inputs, 0), _ints(_needed(inputs, 1))
    dimensions = data.ndim + len(axes)
    for axis in sorted(axis % dimensions for axis in axes):
        data = data.unsqueeze(axis)
    return data


def _squeeze(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    data, axes = _needed(inputs, 0), _given(inputs, 1)
    return data.squeeze() if axes is None else data.squeeze(tuple(_ints(axes)))


def _split(inputs: Inputs, attributes: Attributes) -> Sequence[Tensor]:
    data, sizes, axis = _needed(inputs, 0), _given(inputs, 1), attributes.get("axis", 0)
    if sizes is None:
        if "num_outputs" not in attributes:
            raise Unsupported("it does not say into how many parts")
        return torch.split_with_sizes(data, _parts(data.shape[axis], attributes["num_outputs"]), axis)
    return torch.split_with_sizes(data, _ints(sizes), axis)


def _parts(size: int, count: int) -> list[int]:
    """Sizes of equal parts, of which the last may be smaller."""
    part = -(-size // count)
    return [part] * (count - 1) + [size - part * (count - 1)]


def _pad(inputs: Inputs, attributes: Attributes) -> Tensor:
    _require(attributes, mode="constant")
    data, pads, value = _needed(inputs, 0), _ints(_needed(inputs, 1)), _given(inputs, 2)
    if _given(inputs, 3) is not None:
        raise Unsupported("it pads some axes only")
    half = len(pads) // 2
    return _padded(data, pads[:half], pads[half:], 0.0 if value is None else float(value))


def _cast(inputs: Inputs, attributes: Attributes) -> Tensor:
    if attributes["to"] not in _KINDS:
        raise Unsupported(f"it casts to type {attributes['to']}")
    return _needed(inputs, 0).to(_KINDS[attributes["to"]])


def _shape(inputs: Inputs, attributes: Attributes) -> Tensor:
    shape = list(_needed(inputs, 0).shape)
    return torch.tensor(shape[attributes.get("start", 0) : attributes.get("end")], dtype=torch.int64)


def _constant(inputs: Inputs, attributes: Attributes) -> Tensor:
    """``ConstantOfShape``."""
    value = torch.tensor(attributes["value"]) if "value" in attributes else torch.zeros(1)
    return value.expand(_ints(_needed(inputs, 0)))


def _divide(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    left, right = _needed(inputs, 0), _needed(inputs, 1)
    return left / right if left.is_floating_point() else torch.div(left, right, rounding_mode="trunc")


def _expand(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    data, shape = _needed(inputs, 0), _ints(_needed(inputs, 1))
    return data * torch.ones(shape, dtype=data.dtype, device=data.device)


def _reduce(how: Callable[..., Tensor]) -> Operator:
    def reduce(inputs: Inputs, attributes: Attributes) -> Tensor:
        _require(attributes, noop_with_empty_axes=0)
        data, given = _needed(inputs, 0), _given(inputs, 1)
        axes = attributes.get("axes") if given is None else _ints(given)
        return how(data, tuple(axes or range(data.ndim)), keepdim=bool(attributes.get("keepdims", 1)))

    return reduce


def _one(how: Callable[[Tensor], Tensor]) -> Operator:
    return lambda inputs, attributes: how(_needed(inputs, 0))


def _two(how: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda inputs, attributes: how(_needed(inputs, 0), _needed(inputs, 1))


def _spatial(how: Callable[..., Tensor]) -> Operator:
    return lambda inputs, attributes: how(
        _needed(inputs, 0), tuple(range(2, _needed(inputs, 0).ndim)), keepdim=True
    )


OPERATORS: Final[Mapping[str, Operator]] = {
    "Abs": _one(torch.abs),
    "Add": _two(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _normalize_batch,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(
        [value for value in inputs if value is not None], attributes["axis"]
    ),
    "ConstantOfShape": _constant,
    "Conv": _convolve,
    "ConvTranspose": functools.partial(_convolve, transposed=True),
    "Div": _divide,
    "Dropout": _one(lambda data: data),
    "Elu": lambda inputs, attributes: functional.elu(_needed(inputs, 0), attributes.get("alpha", 1.0)),
    "Equal": _two(torch.eq),
    "Erf": _one(torch.erf),
    "Exp": _one(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": lambda inputs, attributes: functional.gelu(
        _needed(inputs, 0), approximate=attributes.get("approximate", "none")
    ),
    "Gemm": _multiply,
    "GlobalAveragePool": _spatial(torch.mean),
    "GlobalMaxPool": _spatial(torch.amax),
    "Greater": _two(torch.gt),
    "HardSigmoid": lambda inputs, attributes: torch.clamp(
        _needed(inputs, 0) * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5), 0.0, 1.0
    ),
    "HardSwish": _one(functional.hardswish),
    "Identity": _one(lambda data: data),
    "LayerNormalization": _normalize_layer,
    "LeakyRelu": lambda inputs, attributes: functional.leaky_relu(
        _needed(inputs, 0), attributes.get("alpha", 0.01)
    ),
    "Less": _two(torch.lt),
    "Log": _one(torch.log),
    "MatMul": _two(torch.matmul),
    "Max": lambda inputs, attributes: functools.reduce(
        torch.maximum, (value for value in inputs if value is not None)
    ),
    "MaxPool": _max_pool,
    "Min": lambda inputs, attributes: functools.reduce(
        torch.minimum, (value for value in inputs if value is not None)
    ),
    "Mul": _two(torch.mul),
    "Neg": _one(torch.neg),
    "Pad": _pad,
    "Pow": _two(torch.pow),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _one(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": _one(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda inputs, attributes: torch.softmax(_needed(inputs, 0), attributes.get("axis", -1)),
    "Split": _split,
    "Sqrt": _one(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _two(torch.sub),
    "Tanh": _one(torch.tanh),
    "Transpose": lambda inputs, attributes: _needed(inputs, 0).permute(
        attributes.get("perm", tuple(reversed(range(_needed(inputs, 0).ndim))))
    ),
    "Unsqueeze": _unsqueeze,
    "Where": lambda inputs, attributes: torch.where(
        _needed(inputs, 0), _needed(inputs, 1), _needed(inputs, 2)
    ),
}
"""By name: what takes the inputs (``None`` for those left out) and the attributes, and gives the outputs."""
