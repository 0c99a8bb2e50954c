"""The policy of the generator ``G(s; theta_G)`` (arXiv 1809.05989, eq. 1): seeds in, architectures out.

A seed is hashed to a Gaussian latent and to Gumbel noise; a small net turns the latent and the
requirement vector into logits over the choices of every dimension; the choice is their noisy argmax.
The latent moves all dimensions *together*, so that a family can trade one width for another and stay
inside a budget; the noise moves each alone and is annealed away as the generator learns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesynth.errors import InputError
from edgesynth.space import Architecture
from edgesynth.synthesis.encoding import Encoding, Indices

__all__ = ["Generator"]

_LATENT: Final = 12
_HIDDEN: Final = 48
_ILLEGAL: Final = -1e9


class Generator:
    """The policy part of the generator.

    Attributes:
        theta: All parameters as one vector, so that learning reads ``theta = theta + delta``.
        noise: The temperature of the Gumbel noise: 1 samples the logits, 0 is their argmax.

    Args:
        encoding: The space's encoding.
        bounds: Length of the requirement vector.
        seed: Seed of the initial parameters.
    """

    def __init__(self, encoding: Encoding, bounds: int, seed: int = 0) -> None:
        self.encoding = encoding
        self.bounds = bounds
        self.noise = 1.0
        outputs = encoding.basis.shape[0]
        self._shapes = [
            (_LATENT + bounds, _HIDDEN),
            (_HIDDEN,),
            (_HIDDEN, _HIDDEN),
            (_HIDDEN,),
            (_HIDDEN, outputs),
            (outputs,),
        ]
        rng = np.random.default_rng([seed, 1])
        parts = [
            rng.standard_normal(shape) / math.sqrt(shape[0]) if len(shape) == 2 else np.zeros(shape)
            for shape in self._shapes
        ]
        self.theta = torch.from_numpy(np.concatenate([part.ravel() for part in parts]))

    def logits(self, latent: Tensor, bounds: Tensor, theta: Tensor | None = None) -> Tensor:
        """Latents ``[n, Z]`` and requirement vectors ``[n, R]`` to padded logits ``[n, D, V]``."""
        theta = self.theta if theta is None else theta
        first, b1, second, b2, last, b3 = (
            part.view(shape)
            for part, shape in zip(
                theta.split([math.prod(s) for s in self._shapes]), self._shapes, strict=True
            )
        )
        hidden = torch.tanh(torch.cat([latent, bounds], dim=1) @ first + b1)
        hidden = torch.tanh(hidden @ second + b2)
        legal = self.encoding.legal
        padded = ((hidden @ last + b3) @ self.encoding.basis).view(-1, *legal.shape)
        return padded.masked_fill(~legal, _ILLEGAL)

    def relaxed(
        self, latent: Tensor, gumbel: Tensor, bounds: Tensor, theta: Tensor, softness: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Straight-through choices (E. Jang et al., arXiv 1611.01144): hard forward, soft backward.

        Args:
            latent: ``[n, Z]``.
            gumbel: Standard Gumbel noise ``[n, D, V]``.
            bounds: Requirement vectors ``[n, R]``.
            theta: The parameters to differentiate in.
            softness: Temperature of the backward pass.

        Returns:
            One-hot choices ``[n, D, V]`` that carry gradients, and the probabilities behind them.
        """
        logits = self.logits(latent, bounds, theta)
        noisy = logits + self.noise * gumbel
        soft = (noisy / softness).softmax(dim=2)
        hard = self.encoding.onehot(noisy.argmax(dim=2))
        return hard + (soft - soft.detach()), soft

    def imagine(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw latents ``[n, Z]`` and Gumbel noise ``[n, D, V]`` distributed as those of real seeds."""
        uniform = rng.random((count, *self.encoding.legal.shape))
        return torch.from_numpy(rng.standard_normal((count, _LATENT))), torch.from_numpy(_gumbel(uniform))

    def seeded(self, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The latents ``[n, Z]`` and Gumbel noise ``[n, D, V]`` of real seeds.

        Each seed keys its own counter-based stream (Philox), so a seed means the same on every
        machine, alone or in any batch.

        Raises:
            InputError: A seed is negative or does not fit 64 bits.
        """
        shape = self.encoding.legal.shape
        latent = np.empty((len(seeds), _LATENT))
        uniform = np.empty((len(seeds), *shape))
        for row, seed in enumerate(seeds):
            if not 0 <= seed < 2**64:
                raise InputError(f"a generator seed must lie in 0 .. 2**64 - 1, got {seed}")
            rng = np.random.Generator(np.random.Philox(key=int(seed)))
            latent[row] = rng.standard_normal(_LATENT)
            uniform[row] = rng.random(shape)
        return torch.from_numpy(latent), torch.from_numpy(_gumbel(uniform))

    @torch.no_grad()
    def choose(self, seeds: Sequence[int], bounds: Sequence[float]) -> Indices:
        """The value indices ``[n, D]`` that these seeds stand for under one requirement vector."""
        latent, gumbel = self.seeded(seeds)
        return self.pick(
            latent, gumbel, torch.tensor([list(bounds)], dtype=torch.float64).expand(len(seeds), -1)
        )

    @torch.no_grad()
    def pick(self, latent: Tensor, gumbel: Tensor, bounds: Tensor) -> Indices:
        """The hard choices ``[n, D]`` of latents under requirement vectors."""
        noisy = self.logits(latent, bounds) + self.noise * gumbel
        chosen: Indices = noisy.argmax(dim=2).numpy()
        return chosen

    @torch.no_grad()
    def preferences(self, seed: int, bounds: Sequence[float]) -> Tensor:
        """The noisy logits ``[D, V]`` of one seed: the policy's own ranking of every choice."""
        latent, gumbel = self.seeded([seed])
        return (self.logits(latent, torch.tensor([list(bounds)], dtype=torch.float64)) + self.noise * gumbel)[
            0
        ]

    def architectures(
        self, seeds: Sequence[int], bounds: Sequence[float] | None = None
    ) -> list[Architecture]:
        """The architectures these seeds stand for; by default under the requirements it was taught."""
        return self.encoding.architectures(self.choose(seeds, bounds or [0.0] * self.bounds))


def _gumbel(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    noise: NDArray[np.float64] = -np.log(-np.log(np.clip(uniform, 1e-300, 1 - 1e-16)))
    return noise
