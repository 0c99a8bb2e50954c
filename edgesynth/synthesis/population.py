"""The population of imagined architectures that the generator is taught to draw from."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgesynth.synthesis.encoding import Array, Encoding, Indices, distinct

__all__ = ["Ascent", "Population", "Weights"]

Weights: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Predicted violation and predicted performance of ``n`` architectures, each ``[n]``."""


class Population:
    """Metropolis-Hastings chains on ``1_r(N) p_0(N) exp(U(N) / T)``, one imagined architecture each.

    Each member's ``T`` is :attr:`temperature` times its heat. A member inside the requirements never leaves
    them, and one outside walks on ``exp(-short / T)``, whatever its performance and its measure. The
    temperature falls to its least value, and rises only while too many members are the same.

    Attributes:
        members: Value indices ``[n, D]``.
        short: Predicted violation of each member, ``[n]``; 0 inside.
        temperature: ``T``, in units of the performance that ``weigh`` gives.
        heat: How many times hotter than that each member lives, ``[n]``, or all of them.

    Args:
        encoding: The space's encoding.
        members: Where the chains start.
        weigh: Predicts violation and performance.
        temperature: Where ``T`` starts.
        coldest: The least ``T``.
        measure: ``log p_0`` of value indices ``[n, D]``; the same for all when not given.
    """

    HOTTEST: ClassVar[float] = 4.0
    VARIED: ClassVar[float] = 0.88
    _MEMORY: ClassVar[int] = 8
    _REACH: ClassVar[float] = 0.25

    def __init__(
        self,
        encoding: Encoding,
        members: Indices,
        weigh: Callable[[Indices], Weights],
        temperature: float,
        coldest: float,
        measure: Callable[[Indices], Array] | None = None,
    ) -> None:
        self.encoding = encoding
        self.members = members
        self.temperature = temperature
        self.heat: Array | float = 1.0
        self._weigh = weigh
        self._coldest = coldest
        self._measure = measure or (lambda indices: np.zeros(len(indices)))
        self.short, self._utility = weigh(members)
        self._visited: list[Indices] = [members]

    def weighed(self) -> None:
        """Weigh the members again, after what weighs them has changed."""
        self.short, self._utility = self._weigh(self.members)

    def propose(
        self, proposal: Indices, rng: np.random.Generator, log_odds: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Offer every member one move.

        Args:
            proposal: Value indices ``[n, D]``.
            rng: Decides.
            log_odds: Log ratio of the chances of the reverse and the forward proposal, ``[n]``; zeros
                for symmetric proposals.

        Returns:
            1 where a proposal lies outside the requirements, else 0: ``[n]``.
        """
        short, utility = self._weigh(proposal)
        temperature = self.temperature * self.heat
        odds = (utility - self._utility) / temperature + (0.0 if log_odds is None else log_odds)
        # Heat levels the measure as well, or what is far from it could never be told apart.
        odds += (self._measure(proposal) - self._measure(self.members)) / np.maximum(1.0, temperature)
        inside, was_inside = short <= 0, self.short <= 0
        closer = (self.short - short) / (self._REACH * temperature)
        odds = np.where(was_inside, np.where(inside, odds, -np.inf), np.where(inside, np.inf, closer))
        accept = np.log(rng.random(len(odds))) < odds
        self.members = np.where(accept[:, None], proposal, self.members)
        self.short = np.where(accept, short, self.short)
        self._utility = np.where(accept, utility, self._utility)
        varied = distinct(self.members) / len(self.members)
        self.temperature *= 1.05 if varied < self.VARIED else 0.97
        self.temperature = min(max(self.temperature, self._coldest), self.HOTTEST)
        self._visited = [*self._visited[1 - self._MEMORY :], self.members]
        return (short > 0).astype(np.float64)

    def lesson(self, rng: np.random.Generator) -> Indices:
        """One recent state of every chain, ``[n, D]``."""
        count = len(self.members)
        at = rng.integers(0, len(self._visited), count)
        return np.stack(self._visited)[at, np.arange(count)]


class Ascent:
    """Adam (D. Kingma and J. Ba, arXiv 1412.6980) on one vector.

    Args:
        theta: Where it starts; never changed in place.
        rate: Step size.
    """

    def __init__(self, theta: Array, rate: float) -> None:
        self.theta = theta
        self._rate = rate
        self._first, self._second = np.zeros_like(theta), np.zeros_like(theta)
        self._steps = 0

    def step(self, gradient: Array) -> None:
        """Move against the gradient of a loss."""
        self._steps += 1
        self._first = 0.9 * self._first + 0.1 * gradient
        self._second = 0.99 * self._second + 0.01 * gradient**2
        mean = self._first / (1 - 0.9**self._steps)
        spread = np.sqrt(self._second / (1 - 0.99**self._steps)) + 1e-8
        self.theta = self.theta - self._rate * mean / spread
