"""Architectures as arrays: indices of their values, and the features that surrogates see.

Per-choice tables are padded: ``[D, V]`` (dimensions, most values of any dimension).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.space import Architecture, Choice, Space, Switch, Value, Width

__all__ = ["FEW", "Array", "Encoding", "Indices", "distinct", "first_rows", "keys", "mutate"]

Indices = NDArray[np.int64]
Array = NDArray[np.float64]

FEW: Final = 8
"""So many values of an ordered dimension are told apart, like options, where more are places on a scale."""


class Encoding:
    """Fixed linear maps from a space's choices to features.

    Attributes:
        space: The space.
        counts: Choices per dimension, ``[D]``.
        legal: Which slots of the padded form are choices, ``[D, V]`` bool.
        owner: The dimension each feature belongs to, ``[P]``, in ascending order.
        table: Features by the choice in their dimension, ``[V, P]``, centred over the space. An unordered
            dimension gives one feature per option, an ordered one its place on a linear and on a
            logarithmic scale; any two extremes of one dimension are at squared distance 1.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.counts: Indices = np.array(space.cardinalities, dtype=np.int64)
        slots = int(self.counts.max())
        self.legal = np.arange(slots)[None, :] < self.counts[:, None]
        columns: list[Array] = []
        owners: list[int] = []
        for index, dimension in enumerate(space):
            features = _features(dimension)
            centred = features - np.full(len(features), 1 / len(features)) @ features
            columns.extend(np.pad(centred, ((0, slots - len(features)), (0, 0))).T)
            owners.extend([index] * features.shape[1])
        self.table = np.stack(columns, axis=1)
        self.owner: Indices = np.array(owners)
        self._moves = _Moves.of(space)

    def embed(self, indices: Indices) -> Array:
        """The features ``[n, P]`` of value indices ``[n, D]``."""
        columns = np.arange(len(self.owner))
        # Places in the table as one row: taking from that is twice as fast as indexing rows and columns.
        return self.table.take((indices * len(columns)).take(self.owner, axis=1) + columns)

    def indices(self, architectures: Sequence[Mapping[str, Value]]) -> Indices:
        """Architectures to value indices ``[n, D]``."""
        if not architectures:
            return np.empty((0, len(self.space)), dtype=np.int64)
        return np.stack([self.space.encode(architecture) for architecture in architectures])

    def architectures(self, indices: Indices) -> list[Architecture]:
        """Value indices ``[n, D]`` to architectures."""
        return [self.space.decode(row) for row in indices]

    def neighbours(self, indices: Indices) -> Indices:
        """Every architecture that differs from one of ``[n, D]`` in one dimension.

        Unordered dimensions and those of few values try every other choice; long ordered ones step by
        one, and by an eighth and a third of their range.
        """
        moved = indices[:, self._moves.dimension] + self._moves.shift
        moved = np.where(self._moves.wraps, moved % self._moves.count, moved)
        rows, moves = np.nonzero((moved >= 0) & (moved < self._moves.count))
        near = indices[rows]
        near[np.arange(len(rows)), self._moves.dimension[moves]] = moved[rows, moves]
        return near


@dataclass(frozen=True)
class _Moves:
    """Every way to change one dimension, each ``[M]``.

    Attributes:
        dimension: Which one.
        shift: Added to the index of its value.
        count: How many values it has.
        wraps: Whether the first follows on the last.
    """

    dimension: Indices
    shift: Indices
    count: Indices
    wraps: NDArray[np.bool_]

    @classmethod
    def of(cls, space: Space) -> _Moves:
        """The moves of :meth:`Encoding.neighbours`."""
        moves: list[tuple[int, int, int, bool]] = []
        for index, dimension in enumerate(space):
            count = len(dimension.values)
            wraps = isinstance(dimension, Choice) or count <= FEW
            steps = sorted({1, max(1, count // 8), max(1, count // 3)})
            shifts = range(1, count) if wraps else [-step for step in steps] + steps
            moves.extend((index, shift, count, wraps) for shift in shifts)
        columns = np.array(moves, dtype=np.int64).reshape(-1, 4).T
        return cls(columns[0], columns[1], columns[2], columns[3].astype(bool))


def first_rows(indices: Indices) -> dict[bytes, int]:
    """The first row at which each of the distinct rows of ``[n, D]`` stands, by its key."""
    return dict(zip(reversed(keys(indices)), reversed(range(len(indices))), strict=True))


def keys(indices: Indices) -> list[bytes]:
    """A hashable key per row of value indices ``[n, D]``, the same as the row's ``tobytes()``."""
    if not indices.size:
        return [b""] * len(indices)
    rows = np.ascontiguousarray(indices)
    found: list[bytes] = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0].tolist()
    return found


def distinct(indices: Indices) -> int:
    """How many rows of value indices ``[n, D]`` differ."""
    return len(set(keys(indices)))


def mutate(encoding: Encoding, parents: Indices, rng: np.random.Generator) -> Indices:
    """Change each parent ``[n, D]`` in one dimension, or a few: half the time by one step."""
    count, dims = parents.shape
    changes = rng.random((count, dims)) < rng.choice([0.0, 1.0, 2.0], (count, 1)) / dims
    changes[np.arange(count), rng.integers(0, dims, count)] = True
    fresh = (rng.random(parents.shape) * encoding.counts).astype(np.int64)
    step = (parents + rng.choice([-1, 1], parents.shape)) % encoding.counts
    return np.where(changes, np.where(rng.random(parents.shape) < 0.5, fresh, step), parents)


def _features(dimension: Width | Switch | Choice) -> Array:
    count = len(dimension.values)
    if isinstance(dimension, Choice):
        return np.eye(count) * math.sqrt(0.5)
    if count == 1:
        return np.zeros((1, 1))
    if isinstance(dimension, Switch):
        return np.array([[0.0], [1.0]])
    values = np.array([float(value) for value in dimension.values])
    scales = [(scale - scale[0]) / (scale[-1] - scale[0]) for scale in (values, np.log(values))]
    return np.stack(scales, axis=1) * math.sqrt(0.5)
