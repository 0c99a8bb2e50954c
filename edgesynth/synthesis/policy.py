"""The policy of the generator ``G(s; theta_G)`` (arXiv 1809.05989, eq. 1): seeds in, architectures out.

A seed is hashed to noise. A small masked net (M. Germain et al., "MADE", arXiv 1502.03509) turns the
requirement vector and the choices made so far into logits over the next dimension's choices, and the
seed's Gumbel noise settles each choice. Because every choice sees the earlier ones, a family can trade
one width for another and still stay inside a budget, which independent choices cannot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesynth.errors import InputError
from edgesynth.space import Architecture
from edgesynth.synthesis.encoding import Encoding, Indices

__all__ = ["Likelihood", "Policy"]

_HIDDEN: Final = 128
_ILLEGAL: Final = -1e9


@dataclass(frozen=True)
class Likelihood:
    """How likely a policy makes some choices, and everything its gradient is made of.

    Attributes:
        log_p: Logarithm of the probability of each row at temperature 1, ``[n]``.
        features: Of the choices, ``[n, P]``.
        bounds: Requirement vectors ``[n, R]``.
        before: Inputs of the hidden units ``[n, H]``.
        surprise: The slope of ``log_p`` in the padded logits, ``[n, D * V]``: one-hot less probability.
    """

    log_p: Tensor
    features: Tensor
    bounds: Tensor
    before: Tensor
    surprise: Tensor


class Policy:
    """The policy part of the generator.

    Attributes:
        theta: All parameters as one vector, so that learning reads ``theta = theta + delta``.
        noise: The temperature of the choices: 1 samples the policy, 0 takes its likeliest choices.

    Args:
        encoding: The space's encoding.
        bounds: Length of the requirement vector.
        seed: Seed of the initial parameters.
    """

    def __init__(self, encoding: Encoding, bounds: int, seed: int = 0) -> None:
        self.encoding = encoding
        self.bounds = bounds
        self.noise = 0.9
        dims, slots = encoding.legal.shape
        features, outputs = len(encoding.owner), len(encoding.basis)
        # An output moves the logits of one dimension; a hidden unit of degree d sees the first d.
        settles = (encoding.basis.view(outputs, dims, slots).abs().sum(2) > 0).to(torch.int64).argmax(1)
        degree = torch.arange(_HIDDEN) % max(1, dims - 1) + 1
        self._masks = (
            (encoding.owner[:, None] < degree[None, :]).to(torch.float64),
            (degree[:, None] <= settles[None, :]).to(torch.float64),
            (encoding.owner[:, None] < settles[None, :]).to(torch.float64),
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
        self._order = degree.argsort(stable=True)
        ascending = degree[self._order]
        self._settled = [int((ascending <= d).sum()) for d in range(dims)]
        self._outputs = [(int((settles < d).sum()), int((settles <= d).sum())) for d in range(dims)]
        rng = np.random.default_rng([seed, 1])
        scales = (1.0, 0.1 / math.sqrt(_HIDDEN), 0.0, 0.3, 0.0, 1.0, 0.0)
        parts = [
            s * rng.standard_normal(shape).ravel() for s, shape in zip(scales, self._shapes, strict=True)
        ]
        self.theta = torch.from_numpy(np.concatenate(parts))

    def log_probability(self, indices: Indices, bounds: Tensor, theta: Tensor) -> Tensor:
        """Logarithm of the policy's probability of choices ``[n, D]`` at temperature 1: ``[n]``.

        Args:
            indices: Value indices.
            bounds: Requirement vectors ``[n, R]``.
            theta: The parameters, in which it may be differentiated.
        """
        return self.likelihood(indices, bounds, theta).log_p

    def likelihood(self, indices: Indices, bounds: Tensor, theta: Tensor) -> Likelihood:
        """As :meth:`log_probability`, with what :meth:`gradient` needs."""
        features = self.encoding.embed(indices)
        w1, w2, skip, bound1, bound2, b1, b2 = self._unpack(theta)
        before = torch.addmm(b1, features, w1) + bounds @ bound1
        hidden = torch.nn.functional.silu(before)
        out = torch.addmm(b2, hidden, w2) + features @ skip + bounds @ bound2
        logits = (out @ self.encoding.basis).view(-1, *self.encoding.legal.shape)
        scores = logits.masked_fill(~self.encoding.legal, _ILLEGAL).log_softmax(2)
        chosen = torch.from_numpy(indices)[:, :, None]
        log_p = scores.gather(2, chosen)[:, :, 0].sum(1)
        ones = torch.ones((), dtype=torch.float64).expand(chosen.shape)
        surprise = (-scores.detach().exp()).scatter_add_(2, chosen, ones)
        return Likelihood(log_p, features, bounds, before, surprise.flatten(1))

    @torch.no_grad()
    def gradient(self, likelihood: Likelihood, weight: Tensor, theta: Tensor) -> Tensor:
        """The gradient of ``sum(weight * log_p)`` in ``theta``, in closed form.

        Args:
            likelihood: Of some choices under ``theta``.
            weight: One per row, ``[n]``.
            theta: The parameters.
        """
        _, w2, *_ = self._unpack(theta)
        before, features, bounds = likelihood.before, likelihood.features, likelihood.bounds
        gate = before.sigmoid()
        hidden = before * gate
        out = (likelihood.surprise * weight[:, None]) @ self.encoding.basis.T
        # silu'(x) = s(x) (1 + x (1 - s(x)))
        slope = (out @ w2.T) * gate * (1.0 + before - hidden)
        parts = [features.T @ slope, hidden.T @ out, features.T @ out]
        parts = [part * mask for part, mask in zip(parts, self._masks, strict=True)]
        parts += [bounds.T @ slope, bounds.T @ out, slope.sum(0), out.sum(0)]
        return torch.cat([part.flatten() for part in parts])

    @torch.no_grad()
    def draw(self, gumbel: Tensor, bounds: Tensor, theta: Tensor | None = None) -> tuple[Indices, Tensor]:
        """Settle one dimension after another.

        Args:
            gumbel: Standard Gumbel noise ``[n, D, V]``.
            bounds: Requirement vectors ``[n, R]``.
            theta: Other parameters than the present ones.

        Returns:
            Value indices ``[n, D]``, and the noisy logits ``[n, D, V]`` that settled them.
        """
        w1, w2, skip, bound1, bound2, b1, b2 = self._unpack(self.theta if theta is None else theta)
        encoding = self.encoding
        dims, slots = encoding.legal.shape
        # A hidden unit is settled by the first dimensions; in the order of their degrees, each is so once.
        order = self._order
        before = (bounds @ bound1 + b1 - (encoding.centre @ w1))[:, order]
        direct = bounds @ bound2 + b2 - (encoding.centre @ skip)
        into_hidden = (encoding.projection @ w1[:, order]).view(dims, slots, -1)
        into_output = (encoding.projection @ skip).view(dims, slots, -1)
        w2 = w2[order]
        hidden = torch.empty_like(before)
        chosen = torch.zeros(dims, len(gumbel), dtype=torch.int64)
        noisy = torch.full_like(gumbel, _ILLEGAL)
        known = 0
        for d in range(dims):
            settled, (first, last) = self._settled[d], self._outputs[d]
            hidden[:, known:settled] = torch.nn.functional.silu(before[:, known:settled])
            known = settled
            out = torch.addmm(direct[:, first:last], hidden[:, :known], w2[:known, first:last])
            count = int(encoding.counts[d])
            logits = out @ encoding.basis.view(-1, dims, slots)[first:last, d, :count]
            noisy[:, d, :count] = logits.add_(gumbel[:, d, :count], alpha=self.noise)
            chosen[d] = noisy[:, d, :count].argmax(1)
            before[:, known:] += into_hidden[d, :, known:][chosen[d]]
            direct[:, last:] += into_output[d, :, last:][chosen[d]]
        return chosen.T.contiguous().numpy(), noisy

    def imagine(self, count: int, rng: np.random.Generator) -> Tensor:
        """Gumbel noise ``[n, D, V]`` distributed as that of real seeds."""
        return _gumbel(rng.random((count, *self.encoding.legal.shape)))

    def seeded(self, seeds: Sequence[int]) -> Tensor:
        """The Gumbel noise ``[n, D, V]`` of real seeds.

        Each seed keys its own counter-based stream (Philox), so a seed means the same on every
        machine, alone or in any batch.

        Raises:
            InputError: A seed is negative or does not fit 64 bits.
        """
        uniform = np.empty((len(seeds), *self.encoding.legal.shape))
        for row, seed in enumerate(seeds):
            if not 0 <= seed < 2**64:
                raise InputError(f"a generator seed must lie in 0 .. 2**64 - 1, got {seed}")
            uniform[row] = np.random.Generator(np.random.Philox(key=int(seed))).random(uniform.shape[1:])
        return _gumbel(uniform)

    def choose(self, seeds: Sequence[int], bounds: Sequence[float]) -> tuple[Indices, Tensor]:
        """Value indices ``[n, D]`` of these seeds under one requirement vector, and their noisy logits."""
        rows = torch.tensor([list(bounds)], dtype=torch.float64).expand(len(seeds), -1)
        return self.draw(self.seeded(seeds), rows)

    def architectures(
        self, seeds: Sequence[int], bounds: Sequence[float] | None = None
    ) -> list[Architecture]:
        """The architectures these seeds stand for; by default under the requirements it was taught."""
        chosen, _ = self.choose(seeds, [0.0] * self.bounds if bounds is None else bounds)
        return self.encoding.architectures(chosen)

    def _unpack(self, theta: Tensor) -> list[Tensor]:
        parts = torch.split(theta, [math.prod(shape) for shape in self._shapes])
        tensors = [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]
        return [t * mask for t, mask in zip(tensors, self._masks, strict=False)] + tensors[len(self._masks) :]


def _gumbel(uniform: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(-np.log(-np.log(np.clip(uniform, 1e-300, 1 - 1e-16))))
