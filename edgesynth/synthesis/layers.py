"""What a device is likely to ask of an architecture: features that are sums over its layers.

The latency of a network is about the sum of what its layers take, and what one takes follows from its shape
in the same way wherever it stands: a device that dislikes channel counts that are no multiples of 8 does so
everywhere. With features of dimensions alone, that would have to be learned of each anew. A Gaussian process
over layers, summed::

    y(N) = sum over layers l of g(l),    g ~ GP(0, k(l, l'))

is one that is linear in the sum of features ``phi`` of the layers, where ``k(l, l') = phi(l) phi(l')``. Of a
Matern kernel of 5/2 they are random cosines (A. Rahimi and B. Recht, Random Features for Large-Scale Kernel
Machines, 2007); the second half of them is weighted by the root of the work of a layer. What is linear in
them is the metric itself, and not its logarithm.

Beside the waves stand a few plain sums: how many layers there are, and their work, of all and of those kinds
that kernels treat apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgesynth.synthesis.encoding import Array, Indices

__all__ = ["RATES", "SUMS", "LayerFeatures", "LayerSizes"]

LayerSizes: TypeAlias = tuple[NDArray[np.int64], NDArray[np.bool_]]
"""Sizes ``[n, L, 3]`` of layers that multiply, and which are there, ``[n, L]``. Sizes are output channels,
input channels of one group, and how often such a pair is multiplied."""

SUMS: Final = frozenset({"latency_ms", "latency_p90_ms", "latency_p99_ms", "energy_mj"})
"""Metrics that are about sums over layers."""
RATES: Final = frozenset({"throughput_ips", "inferences_per_joule", "inferences_per_joule_dynamic"})
"""Metrics that are about one over such a sum."""

_WAVES: Final = 64
_FREEDOM: Final = 5
_LENGTH: Final = 4.5
_WEIGHTS: Final = (10.0, 1.5)
"""How long waves, and plain sums, of networks as they come are; two ends of a dimension are 1 apart."""
_LEAST_LENGTH: Final = 1e-3
"""Of features that hardly differ between networks as they come: others may differ in them."""
_OCTAVES: Final = 1.2
"""Octaves that are one unit of distance: channel counts of a network differ by a few."""
_LANES: Final = ((4, 1.0), (8, 0.5), (16, 0.5))
"""Multiples of channels that devices like, and how far apart it sets layers whether they are such."""
_TILE: Final = 16
_LANE: Final = 4
_PLAIN: Final = 10
_PLACES: Final = 7 + 2 + 2 * len(_LANES)


class LayerFeatures:
    """Features of architectures that are sums over their layers.

    Attributes:
        width: How many there are.
        group: Of each which group it belongs to, ``[width]``.

    Args:
        sizes_of: The layers of value indices ``[n, D]``.
        sample: Value indices ``[n, D]`` of networks as they come, whose features have mean 0.
    """

    width: Final = 2 * _WAVES + _PLAIN
    group: Final = np.concatenate([np.repeat([0, 1], _WAVES), 2 + np.arange(_PLAIN)])

    def __init__(self, sizes_of: Callable[[Indices], LayerSizes], sample: Indices) -> None:
        self._sizes_of = sizes_of
        rng = np.random.default_rng(0)
        # The spectrum of a Matern kernel is a t distribution.
        spread = np.sqrt(rng.chisquare(_FREEDOM, _WAVES) / _FREEDOM)
        self._waves = rng.standard_normal((_PLACES, _WAVES)) / (_LENGTH * spread)
        self._phases = rng.uniform(0.0, 2.0 * np.pi, _WAVES)
        self._centre, self._scale = np.zeros(self.width), np.ones(self.width)
        self._most = float(sizes_of(sample)[0].prod(2).max(initial=1))
        summed = self(sample)
        self._centre = summed.mean(0)
        squares = np.bincount(self.group, summed.var(0))
        lengths = np.maximum(np.sqrt(squares), _LEAST_LENGTH)
        self._scale = np.where(self.group < 2, *_WEIGHTS) / lengths[self.group]

    def __call__(self, indices: Indices) -> Array:
        """The features ``[n, width]`` of value indices ``[n, D]``."""
        sizes, present = self._sizes_of(indices)
        flat = sizes.reshape(-1, 3)
        # Few layers are different: how many of each kind there are, times what that kind has.
        _, into, often = flat.max(axis=0, initial=0) + 1
        number = (flat[:, 0] * into + flat[:, 1]) * often + flat[:, 2]
        _, first, kind = np.unique(number, return_index=True, return_inverse=True)
        row = np.repeat(np.arange(len(sizes)) * len(first), sizes.shape[1])
        counts = np.bincount(row + kind, present.ravel(), len(sizes) * len(first))
        summed = counts.reshape(len(sizes), len(first)) @ self._single(flat[first])
        features: Array = (summed - self._centre) * self._scale
        return features

    def _single(self, sizes: NDArray[np.int64]) -> Array:
        """The features of single layers, ``[m, width]``, of sizes ``[m, 3]``."""
        waves = np.cos(_describe(sizes) @ self._waves + self._phases)
        work = np.sqrt(sizes.prod(1) / self._most)[:, None]
        return np.hstack([waves, waves * work, _plain(sizes, self._most)])


def _plain(sizes: NDArray[np.int64], most: float) -> Array:
    """That it is one, and its work over the most there is; both again where it is of a kind: ``[m, 10]``."""
    out, into, often = sizes.T
    tiled_out, tiled_into = (-(-channels // _TILE) * _TILE for channels in (out, into))
    few = into < _TILE
    # What is no multiple of a lane takes another kernel, unless it is too few for a tile anyway.
    kinds = [few, (into % _LANE != 0) & ~few, out % _LANE != 0]
    ones = np.stack([np.ones_like(few), *kinds], axis=1)
    work = [column * out * into * often for column in ones.T]
    tiled = [tiled_out * into * often, tiled_out * tiled_into * often]
    return np.hstack([ones, np.stack([*work, *tiled], axis=1) / most])


def _describe(sizes: NDArray[np.int64]) -> Array:
    """Where layers of sizes ``[m, 3]`` lie among all layers, ``[m, _PLACES]``."""
    channels, often = sizes[:, :2], sizes[:, 2:]
    # Kernels work on whole tiles of channels.
    tiled = -(-channels // _TILE) * _TILE
    work = [part.prod(1, keepdims=True) * often for part in (channels, tiled)]
    logs = np.log2(np.hstack([sizes, tiled, *work])) / _OCTAVES
    lanes = [weight * (channels % lane == 0) for lane, weight in _LANES]
    return np.hstack([logs, channels < _TILE, *lanes])
