"""Pictures turned by quarters: seen from straight above, or through a microscope, no side is up."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["quarter_turns", "turned"]


def quarter_turns(images: Tensor, generator: torch.Generator) -> Tensor:
    """How many quarters to turn each image by, counter-clockwise: ``[batch]``, 0 to 3.

    Args:
        images: ``[batch, channels, height, width]``; those that are not square are only turned by halves.
        generator: Decides.
    """
    step = 1 if images.shape[-2] == images.shape[-1] else 2
    return step * torch.randint(4 // step, (len(images),), generator=generator)


def turned(images: Tensor, quarters: Tensor) -> Tensor:
    """Images or masks ``[batch, ..., height, width]``, each turned by its number of quarters."""
    result = torch.empty_like(images)
    for turns in set(quarters.tolist()):
        chosen = quarters == turns
        result[chosen] = images[chosen].rot90(turns, (-2, -1))
    return result
