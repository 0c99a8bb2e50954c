"""Which networks may run channels-last: faster convolutions on most, a crash on some."""

from __future__ import annotations

from torch import nn

__all__ = ["channels_last_is_safe"]

_BLOCK = 16


def channels_last_is_safe(module: nn.Module) -> bool:
    """Whether a network's convolutions can be trained with channels innermost.

    The CPU kernels of oneDNN write out of bounds in the backward pass of a channels-last 1x1
    convolution with a stride that reads a number of channels that is not a multiple of 16 (seen with
    torch 2.13 on two threads: segmentation faults). Narrow slices of residual networks have such
    convolutions in their shortcuts.

    Returns:
        False as well when there is no 2-d convolution, and so nothing to gain.
    """
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    return bool(convolutions) and not any(
        part.kernel_size == (1, 1) and max(part.stride) > 1 and part.in_channels % _BLOCK
        for part in convolutions
    )
