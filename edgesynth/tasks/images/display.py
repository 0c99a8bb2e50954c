"""What a network read, as a picture again."""

from __future__ import annotations

import torch
from torch import Tensor

from edgesynth.tasks.normalization import Normalization

__all__ = ["pictures"]


def pictures(inputs: Tensor, normalization: Normalization | None) -> Tensor | None:
    """Normalised samples as pictures, uint8 ``[batch, 3, height, width]``.

    Args:
        inputs: ``[batch, channels, height, width]``; grey pictures become three equal channels.
        normalization: What was done to them.

    Returns:
        ``None`` where samples have not one or three channels of pixels.
    """
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3):
        return None
    stored = normalization.undone(inputs) if normalization is not None else inputs.float()
    # Values of 8 bits come back as 8 bits; anything else is shown from its least to its greatest.
    if normalization is None or normalization.scale == 1.0:
        low, high = stored.amin((1, 2, 3), keepdim=True), stored.amax((1, 2, 3), keepdim=True)
        stored = 255 * (stored - low) / (high - low).clamp_min(1e-12)
    return stored.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)
