"""Channels-last kernels: up to twice as fast on a CPU, once a crash in them has been walked around."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["as_channels_last", "channels_last_kernels", "has_images"]

_CONV2D = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


def has_images(module: nn.Module) -> bool:
    """Whether a network has 2-d convolutions, so that channels-last is worth anything."""
    return any(isinstance(part, nn.Conv2d) for part in module.modules())


def as_channels_last(tensor: Tensor) -> Tensor:
    """The same values with channels innermost in memory, where there are four axes."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


@contextlib.contextmanager
def channels_last_kernels() -> Iterator[None]:
    """Make it safe to train channels-last networks inside.

    The CPU kernels of oneDNN write out of bounds in the backward pass of a channels-last 1x1
    convolution with a stride that reads a number of channels that is not a multiple of 16 (seen with
    torch 2.13 on two threads as segmentation faults). Narrow slices of residual networks have such
    convolutions in their shortcuts. Inside, they read every ``stride``-th pixel first and then
    convolve with stride 1, which computes the same.
    """
    with _SteppedPointwise():
        yield


class _SteppedPointwise(TorchFunctionMode):
    """Turns a strided 1x1 convolution into a strided read and a plain 1x1 convolution."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        if func is not torch.conv2d:
            return func(*args, **(kwargs or {}))
        call = dict(zip(_CONV2D, args, strict=False)) | dict(kwargs or {})
        stride, padding = _pair(call.get("stride", 1)), call.get("padding", 0)
        pointwise = call["weight"].shape[2:] == (1, 1) and padding != "same" and _pair(padding) == (0, 0)
        if pointwise and stride != (1, 1) and call["input"].ndim == 4:
            call["input"] = as_channels_last(call["input"][:, :, :: stride[0], :: stride[1]])
            call["stride"] = 1
        return func(**call)


def _pair(value: Any) -> tuple[int, ...]:  # noqa: ANN401 - an int or a sequence of them, as torch takes it
    if isinstance(value, int):
        return (value, value)
    return (0, 0) if value == "valid" else tuple(value) * (2 // len(value))
