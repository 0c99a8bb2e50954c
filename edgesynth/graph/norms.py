"""Normalisation over the kept channels of a full-size signal."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["masked_group_norm", "masked_layer_norm"]


def masked_layer_norm(
    x: Tensor,
    mask: Tensor,
    trailing: int,
    *,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float | None,
    centred: bool,
) -> Tensor:
    """Layer norm (or RMS norm, if not ``centred``) with statistics over the entries the mask keeps.

    Args:
        x: Signal of any shape.
        mask: One for kept entries, zero for dropped; broadcasts to ``x``.
        trailing: How many of the last axes are normalised over.
        weight: Scale of the trailing shape.
        bias: Shift of the trailing shape.
        eps: Added to the variance; None is the machine epsilon, as for RMS norm.
        centred: Whether the mean is subtracted.
    """
    axes = tuple(range(-trailing, 0))
    weights = mask.expand(x.shape)
    count = weights.sum(axes, keepdim=True).clamp_min(1)
    mean = (x * weights).sum(axes, keepdim=True) / count if centred else torch.zeros_like(count)
    variance = ((x - mean).square() * weights).sum(axes, keepdim=True) / count
    y = (x - mean) * (variance + (torch.finfo(x.dtype).eps if eps is None else eps)).rsqrt()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def masked_group_norm(
    x: Tensor, mask: Tensor, groups: int, *, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Group norm with statistics over the channels the mask keeps.

    Args:
        x: Signal ``[batch, channels, *space]``.
        mask: One for kept channels, zero for dropped, shape ``[1, channels, 1, ...]``.
        groups: Number of groups of the full network.
        weight: Scale ``[channels]``.
        bias: Shift ``[channels]``.
        eps: Added to the variance.
    """
    grouped = (x.shape[0], groups, x.shape[1] // groups, -1)
    kept = mask.expand(x.shape).reshape(grouped)
    y = masked_layer_norm(x.reshape(grouped), kept, 2, weight=None, bias=None, eps=eps, centred=True)
    y = y.reshape(x.shape)
    shape = (1, -1, *[1] * (x.ndim - 2))
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)
