"""Colours that every kind of colour vision tells apart."""

from __future__ import annotations

from typing import Final

__all__ = ["HUES"]

HUES: Final = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Red, green and blue of 0 to 255: M. Okabe, K. Ito, "Color Universal Design", 2008, without black."""
