"""Which candidates to evaluate next: constrained expected improvement, in batches.

An evaluation is worth what it may add to the best feasible network so far, times the chance that it is
feasible::

    a(N) = E[max(U(N) - U*, 0)] P(1_r(N) = 1)
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from edgesynth.synthesis.belief import Belief
from edgesynth.synthesis.budgets import Budgets
from edgesynth.synthesis.candidates import Costs, left, stratified
from edgesynth.synthesis.encoding import Array, Indices, first_rows, keys, mutate
from edgesynth.synthesis.inquisitor import Inquisitor
from edgesynth.synthesis.normal import cdf, scaled_erfc
from edgesynth.synthesis.observations import Memory, Standing
from edgesynth.synthesis.policy import Policy
from edgesynth.synthesis.requirements import Requirements

__all__ = ["log_expected_improvement", "promising", "promising_within", "rank", "select"]

_POOL: Final = 512
_SHORTLIST: Final = 128

_ABREAST: Final = 4
"""Candidates whose neighbours are tried together."""

_CLIMBS: Final = 6
"""How often they are, at most, while that finds better ones."""


def log_expected_improvement(mean: Array, std: Array, best: float) -> Array:
    """Logarithm of the expected improvement of Gaussians over ``best``, stable in the far tail.

    S. Ament et al., "Unexpected improvements to expected improvement", arXiv 2310.20708, eq. 9.
    """
    u = (mean - best) / std
    near = np.maximum(u, -1.0)
    density = np.exp(-0.5 * near**2) / math.sqrt(2 * math.pi)
    close = np.log(density + near * cdf(near))
    far = np.minimum(u, -1.0)
    # phi(u) + u Phi(u) = phi(u) (1 - |u| Phi(u) / phi(u)), whose last ratio is a scaled erfc.
    ratio = math.sqrt(math.pi / 2) * scaled_erfc(-far / math.sqrt(2)) * np.abs(far)
    tail = -0.5 * far**2 - 0.5 * math.log(2 * math.pi) + np.log1p(-np.minimum(ratio, 1 - 1e-12))
    improvement: Array = np.log(std) + np.where(u > -1.0, close, tail)
    return improvement


def rank(belief: Belief, best: float | None) -> Array:
    """Score candidates: log expected feasible improvement, or log feasibility before any success.

    Args:
        belief: What the inquisitor believes of ``n`` candidates.
        best: Performance of the best feasible architecture so far, if any.

    Returns:
        ``[n]``; larger is better.
    """
    if best is None:
        return belief.log_feasible
    improvement = log_expected_improvement(belief.utility, np.maximum(belief.utility_std, 1e-9), best)
    return improvement + belief.log_feasible


def select(
    inquisitor: Inquisitor,
    pool: Indices,
    count: int,
    *,
    best: float | None = None,
    pending: Indices,
    bounds: Array | None = None,
) -> list[int]:
    """Choose ``count`` rows of the pool, one after another, each as if the earlier ones were known.

    After each choice the posterior is conditioned on it at its own mean (a "believer"): means stay,
    uncertainty shrinks around it, so that a batch spreads without an evaluation in between.

    Args:
        inquisitor: Predicts the pool.
        pool: Candidate value indices ``[C, D]``.
        count: How many to choose.
        best: Performance of the best feasible architecture so far, if any.
        pending: Value indices ``[E, D]`` that were asked and not told.
        bounds: The requirement vector ``[1, R]`` to hold; by default the taught requirements.
    """
    points = np.concatenate([pool, pending])
    x = inquisitor.features(points)
    mean, std = inquisitor.posterior(x)
    variance = std**2
    absorbed: list[tuple[Array, Array]] = []
    chosen: list[int] = []
    waiting = list(range(len(pool), len(points)))
    while len(chosen) < min(count, len(pool)):
        if waiting:
            row = waiting.pop()
        else:
            spread = np.sqrt(variance[:, : len(pool)])
            belief = inquisitor.interpret(pool, mean[:, : len(pool)], spread, bounds)
            scores = rank(belief, best)
            scores[chosen] = -np.inf
            row = int(scores.argmax())
            chosen.append(row)
        if not inquisitor.ready or len(chosen) == count:
            continue
        # One step of a pivoted Cholesky factorisation of the posterior covariance.
        column = inquisitor.covariance(x, x[row : row + 1])[:, :, 0]
        for residual, pivot in absorbed:
            column = column - residual * residual[:, row, None] / pivot
        pivot = np.maximum(column[:, row, None], 0.0) + 1e-3
        absorbed.append((column, pivot))
        variance = np.maximum(variance - column**2 / pivot, 1e-8)
    return chosen


def promising(
    inquisitor: Inquisitor,
    policy: Policy,
    costs: Costs,
    standing: Standing,
    pending: Indices,
    count: int,
    rng: np.random.Generator,
    requirements: Requirements | None = None,
) -> Indices:
    """The most promising of the generator's own proposals and the neighbours of the best.

    Args:
        inquisitor: Predicts candidates.
        policy: Proposes candidates.
        costs: The computed bounds; a candidate outside them is chosen only for want of others.
        standing: What was told so far; never chosen again.
        pending: Value indices ``[E, D]`` that were asked and not told; never chosen again either.
        count: How many to choose.
        rng: Draws candidates.
        requirements: Those to hold, of which ``standing`` is told; by default the taught ones.

    Returns:
        Value indices ``[count, D]``, fewer where the space holds no more, or many draws found none.
    """
    encoding = inquisitor.encoding
    taken = np.concatenate([standing.indices, pending])
    bounds = inquisitor.bounds(requirements)
    drawn, _ = policy.draw(policy.imagine(_POOL // 2, rng), bounds.repeat(_POOL // 2, axis=0))
    parts = [drawn, stratified(encoding, _POOL // 4, rng)]
    if len(standing.indices):
        leaders = standing.leaders(4)
        parts += [
            encoding.neighbours(leaders),
            mutate(encoding, np.repeat(leaders, _POOL // 16, axis=0), rng),
        ]
    pool = _Pool(inquisitor, taken, standing.best, bounds)
    pool.add(np.concatenate(parts))
    for _ in range(_CLIMBS):
        if not pool.add(encoding.neighbours(pool.best(_ABREAST))):
            break
    if len(pool) < count:
        pool.add(stratified(encoding, 8 * _POOL, rng))
    if len(pool) < count:
        pool.add(left(encoding, taken, count, rng))
    shortlist = pool.best(max(_SHORTLIST, 4 * count))
    if costs.bounded:
        margins = costs.margins(shortlist, requirements)
        inside = margins >= 0
        enough = inside.sum() >= count
        shortlist = shortlist[inside if enough else np.argsort(-margins, kind="stable")[:count]]
    if count == 1 and not len(pending):
        # The best of all stands first, and there is nothing to keep away from.
        return shortlist[:1]
    chosen = select(inquisitor, shortlist, count, best=standing.best, pending=pending, bounds=bounds)
    return shortlist[chosen]


def promising_within(
    budgets: Budgets,
    inquisitor: Inquisitor,
    policy: Policy,
    costs: Costs,
    memory: Memory,
    count: int,
    rng: np.random.Generator,
    *,
    besides: Indices,
) -> Indices:
    """The most promising for the taught requirements; over a range, each for another budget.

    Args:
        budgets: The taught requirements, and the range around them.
        inquisitor: Predicts candidates.
        policy: Proposes candidates.
        costs: The computed bounds.
        memory: What was told and asked so far.
        count: How many to choose.
        rng: Draws candidates and budgets.
        besides: Value indices ``[E, D]`` that are about to be asked as well.

    Returns:
        Value indices as :func:`promising` gives them.
    """
    found = besides[:0]
    while len(found) < count:
        wanted, many = budgets.requirements, count
        if budgets:
            wanted, many = wanted.moved(budgets.draw(rng)), 1
        pending = np.concatenate([memory.pending, besides, found])
        standing = memory.standing(wanted)
        more = promising(inquisitor, policy, costs, standing, pending, many, rng, wanted)
        found = np.concatenate([found, more])
        if len(more) < many:
            break
    return found


class _Pool:
    """Distinct candidates with their scores; each is scored once.

    Args:
        inquisitor: Scores candidates.
        taken: Value indices ``[E, D]`` that are no candidates.
        best: Performance of the best feasible architecture so far, if any.
        bounds: The requirement vector ``[1, R]`` to hold.
    """

    def __init__(self, inquisitor: Inquisitor, taken: Indices, best: float | None, bounds: Array) -> None:
        self._inquisitor = inquisitor
        self._best = best
        self._bounds = bounds
        self._known = set(keys(taken))
        self._indices = taken[:0]
        self._scores: Array = np.empty(0)

    def __len__(self) -> int:
        return len(self._indices)

    def add(self, indices: Indices) -> bool:
        """Take in the rows ``[n, D]`` that are new; whether one of them ranks above all before."""
        first = first_rows(indices)
        new = set(first) - self._known
        if not new:
            return False
        self._known |= new
        fresh = indices[sorted(first[key] for key in new)]
        scores = rank(self._inquisitor.believe(fresh, self._bounds), self._best)
        higher = bool(scores.max() > self._scores.max(initial=-np.inf))
        self._indices = np.concatenate([self._indices, fresh])
        self._scores = np.concatenate([self._scores, scores])
        return higher

    def best(self, count: int) -> Indices:
        """The ``count`` candidates that rank highest, best first."""
        return self._indices[np.argsort(-self._scores, kind="stable")[:count]]
