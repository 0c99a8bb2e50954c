"""Which candidates to evaluate next: constrained expected improvement, in batches."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from edgesynth.synthesis.encoding import Indices
from edgesynth.synthesis.inquisitor import Belief, Inquisitor

__all__ = ["log_expected_improvement", "rank", "select"]


def log_expected_improvement(mean: Tensor, std: Tensor, best: float) -> Tensor:
    """Logarithm of the expected improvement of Gaussians over ``best``, stable in the far tail.

    S. Ament et al., "Unexpected improvements to expected improvement", arXiv 2310.20708, eq. 9.
    """
    u = (mean - best) / std
    near = u.clamp_min(-1.0)
    density = (-0.5 * near.square()).exp() / math.sqrt(2 * math.pi)
    close = (density + near * torch.special.ndtr(near)).log()
    far = u.clamp_max(-1.0)
    # phi(u) + u Phi(u) = phi(u) (1 - |u| Phi(u) / phi(u)), whose last ratio is a scaled erfc.
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-far / math.sqrt(2)) * far.abs()
    tail = -0.5 * far.square() - 0.5 * math.log(2 * math.pi) + torch.log1p(-ratio.clamp_max(1 - 1e-12))
    return std.log() + torch.where(u > -1.0, close, tail)


def rank(belief: Belief, best: float | None) -> Tensor:
    """Score candidates: log expected feasible improvement, or log feasibility before any success.

    Args:
        belief: What the inquisitor believes of ``n`` candidates.
        best: Performance of the best feasible architecture so far, if any.

    Returns:
        ``[n]``; larger is better.
    """
    if best is None:
        return belief.log_feasible
    return (
        log_expected_improvement(belief.utility, belief.utility_std.clamp_min(1e-9), best)
        + belief.log_feasible
    )


def select(
    inquisitor: Inquisitor,
    pool: Indices,
    count: int,
    *,
    exact: dict[str, Tensor] | None = None,
    best: float | None = None,
    pending: Indices,
) -> list[int]:
    """Choose ``count`` rows of the pool, one after another, each as if the earlier ones were known.

    After each choice the posterior is conditioned on it at its own mean (a "believer"): means stay,
    uncertainty shrinks around it, so that a batch spreads without an evaluation in between.

    Args:
        inquisitor: Predicts the pool.
        pool: Candidate value indices ``[C, D]``.
        count: How many to choose.
        exact: Exact computed metrics of the pool, each ``[C]``.
        best: Performance of the best feasible architecture so far, if any.
        pending: Value indices ``[E, D]`` that were asked and not told.
    """
    with torch.no_grad():
        points = np.concatenate([pool, pending])
        x = inquisitor.features(points)
        mean, std = inquisitor.posterior(x)
        variance = std.square()
        onehot = inquisitor.encoding.onehot(pool)
        absorbed: list[tuple[Tensor, Tensor]] = []
        chosen: list[int] = []
        waiting = list(range(len(pool), len(points)))
        while len(chosen) < min(count, len(pool)):
            if waiting:
                row = waiting.pop()
            else:
                spread = variance[:, : len(pool)].sqrt()
                belief = inquisitor.interpret(onehot, mean[:, : len(pool)], spread, exact)
                scores = rank(belief, best)
                scores[chosen] = -torch.inf
                row = int(scores.argmax())
                chosen.append(row)
            if not inquisitor.ready:
                continue
            # One step of a pivoted Cholesky factorisation of the posterior covariance.
            column = inquisitor.covariance(x, x[row : row + 1])[:, :, 0]
            for residual, pivot in absorbed:
                column = column - residual * residual[:, row, None] / pivot
            pivot = column[:, row, None].clamp_min(0.0) + 1e-3
            absorbed.append((column, pivot))
            variance = (variance - column.square() / pivot).clamp_min(1e-8)
    return chosen
