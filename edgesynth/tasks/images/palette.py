"""Colours that every kind of colour vision tells apart."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

__all__ = ["class_colours"]

_HUES: Final = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Red, green and blue of 0 to 255: M. Okabe, K. Ito, "Color Universal Design", 2008, without black."""

_GREY: Final = (153, 153, 153)
"""In place of black, which would hide a picture."""


def class_colours(count: int) -> Tensor:
    """The colour of each class by its index alone, uint8 ``[count, 3]``.

    Eight hues that every kind of colour vision tells apart; the next eight classes have them darker, the
    eight after those paler, and from the 25th on they begin again.
    """
    hues = torch.tensor((*_HUES, _GREY), dtype=torch.float32)
    shades = torch.cat([hues, hues * 0.5, (hues + 255) / 2]).round().to(torch.uint8)
    return shades[torch.arange(count) % len(shades)]
