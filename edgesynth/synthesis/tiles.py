"""What devices do with channels: they compute whole tiles of them, and of the last a part may idle.

Nine channels take as long as sixteen where kernels work on tiles of eight (tensor cores, vector registers,
the textures of a GPU), so costs climb in steps, which no smooth model of widths has, and which no generator
can draw by that only knows how wide a layer should be about.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from edgesynth.space import Choice, Space, Switch, Width
from edgesynth.synthesis.encoding import Array, Indices

__all__ = ["TileFeatures", "idle"]

_TILES: Final = (8, 16, 32)
"""Channels of one tile, on devices of today."""


def idle(dimension: Width | Switch | Choice) -> Array:
    """How much of the last tile idles at each value of a dimension, centred: ``[values, k]``.

    There is a column for each size of tile of which that differs between the values; of what is no width,
    there is none.
    """
    if not isinstance(dimension, Width):
        return np.empty((len(dimension.values), 0))
    shares = -np.array(dimension.values)[:, None] % np.array(_TILES) / np.array(_TILES)
    centred: Array = shares - shares.mean(0)
    return centred[:, np.ptp(shares, axis=0) > 0]


class TileFeatures:
    """Features of architectures: how much of the last tile of each width idles.

    Attributes:
        group: Of each which group it belongs to, all to one: ``[P]``.

    Args:
        space: The architectures' space.
    """

    def __init__(self, space: Space) -> None:
        columns = [(d, column) for d, dimension in enumerate(space) for column in idle(dimension).T]
        self.group = np.zeros(len(columns), dtype=np.int64)
        self._dimension = np.array([d for d, _ in columns], dtype=np.int64)
        self._table = np.zeros((max(space.cardinalities), len(columns)))
        for number, (_, column) in enumerate(columns):
            self._table[: len(column), number] = column

    def __call__(self, indices: Indices) -> Array:
        """The features ``[n, P]`` of value indices ``[n, D]``."""
        count = len(self.group)
        return self._table.take((indices * count).take(self._dimension, axis=1) + np.arange(count))
