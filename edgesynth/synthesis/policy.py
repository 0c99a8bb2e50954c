"""The policy of the generator ``G(s; theta_G)`` (arXiv 1809.05989, eq. 1): seeds in, architectures out.

A small masked net (M. Germain et al., "MADE", arXiv 1502.03509) turns the requirement vector and the
choices made so far into logits over the next dimension's choices. Because every choice sees the earlier
ones, a family can trade one width for another and still stay inside a budget, which independent choices
cannot.

A seed stands for a point of 0..1, and the policy divides 0..1 among all architectures, each as much as it is
likely, as arithmetic coding does: the seed's architecture is the one whose part holds its point (L. Vilnis et
al., "Arithmetic Sampling", ICML 2023). Points of seeds in a row are spread evenly, so a hundred of them are
a hundred different architectures far more often than a hundred dice, and every architecture still comes as
often as the policy says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgesynth.errors import InputError
from edgesynth.space import Architecture, Choice, Switch, Width
from edgesynth.synthesis.checks import whole
from edgesynth.synthesis.encoding import FEW, Array, Encoding, Indices
from edgesynth.synthesis.tiles import idle

__all__ = ["Likelihood", "Policy"]

_HIDDEN: Final = 128
_SMOOTH: Final = 3.0
"""How large outputs of a long ordered dimension become in its logits."""
_FEW_BEFORE: Final = 4
"""What :data:`FEW` was before there were tiles."""
_ILLEGAL: Final = -1e9
_GOLDEN: Final = 0x9E3779B97F4A7C15
"""The golden section of 2**64: its multiples in a row leave no gap and crowd nowhere."""
_SPENT: Final = 2.0**-24
"""A part of 0..1 this small holds few of any seeds: a code is told apart to 2**-53 only."""


@dataclass(frozen=True)
class Likelihood:
    """How likely a policy makes some choices, and everything its gradient is made of.

    Attributes:
        log_p: Logarithm of the probability of each row at temperature 1, ``[n]``.
        features: Of the choices, ``[n, P]``.
        bounds: Requirement vectors ``[n, R]``.
        before: Inputs of the hidden units ``[H, n]``.
        gate: Their sigmoids ``[H, n]``.
        surprise: The slope of ``log_p`` in the outputs, ``[Q, n]``: of each choice, one less its probability.
    """

    log_p: Array
    features: Array
    bounds: Array
    before: Array
    gate: Array
    surprise: Array


class Policy:
    """The policy part of the generator.

    A dimension of more than 8 ordered values has outputs for slope, curvature and skew over its range and
    for the tiles that its values fill, so that what is learned of one width holds for its neighbours, and
    for those that fill their tiles as well; any other has one output per choice.

    Attributes:
        theta: All parameters as one vector, so that learning reads ``theta = theta + delta``.
        noise: The temperature of the choices: 1 samples the policy, 0 takes its likeliest choices.
        tiled: As given.

    Args:
        encoding: The space's encoding.
        bounds: Length of the requirement vector.
        seed: Seed of the initial parameters.
        tiled: As above; without, as earlier versions were, tiles have no outputs, and more than 4 values are
            many.
    """

    def __init__(self, encoding: Encoding, bounds: int, seed: int = 0, *, tiled: bool = True) -> None:
        self.encoding = encoding
        self.bounds = bounds
        self.tiled = tiled
        self.noise = 0.9
        # By dimension, from outputs to the logits of its choices: [outputs, choices].
        self._bases = [np.ascontiguousarray(_logits(dimension, tiled).T) for dimension in encoding.space]
        dims = len(self._bases)
        # An output moves the logits of one dimension; a hidden unit of degree d sees the first d.
        settles = np.repeat(np.arange(dims), [len(basis) for basis in self._bases])
        features, outputs = len(encoding.owner), len(settles)
        degree = np.arange(_HIDDEN) % max(1, dims - 1) + 1
        self._masks = (
            encoding.owner[:, None] < degree[None, :],
            degree[:, None] <= settles[None, :],
            encoding.owner[:, None] < settles[None, :],
        )
        self._shapes = (
            (features, _HIDDEN),
            (_HIDDEN, outputs),
            (features, outputs),
            (bounds, _HIDDEN),
            (bounds, outputs),
            (_HIDDEN,),
            (outputs,),
        )
        self._sizes = np.cumsum([math.prod(shape) for shape in self._shapes])[:-1]
        self._order = degree.argsort(kind="stable")
        # By dimension: how many hidden units it settles, and its own features and outputs.
        every = np.arange(dims)
        self._settled = np.searchsorted(degree[self._order], every, side="right").tolist()
        self._features, self._outputs = (
            [slice(*ends) for ends in np.searchsorted(column, [every, every + 1]).T.tolist()]
            for column in (encoding.owner, settles)
        )
        rng = np.random.default_rng([seed, 1])
        scales = (1.0, 0.1 / math.sqrt(_HIDDEN), 0.0, 0.3, 0.0, 1.0, 0.0)
        parts = [
            s * rng.standard_normal(shape).ravel() for s, shape in zip(scales, self._shapes, strict=True)
        ]
        self.theta: Array = np.concatenate(parts)

    def likelihood(self, indices: Indices, bounds: Array, theta: Array) -> Likelihood:
        """How likely choices ``[n, D]`` are under parameters.

        Args:
            indices: Value indices.
            bounds: Requirement vectors ``[n, R]``.
            theta: The parameters.
        """
        features = self.encoding.embed(indices)
        w1, w2, skip, bound1, bound2, b1, b2 = self._unpack(theta)
        before = w1.T @ features.T + (bounds @ bound1 + b1).T
        gate = _sigmoid(before)
        out = w2.T @ (before * gate) + skip.T @ features.T + (bounds @ bound2 + b2).T
        log_p, surprise, rows = np.zeros(len(indices)), np.empty_like(out), np.arange(len(indices))
        # One dimension at a time: padded to the longest, most of a long space would be padding.
        for outputs, basis, chosen in zip(self._outputs, self._bases, indices.T, strict=True):
            share = basis.T @ out[outputs]
            share -= share.max(0)
            log_p += share[chosen, rows]
            np.exp(share, out=share)
            total = share.sum(0)
            log_p -= np.log(total)
            share /= total
            surprise[outputs] = basis[:, chosen] - basis @ share
        return Likelihood(log_p, features, bounds, before, gate, surprise)

    def gradient(self, likelihood: Likelihood, weight: Array, theta: Array) -> Array:
        """The gradient of ``sum(weight * log_p)`` in ``theta``, in closed form.

        Args:
            likelihood: Of some choices under ``theta``.
            weight: One per row, ``[n]``.
            theta: The parameters.
        """
        _, w2, *_ = self._unpack(theta)
        before, gate = likelihood.before, likelihood.gate
        features, bounds = likelihood.features, likelihood.bounds
        hidden = before * gate
        out = likelihood.surprise * weight
        # silu'(x) = s(x) (1 + x (1 - s(x)))
        slope = (w2 @ out) * gate * (1.0 + before - hidden)
        parts = [(slope @ features).T, hidden @ out.T, (out @ features).T]
        parts = [part * mask for part, mask in zip(parts, self._masks, strict=True)]
        parts += [(slope @ bounds).T, (out @ bounds).T, slope.sum(1), out.sum(1)]
        return np.concatenate([part.ravel() for part in parts])

    def draw(
        self,
        gumbel: Array,
        bounds: Array,
        theta: Array | None = None,
        codes: Array | None = None,
        noise: float | None = None,
    ) -> tuple[Indices, Array]:
        """Settle one dimension after another.

        Args:
            gumbel: Standard Gumbel noise ``[n, D, V]``.
            bounds: Requirement vectors ``[n, R]``.
            theta: Other parameters than the present ones.
            codes: Points of 0..1 to decode, ``[n]``; noise alone settles every choice without them, and what
                is left once a code is used up.
            noise: The temperature; by default :attr:`noise`.

        Returns:
            Value indices ``[n, D]``, and the noisy logits ``[n, D, V]`` that settled them.
        """
        w1, w2, skip, bound1, bound2, b1, b2 = self._unpack(self.theta if theta is None else theta)
        encoding = self.encoding
        dims, slots = encoding.legal.shape
        # A hidden unit is settled by the first dimensions; in the order of their degrees, each is so once.
        into_hidden, into_output, w2 = w1[:, self._order].T, skip.T, w2[self._order].T
        before = ((bounds @ bound1 + b1)[:, self._order]).T.copy()
        direct = (bounds @ bound2 + b2).T.copy()
        hidden = np.empty_like(before)
        chosen = np.zeros((dims, len(gumbel)), dtype=np.int64)
        noisy = np.full((dims, slots, len(gumbel)), _ILLEGAL)
        noise = self.noise if noise is None else noise
        code = None if codes is None or not noise else _Code(codes)
        known = 0
        for d in range(dims):
            settled, inputs, outputs = self._settled[d], self._features[d], self._outputs[d]
            hidden[known:settled] = before[known:settled] * _sigmoid(before[known:settled])
            known = settled
            out = w2[outputs, :known] @ hidden[:known] + direct[outputs]
            count = encoding.counts[d]
            logits, dice = self._bases[d].T @ out, gumbel[:, d, :count].T
            if code is not None:
                dice = code.settle(logits / noise, dice)
            noisy[d, :count] = logits + noise * dice
            chosen[d] = noisy[d, :count].argmax(0)
            features = encoding.table[chosen[d], inputs].T
            before[known:] += into_hidden[known:, inputs] @ features
            direct[outputs.stop :] += into_output[outputs.stop :, inputs] @ features
        return np.ascontiguousarray(chosen.T), noisy.transpose(2, 0, 1)

    def sample(
        self, bounds: Array, rng: np.random.Generator, theta: Array | None = None
    ) -> tuple[Indices, Likelihood]:
        """Value indices ``[n, D]`` by the probabilities of :meth:`likelihood`, which is given as well.

        Args:
            bounds: Requirement vectors ``[n, R]``.
            rng: Decides.
            theta: Other parameters than the present ones.
        """
        theta = self.theta if theta is None else theta
        drawn, _ = self.draw(self.imagine(len(bounds), rng), bounds, theta, noise=1.0)
        return drawn, self.likelihood(drawn, bounds, theta)

    def imagine(self, count: int, rng: np.random.Generator) -> Array:
        """Gumbel noise ``[n, D, V]`` distributed as that of real seeds."""
        return self._gumbel(rng.random((count, *self.encoding.legal.shape)))

    def seeded(self, seeds: Sequence[int]) -> Array:
        """The Gumbel noise ``[n, D, V]`` of real seeds.

        Each seed keys its own counter-based stream (Philox), so a seed means the same on every
        machine, alone or in any batch.

        Raises:
            InputError: A seed is no integer, negative, or does not fit 64 bits.
        """
        uniform = np.empty((len(seeds), *self.encoding.legal.shape))
        for row, seed in enumerate(map(_checked, seeds)):
            uniform[row] = np.random.Generator(np.random.Philox(key=seed)).random(uniform.shape[1:])
        return self._gumbel(uniform)

    def choose(
        self,
        seeds: Sequence[int],
        bounds: Sequence[float] | Array,
        theta: Array | None = None,
        warmth: float = 1.0,
    ) -> tuple[Indices, Array]:
        """Value indices ``[n, D]`` of these seeds under one requirement vector, and their noisy logits.

        Args:
            seeds: Any integers in 0 .. 2**64 - 1.
            bounds: The requirement vector.
            theta: Other parameters than the present ones.
            warmth: How many times higher the temperature is than :attr:`noise`.

        Raises:
            InputError: A seed is no integer, negative, or does not fit 64 bits.
        """
        seeds = [_checked(seed) for seed in seeds]
        codes = np.array([((seed * _GOLDEN + 2**63) % 2**64 >> 11) / 2**53 for seed in seeds])
        return self.draw(
            self.seeded(seeds), np.tile(bounds, (len(seeds), 1)), theta, codes, warmth * self.noise
        )

    def architectures(
        self, seeds: Sequence[int], bounds: Sequence[float] | None = None
    ) -> list[Architecture]:
        """The architectures these seeds stand for; by default under the requirements it was taught."""
        chosen, _ = self.choose(seeds, [0.0] * self.bounds if bounds is None else bounds)
        return self.encoding.architectures(chosen)

    def _gumbel(self, uniform: Array) -> Array:
        """Standard Gumbel noise of uniform noise ``[n, D, V]``, changed in place where there are choices."""
        legal = uniform[:, self.encoding.legal]
        uniform[:, self.encoding.legal] = -np.log(-np.log(np.clip(legal, 1e-300, 1 - 1e-16)))
        return uniform

    def _unpack(self, theta: Array) -> list[Array]:
        parts = np.split(theta, self._sizes)
        arrays = [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]
        return [w * mask for w, mask in zip(arrays, self._masks, strict=False)] + arrays[len(self._masks) :]


class _Code:
    """Points of 0..1 that are decoded choice by choice.

    Args:
        points: One per row, ``[n]``.
    """

    def __init__(self, points: Array) -> None:
        self._points = points.copy()
        self._width = np.ones_like(points)

    def settle(self, logits: Array, gumbel: Array) -> Array:
        """Gumbel noise ``[V, n]`` with which ``logits + noise`` is largest where the code says.

        Args:
            logits: At temperature 1, ``[V, n]``.
            gumbel: Standard Gumbel noise ``[V, n]``: what the noise is made of, and what is left where a
                code is used up. Given which choice is largest, the noise of all is distributed as ever
                (C. Maddison et al., "A* Sampling", 2014).
        """
        rows = np.arange(logits.shape[1])
        top = logits.max(0)
        mass = np.exp(logits - top)
        ends = mass.cumsum(0)
        total = ends[-1]
        wanted = (ends <= np.minimum(self._points * total, np.nextafter(total, 0.0))).sum(0)
        share = mass[wanted, rows] / total
        begin = ends[wanted, rows] / total - share
        largest = top + np.log(total) + gumbel[wanted, rows]
        noisy = -np.logaddexp(-largest, -(logits + gumbel))
        noisy[wanted, rows] = largest
        left = self._width > _SPENT
        self._points = np.clip((self._points - begin) / share, 0.0, 1.0)
        self._width *= share
        return np.where(left, noisy - logits, gumbel)


def _logits(dimension: Width | Switch | Choice, tiled: bool) -> Array:
    """What each output of a dimension adds to the logits of its choices, ``[choices, outputs]``."""
    count = len(dimension.values)
    if isinstance(dimension, Choice) or count <= (FEW if tiled else _FEW_BEFORE):
        return np.eye(count)
    t = np.linspace(-1.0, 1.0, count)[:, None]
    return _SMOOTH * np.hstack([t, t**2, t**3, *([idle(dimension)] if tiled else [])])


def _checked(seed: int) -> int:
    given = whole("a generator seed", seed)
    if not 0 <= given < 2**64:
        raise InputError(f"a generator seed must lie in 0 .. 2**64 - 1, got {given}")
    return given


def _sigmoid(values: Array) -> Array:
    half: Array = 0.5 + 0.5 * np.tanh(0.5 * values)
    return half
