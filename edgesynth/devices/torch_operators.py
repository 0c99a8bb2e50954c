"""Operators of ONNX by torch, as far as networks that are measured here use them.

Source: the ONNX operator specification, from operator set 13 on. An operator or an attribute that is not here
is refused, and never taken for another one: :class:`Unsupported`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from edgesynth.devices.torch_arguments import Attributes, Inputs, Unsupported, given, ints, needed, require
from edgesynth.devices.torch_windows import average_pool, convolve, max_pool, padded, resize

__all__ = ["OPERATORS"]

Operator = Callable[[Inputs, Attributes], Tensor | Sequence[Tensor]]

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


def _normalize_batch(inputs: Inputs, attributes: Attributes) -> Tensor:
    require(attributes, training_mode=0)
    data, scale, bias, mean, variance = (needed(inputs, index) for index in range(5))
    epsilon = attributes.get("epsilon", 1e-5)
    return functional.batch_norm(data, mean, variance, scale, bias, eps=epsilon)


def _normalize_layer(inputs: Inputs, attributes: Attributes) -> Tensor:
    data, scale = needed(inputs, 0), needed(inputs, 1)
    shape = data.shape[attributes.get("axis", -1) :]
    if scale.shape != shape:
        raise Unsupported("its scale is of another shape than what it normalises")
    return functional.layer_norm(data, shape, scale, given(inputs, 2), attributes.get("epsilon", 1e-5))


def _multiply(inputs: Inputs, attributes: Attributes) -> Tensor:
    """``Gemm``."""
    left, right = needed(inputs, 0), needed(inputs, 1)
    left = left.T if attributes.get("transA") else left
    right = right.T if attributes.get("transB") else right
    alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
    bias = given(inputs, 2)
    if bias is None:
        return alpha * (left @ right)
    return torch.addmm(bias, left, right, beta=beta, alpha=alpha)


def _clip(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    least, most = given(inputs, 1), given(inputs, 2)
    bounds = [None if bound is None else bound.item() for bound in (least, most)]
    data = needed(inputs, 0)
    return data if bounds == [None, None] else torch.clamp(data, *bounds)


def _drop_out(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    training = given(inputs, 2)
    if training is not None and training.item():
        raise Unsupported("it is as in training")
    return needed(inputs, 0)


def _raise(inputs: Inputs, attributes: Attributes) -> Tensor:
    """``Pow``."""
    del attributes
    base = needed(inputs, 0)
    return torch.pow(base, needed(inputs, 1)).to(base.dtype)


def _reshape(inputs: Inputs, attributes: Attributes) -> Tensor:
    data, asked = needed(inputs, 0), ints(needed(inputs, 1))
    if attributes.get("allowzero") and 0 in asked:
        raise Unsupported("allowzero is 1, and there is a zero")
    return data.reshape([size or data.shape[axis] for axis, size in enumerate(asked)])


def _flatten(inputs: Inputs, attributes: Attributes) -> Tensor:
    data, axis = needed(inputs, 0), attributes.get("axis", 1)
    return data.reshape(math.prod(data.shape[:axis]), math.prod(data.shape[axis:]))


def _slice(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    data, starts, ends = needed(inputs, 0), ints(needed(inputs, 1)), ints(needed(inputs, 2))
    axes, steps = given(inputs, 3), given(inputs, 4)
    chosen = list(range(len(starts))) if axes is None else ints(axes)
    strides = [1] * len(starts) if steps is None else ints(steps)
    for axis, start, end, step in zip(chosen, starts, ends, strides, strict=True):
        taken = range(*slice(start, end, step).indices(data.shape[axis]))
        if step > 0:
            data = data[(slice(None),) * (axis % data.ndim) + (slice(taken.start, taken.stop, step),)]
        else:  # torch has no such slices
            data = data.index_select(axis, torch.tensor(list(taken), device=data.device))
    return data


def _gather(inputs: Inputs, attributes: Attributes) -> Tensor:
    data, index = needed(inputs, 0), needed(inputs, 1)
    axis = attributes.get("axis", 0) % data.ndim
    index = torch.where(index < 0, index + data.shape[axis], index).to(data.device)
    chosen = data.index_select(axis, index.flatten())
    return chosen.reshape([*data.shape[:axis], *index.shape, *data.shape[axis + 1 :]])


def _unsqueeze(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    data, axes = needed(inputs, 0), ints(needed(inputs, 1))
    dimensions = data.ndim + len(axes)
    for axis in sorted(axis % dimensions for axis in axes):
        data = data.unsqueeze(axis)
    return data


def _squeeze(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    data, axes = needed(inputs, 0), given(inputs, 1)
    return data.squeeze() if axes is None else data.squeeze(tuple(ints(axes)))


def _split(inputs: Inputs, attributes: Attributes) -> Sequence[Tensor]:
    data, sizes, axis = needed(inputs, 0), given(inputs, 1), attributes.get("axis", 0)
    if sizes is None:
        if "num_outputs" not in attributes:
            raise Unsupported("it does not say into how many parts")
        return torch.split_with_sizes(data, _parts(data.shape[axis], attributes["num_outputs"]), axis)
    return torch.split_with_sizes(data, ints(sizes), axis)


def _parts(size: int, count: int) -> list[int]:
    """Sizes of equal parts, of which the last may be smaller."""
    part = -(-size // count)
    return [part] * (count - 1) + [size - part * (count - 1)]


def _pad(inputs: Inputs, attributes: Attributes) -> Tensor:
    require(attributes, mode="constant")
    data, pads, value = needed(inputs, 0), ints(needed(inputs, 1)), given(inputs, 2)
    if given(inputs, 3) is not None:
        raise Unsupported("it pads some axes only")
    half = len(pads) // 2
    return padded(data, pads[:half], pads[half:], 0.0 if value is None else float(value))


def _cast(inputs: Inputs, attributes: Attributes) -> Tensor:
    if attributes["to"] not in _KINDS:
        raise Unsupported(f"it casts to type {attributes['to']}")
    return needed(inputs, 0).to(_KINDS[attributes["to"]])


def _shape(inputs: Inputs, attributes: Attributes) -> Tensor:
    shape = list(needed(inputs, 0).shape)
    return torch.tensor(shape[attributes.get("start", 0) : attributes.get("end")], dtype=torch.int64)


def _constant(inputs: Inputs, attributes: Attributes) -> Tensor:
    """``ConstantOfShape``."""
    value = torch.tensor(attributes["value"]) if "value" in attributes else torch.zeros(1)
    return value.reshape(()).expand(ints(needed(inputs, 0)))


def _divide(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    left, right = needed(inputs, 0), needed(inputs, 1)
    return left / right if left.is_floating_point() else torch.div(left, right, rounding_mode="trunc")


def _expand(inputs: Inputs, attributes: Attributes) -> Tensor:
    del attributes
    data, shape = needed(inputs, 0), ints(needed(inputs, 1))
    return data * torch.ones(shape, dtype=data.dtype, device=data.device)


def _reduce(how: Callable[..., Tensor]) -> Operator:
    def reduce(inputs: Inputs, attributes: Attributes) -> Tensor:
        require(attributes, noop_with_empty_axes=0)
        data, asked = needed(inputs, 0), given(inputs, 1)
        if how is torch.mean and not data.is_floating_point():
            raise Unsupported("it is the mean of whole numbers")
        axes = attributes.get("axes") if asked is None else ints(asked)
        reduced: Tensor = how(
            data, tuple(axes or range(data.ndim)), keepdim=bool(attributes.get("keepdims", 1))
        )
        return reduced.to(data.dtype)

    return reduce


def _one(how: Callable[[Tensor], Tensor]) -> Operator:
    return lambda inputs, attributes: how(needed(inputs, 0))


def _two(how: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda inputs, attributes: how(needed(inputs, 0), needed(inputs, 1))


def _fold(how: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda inputs, attributes: functools.reduce(how, filter(torch.is_tensor, inputs))


def _spatial(how: Callable[..., Tensor]) -> Operator:
    return lambda inputs, attributes: how(
        needed(inputs, 0), tuple(range(2, needed(inputs, 0).ndim)), keepdim=True
    )


OPERATORS: Final[Mapping[str, Operator]] = {
    "Abs": _one(torch.abs),
    "Add": _two(torch.add),
    "AveragePool": average_pool,
    "BatchNormalization": _normalize_batch,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(
        [value for value in inputs if value is not None], attributes["axis"]
    ),
    "ConstantOfShape": _constant,
    "Conv": convolve,
    "ConvTranspose": functools.partial(convolve, transposed=True),
    "Div": _divide,
    "Dropout": _drop_out,
    "Elu": lambda inputs, attributes: functional.elu(needed(inputs, 0), attributes.get("alpha", 1.0)),
    "Equal": _two(torch.eq),
    "Erf": _one(torch.erf),
    "Exp": _one(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": lambda inputs, attributes: functional.gelu(
        needed(inputs, 0), approximate=attributes.get("approximate", "none")
    ),
    "Gemm": _multiply,
    "GlobalAveragePool": _spatial(torch.mean),
    "GlobalMaxPool": _spatial(torch.amax),
    "Greater": _two(torch.gt),
    "HardSigmoid": lambda inputs, attributes: torch.clamp(
        needed(inputs, 0) * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5), 0.0, 1.0
    ),
    "HardSwish": _one(functional.hardswish),
    "Identity": _one(lambda data: data),
    "LayerNormalization": _normalize_layer,
    "LeakyRelu": lambda inputs, attributes: functional.leaky_relu(
        needed(inputs, 0), attributes.get("alpha", 0.01)
    ),
    "Less": _two(torch.lt),
    "Log": _one(torch.log),
    "MatMul": _two(torch.matmul),
    "Max": _fold(torch.maximum),
    "MaxPool": max_pool,
    "Min": _fold(torch.minimum),
    "Mul": _two(torch.mul),
    "Neg": _one(torch.neg),
    "Pad": _pad,
    "Pow": _raise,
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _one(torch.relu),
    "Reshape": _reshape,
    "Resize": resize,
    "Shape": _shape,
    "Sigmoid": _one(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda inputs, attributes: torch.softmax(needed(inputs, 0), attributes.get("axis", -1)),
    "Split": _split,
    "Sqrt": _one(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _two(torch.sub),
    "Tanh": _one(torch.tanh),
    "Transpose": lambda inputs, attributes: needed(inputs, 0).permute(
        attributes.get("perm", tuple(reversed(range(needed(inputs, 0).ndim))))
    ),
    "Unsqueeze": _unsqueeze,
    "Where": lambda inputs, attributes: torch.where(needed(inputs, 0), needed(inputs, 1), needed(inputs, 2)),
}
"""By name: what takes the inputs (``None`` for those left out) and the attributes, and gives the outputs."""
