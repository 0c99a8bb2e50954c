"""Architectures as tensors: one-hot choices, and the features that surrogates see.

The padded one-hot form has shape ``[n, D, V]`` (dimensions, most values of any dimension) and may be
*relaxed* to probabilities. Features are linear in it, so every surrogate is differentiable in a
relaxed architecture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesynth.space import Architecture, Choice, Space, Switch, Value, Width

__all__ = ["Encoding", "Indices", "distinct", "keys", "mutate"]

Indices = NDArray[np.int64]

_FREE_LOGITS: Final = 4


class Encoding:
    """Fixed linear maps between a space's choices, policy logits and surrogate features.

    Attributes:
        space: The space.
        counts: Choices per dimension, ``[D]``.
        legal: Which slots of the padded form are choices, ``[D, V]`` bool.
        projection: Padded one-hot to features, ``[D * V, P]``. An unordered dimension gives one column
            per option, an ordered one its place on a linear and on a logarithmic scale; any two
            extremes of one dimension are at squared distance 1.
        owner: The dimension each feature belongs to, ``[P]``.
        centre: The mean features of the space, ``[P]``; subtracted from every feature.
        basis: Policy outputs to padded logits, ``[Q, D * V]``. A dimension of many ordered values has
            three outputs (slope, curvature, skew over its range), so that what is learned of one
            width holds for its neighbours; any other has one output per choice.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.counts: Indices = np.array(space.cardinalities, dtype=np.int64)
        dims, slots = len(space), int(self.counts.max())
        self.legal = torch.from_numpy(np.arange(slots)[None, :] < self.counts[:, None])
        columns: list[Tensor] = []
        owners: list[int] = []
        outputs: list[Tensor] = []
        for index, dimension in enumerate(space):
            features, logits = _features(dimension), _logits(dimension)
            for table, rows in ((features, columns), (logits, outputs)):
                for column in table.T:
                    padded = torch.zeros(dims, slots, dtype=torch.float64)
                    padded[index, : len(column)] = column
                    rows.append(padded.flatten())
            owners.extend([index] * features.shape[1])
        self.projection = torch.stack(columns, dim=1)
        self.owner = torch.tensor(owners)
        self.basis = torch.stack(outputs)
        centre = (self.legal / self.legal.sum(1, keepdim=True)).to(torch.float64)
        self.centre = centre.flatten() @ self.projection
        # A feature sees one dimension only: its centred value by the choice there, [V, P].
        table = self.projection.view(dims, slots, -1)[self.owner, :, torch.arange(len(self.owner))]
        self._table = (table - self.centre[:, None]).T.contiguous()

    def onehot(self, indices: Indices | Tensor) -> Tensor:
        """Value indices ``[n, D]`` to padded one-hot ``[n, D, V]``."""
        chosen = torch.as_tensor(indices)
        onehot: Tensor = torch.nn.functional.one_hot(chosen, self.legal.shape[1]).to(torch.float64)
        return onehot

    def features(self, onehot: Tensor) -> Tensor:
        """Padded one-hot or probabilities ``[n, D, V]`` to features ``[n, P]``, centred over the space."""
        return onehot.flatten(1) @ self.projection - self.centre

    def embed(self, indices: Indices) -> Tensor:
        """The features ``[n, P]`` of value indices ``[n, D]``."""
        return self._table.gather(0, torch.from_numpy(indices)[:, self.owner])

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
        out: list[Indices] = []
        for d, dimension in enumerate(self.space):
            count = int(self.counts[d])
            if isinstance(dimension, Choice) or count <= 2 * _FREE_LOGITS:
                shifts = np.arange(1, count)
                moved = (indices[:, d, None] + shifts) % count
                keep = np.ones_like(moved, dtype=bool)
            else:
                steps = np.unique([1, max(1, count // 8), max(1, count // 3)])
                moved = indices[:, d, None] + np.concatenate([-steps, steps])
                keep = (moved >= 0) & (moved < count)
            rows, cols = np.nonzero(keep)
            block = indices[rows].copy()
            block[:, d] = moved[rows, cols]
            out.append(block)
        return np.concatenate(out) if out else indices[:0]


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


def _features(dimension: Width | Switch | Choice) -> Tensor:
    count = len(dimension.values)
    if isinstance(dimension, Choice):
        return torch.eye(count, dtype=torch.float64) * math.sqrt(0.5)
    if count == 1:
        return torch.zeros(1, 1, dtype=torch.float64)
    if isinstance(dimension, Switch):
        return torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    values = torch.tensor([float(value) for value in dimension.values], dtype=torch.float64)
    scales = [(scale - scale[0]) / (scale[-1] - scale[0]) for scale in (values, values.log())]
    return torch.stack(scales, dim=1) * math.sqrt(0.5)


def _logits(dimension: Width | Switch | Choice) -> Tensor:
    count = len(dimension.values)
    if isinstance(dimension, Choice) or count <= _FREE_LOGITS:
        return torch.eye(count, dtype=torch.float64)
    t = torch.linspace(-1.0, 1.0, count, dtype=torch.float64)
    return torch.stack([3.0 * t, 3.0 * t.square(), 3.0 * t**3], dim=1)
