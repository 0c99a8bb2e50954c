"""Bilinear magnification by a whole factor."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["magnified"]


def magnified(x: Tensor, factor: int, like: Tensor) -> Tensor:
    """Magnify ``[batch, channels, h, w]``, corners not aligned; cut it to the height and width of ``like``.

    A factor, instead of the size of ``like``, becomes a constant of the exported network.
    """
    y = F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)
    height, width = like.shape[2:]
    # Only sizes that the strides do not divide leave something over.
    return y if y.shape[2:] == like.shape[2:] else y[:, :, :height, :width]
