"""Axis sizes of a network as functions of what it keeps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import fx

from edgesynth.graph.couplings import Couplings

__all__ = ["AxisTable"]


class AxisTable:
    """Every axis of every tensor as an affine function of kept units per stratum."""

    def __init__(self, couplings: Couplings) -> None:
        dimensions = couplings.dimensions
        self._trace, self._labels = couplings.trace, couplings.labels
        offsets = np.cumsum([0, *(max(d.strata) + 1 for d in dimensions.all)])
        self._strata = int(offsets[-1])
        self._stratum = np.full(len(dimensions.dimension_of), -1, dtype=np.int64)
        for d, dimension in enumerate(dimensions.all):
            mine = dimensions.dimension_of == d
            self._stratum[mine] = offsets[d] + np.array(dimension.strata)[dimensions.unit_of[mine]]
        self.per_stratum = np.array(
            [d.strata.count(s) for d in dimensions.all for s in range(max(d.strata) + 1)], dtype=np.int64
        )
        self._constant: list[int] = [1]
        self._slopes: list[NDArray[np.int64]] = [np.zeros(self._strata, dtype=np.int64)]
        self._known: dict[tuple[int, bytes], int] = {(1, self._slopes[0].tobytes()): 0}
        self._by_node: dict[fx.Node, list[list[int]]] = {}
        self._table: NDArray[np.int64] | None = None

    def sizes(self, kept: NDArray[np.int64]) -> NDArray[np.int64]:
        """Size of every axis, shape ``[..., axes]``, for kept units ``[..., strata]``."""
        if self._table is None or len(self._table) != len(self._slopes):
            self._table = np.stack(self._slopes)
            self._base = np.array(self._constant, dtype=np.int64)
        return self._base + kept @ self._table.T

    def constant(self, size: int) -> int:
        """Axis of a fixed size."""
        return self._axis(size, np.zeros(self._strata, dtype=np.int64))

    def tensor(self, node: fx.Node) -> list[int]:
        """Axes of a node's (first) tensor, the batch counted once."""
        return self.tensors(node)[0]

    def tensors(self, node: fx.Node) -> list[list[int]]:
        """Axes of every tensor of a node."""
        if node not in self._by_node:
            batch = self._trace.batch
            self._by_node[node] = [
                [
                    self.constant(size // batch)
                    if axis in self._trace.merged_batch[node] or axis == self._trace.batch_axis[node]
                    else self._labelled(size, value.labels.get(axis))
                    for axis, size in enumerate(value.shape)
                ]
                for value in self._labels.values.get(node, ())
            ]
        return self._by_node[node]

    def _labelled(self, size: int, atoms: NDArray[np.int64] | None) -> int:
        if atoms is None:
            return self.constant(size)
        strata = self._stratum[atoms]
        counts = np.bincount(strata[strata >= 0], minlength=self._strata).astype(np.int64)
        # Units of one stratum occur equally often, so the division is exact.
        return self._axis(int((strata < 0).sum()), counts // np.maximum(self.per_stratum, 1))

    def _axis(self, constant: int, slope: NDArray[np.int64]) -> int:
        key = (constant, slope.tobytes())
        if key not in self._known:
            self._known[key] = len(self._constant)
            self._constant.append(constant)
            self._slopes.append(slope)
        return self._known[key]
