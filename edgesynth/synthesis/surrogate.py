"""The regressions inside the inquisitor: Gaussian processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.synthesis.encoding import Array, Indices

__all__ = ["LEAST_NOISE", "GaussianProcess", "Kernel", "Likeness", "Prior", "Regression"]

LEAST_NOISE: Final = 1e-3
"""What noise is expected to be, over the variance of what is observed, where nothing else is known."""
_JITTER: Final = 1e-6
_MISSING: Final = 1e6
_ALWAYS: Final = 1e-5
"""Noise that there is besides, however little is learned."""
_BLOCK: Final = 2**14
"""Kernel entries predicted from at a time: they stay in the cache, and memory is reused."""
_MEAN_ERROR: Final = math.sqrt(2.0 / math.pi)
"""The mean absolute value of a standard normal."""
_OPTIMISM: Final = 1.08
"""Errors at new places over those at places left out, which the hyperparameters have seen."""
_ENOUGH: Final = 500
"""Observations that hyperparameters are learned from."""
_ANEW: Final = 40
"""Steps that learn hyperparameters from nothing."""
_COLUMNS: Final = 64
"""Columns of a triangular matrix multiplied with at a time; what is zero below them is left out."""


@dataclass(frozen=True)
class Prior:
    """What is expected of an output's hyperparameters before anything was seen.

    Attributes:
        relevance: What the logarithms of the groups' relevances are expected to differ by, ``[G]``.
        spread: Standard deviation of the logarithms of ``s1`` and ``s2``: how far the features may turn out
            to explain less or more than expected.
        noise: Variance of an observation whose relative noise is 1. Learning begins with it: from much less
            it seldom grows, for the local part then explains all noise.
    """

    relevance: Array
    spread: float = 1.0
    noise: float = LEAST_NOISE


class GaussianProcess:
    """Exact Gaussian processes for several outputs at once, with one kernel each.

    The kernel of an output is ``s0 + s1 <x, x'> + s2 Matern52(|x - x'|)`` on features scaled by a
    learned relevance per group (dimension): the linear part extrapolates additive effects from few
    points, the Matern part holds interactions. Hyperparameters are the maximum a posteriori under
    log-normal priors (Adam on the marginal likelihood, warm-started).

    Args:
        owner: The group of each feature, ``[P]``.
        outputs: How many outputs there are.
        priors: What is expected of single outputs, by their number; others expect all groups alike.
    """

    def __init__(self, owner: Indices, outputs: int, priors: Mapping[int, Prior] | None = None) -> None:
        self.owner = owner
        groups = int(owner.max()) + 1
        even = np.full(groups, math.log(2.0 / groups))
        self._prior = np.tile(np.concatenate([even, [0.0, 0.0, math.log(LEAST_NOISE)]]), (outputs, 1))
        self._spread = np.tile(np.concatenate([np.ones(groups), [1.0, 1.0, 2.0]]), (outputs, 1))
        for output, prior in (priors or {}).items():
            self._prior[output, :groups] += prior.relevance - math.log(np.exp(prior.relevance).mean())
            self._spread[output, groups : groups + 2] = prior.spread
            self._prior[output, -1] = math.log(prior.noise)
        self.hyper = self._prior.copy()
        self._kernel = Kernel(self.hyper, owner, np.empty((0, len(owner))))
        self._alpha = np.empty((outputs, 0))
        self._seen = np.empty((outputs, 0), dtype=bool)
        self._whitening = np.empty((outputs, 0, 0))

    def fit(self, x: Array, y: Array, noise: Array, steps: int) -> float:
        """Learn hyperparameters for ``steps`` steps, then condition on the data.

        A step takes time with the cube of the observations, and beyond a few hundred hyperparameters hardly
        move: they are learned from at most :data:`_ENOUGH` of them.

        Args:
            x: Features ``[N, P]``.
            y: Standardised targets ``[B, N]``; not a number where an output was not observed.
            noise: Relative noise variance per observation, ``[B, N]``.
            steps: Steps of Adam; 0 keeps the hyperparameters.

        Returns:
            The mean negative log posterior per observation at the last step.
        """
        given, seen = (x, y, noise), ~np.isnan(y)
        rows = _told_of(seen)
        x, noise, seen = x[rows], noise[:, rows], seen[:, rows]
        target = np.where(seen, y[:, rows], 0.0)
        first, second = np.zeros_like(self.hyper), np.zeros_like(self.hyper)
        loss = math.nan
        for step in range(1, steps + 1):
            hyper = self.hyper
            kernel = Kernel(hyper, self.owner, x)
            likeness = kernel.between(x)
            noisy = _plus_diagonal(likeness.matrix, self._noise(hyper, noise, seen))
            inverse: NDArray[Any] = np.linalg.inv(noisy)
            alpha = (inverse @ target[:, :, None])[:, :, 0]
            # d(-log p)/dK
            slope = 0.5 * (inverse - alpha[:, :, None] * alpha[:, None, :])
            grad = kernel.gradient(likeness, slope) + (hyper - self._prior) / self._spread**2
            own = np.where(seen, slope.diagonal(axis1=1, axis2=2) * noise, 0.0).sum(1)
            grad[:, -1] += np.exp(hyper[:, -1]) * own
            if step == steps:
                diagonal = np.log(np.linalg.cholesky(noisy).diagonal(axis1=1, axis2=2))
                fit = 0.5 * (target * alpha).sum() + diagonal[seen].sum()
                prior = 0.5 * (((hyper - self._prior) / self._spread) ** 2).sum()
                loss = float((fit + prior) / max(1, seen.sum()))
            first = 0.9 * first + 0.1 * grad
            second = 0.95 * second + 0.05 * grad**2
            rate = 0.15 * min(1.0, 2.0 * (1 - (step - 1) / steps))
            move = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.95**step)) + 1e-8)
            self.hyper = (self.hyper - rate * move).clip(-9.0, 5.0)
        self.condition(*given)
        return loss

    def condition(self, x: Array, y: Array, noise: Array) -> None:
        """Condition on data under the present hyperparameters; arguments as for :meth:`fit`."""
        seen = ~np.isnan(y)
        self._kernel = Kernel(self.hyper, self.owner, x)
        noisy = _plus_diagonal(self._kernel.between(x).matrix, self._noise(self.hyper, noise, seen))
        # K^-1 = W W'
        self._whitening = np.ascontiguousarray(np.linalg.inv(np.linalg.cholesky(noisy)).swapaxes(1, 2))
        whitened = self._whitening.swapaxes(1, 2) @ np.where(seen, y, 0.0)[:, :, None]
        self._alpha = (self._whitening @ whitened)[:, :, 0]
        self._seen = seen

    def calibration(self) -> Array:
        """What to multiply an output's standard deviations by for them to be as large as its errors, ``[B]``.

        Errors are those in predicting each observation from all others, in standard deviations, which the
        inverse of the covariance gives at once (Rasmussen and Williams 2006, eq. 5.10 to 5.12). Their mean
        absolute value counts: a few large ones say little of how wide most intervals have to be.
        """
        # Of K^-1 = W W' the diagonal is that of the rows' squares.
        errors = np.abs(self._alpha) / np.sqrt((self._whitening**2).sum(2))
        count = self._seen.sum(1)
        # A single one left out tells nothing.
        usual = _MEAN_ERROR / np.maximum(count, 1)
        mean = (usual + (errors * self._seen).sum(1)) / np.maximum(count - 1, 1)
        scale: Array = _OPTIMISM * mean / _MEAN_ERROR
        return scale

    def posterior(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of every output at ``x [C, P]``: each ``[B, C]``."""
        rows = max(1, _BLOCK // max(1, self._alpha.size))
        parts = [self._posterior(x[start : start + rows]) for start in range(0, max(1, len(x)), rows)]
        return np.concatenate([mean for mean, _ in parts], 1), np.concatenate([std for _, std in parts], 1)

    def _posterior(self, x: Array) -> tuple[Array, Array]:
        cross = self._kernel.between(x).matrix
        mean = (cross @ self._alpha[:, :, None])[:, :, 0]
        variance = self._kernel.diagonal(x)
        for start in range(0, cross.shape[2], _COLUMNS):
            stop = min(start + _COLUMNS, cross.shape[2])
            whitened = cross[:, :, :stop] @ self._whitening[:, :stop, start:stop]
            variance -= np.vecdot(whitened, whitened)
        return mean, np.sqrt(np.maximum(variance, 1e-8))

    def covariance(self, x: Array, other: Array) -> Array:
        """Posterior covariance between ``x [C, P]`` and ``other [E, P]``: ``[B, C, E]``."""
        left, right = (self._kernel.between(points).matrix @ self._whitening for points in (x, other))
        covariance: Array = Kernel(self.hyper, self.owner, other).between(x).matrix
        covariance -= left @ right.swapaxes(1, 2)
        return covariance

    def _noise(self, hyper: Array, noise: Array, seen: NDArray[np.bool_]) -> Array:
        variance = (np.exp(hyper[:, -1:]) + _ALWAYS) * noise + _JITTER
        return np.where(seen, variance, _MISSING)


def _told_of(seen: NDArray[np.bool_]) -> Indices:
    """Which observations ``[B, N]`` hyperparameters are learned from: all, or as many as are enough.

    Those that tell of the same outputs are one kind (networks that were measured, those that failed), and of
    every kind come equally many, or all; of one kind, as many of late ones as of early ones.
    """
    count = seen.shape[1]
    if count <= _ENOUGH:
        return np.arange(count)
    _, kind = np.unique(seen, axis=1, return_inverse=True)
    kinds = sorted((np.flatnonzero(kind == each) for each in np.unique(kind)), key=len)
    chosen: list[Indices] = []
    left = _ENOUGH
    for done, rows in enumerate(kinds):
        taken = min(len(rows), left // (len(kinds) - done))
        chosen.append(rows[np.linspace(0, len(rows) - 1, taken).round().astype(np.int64)])
        left -= taken
    return np.sort(np.concatenate(chosen))


class Kernel:
    """The kernel of every output, between any features and those of fixed points.

    Args:
        hyper: Hyperparameters ``[B, G + 3]``.
        owner: The group of each feature, ``[P]``.
        x: Features of the fixed points, ``[N, P]``.
    """

    def __init__(self, hyper: Array, owner: Indices, x: Array) -> None:
        self._owner, self._x = owner, x
        # A Matern kernel of 5/2 is a function of 5 |x - x'|^2.
        self._relevance = 5.0 * np.exp(hyper[:, owner])
        self._linear = np.exp(hyper[:, -3]) / 5.0
        self._local = hyper[:, -2]
        self._points = (x * self._relevance[:, None, :]).swapaxes(1, 2)
        self._lengths = self._squared(x)

    def between(self, x: Array) -> Likeness:
        """The kernel between ``x [C, P]`` and the fixed points."""
        # In place, for these are the most costly lines of all.
        linear = x @ self._points
        squares = linear * -2.0
        squares += self._squared(x)[:, :, None]
        squares += self._lengths[:, None, :]
        linear *= self._linear[:, None, None]
        # Rounding may leave the square of no distance below zero.
        distance = np.sqrt(np.abs(squares, out=squares))
        decay = self._local[:, None, None] - distance
        np.exp(decay, out=decay)
        squares *= 1 / 3
        squares += distance
        squares += 1.0
        squares *= decay
        return Likeness(linear, squares, distance, decay)

    def diagonal(self, x: Array) -> Array:
        """The kernel of every row of ``x [C, P]`` with itself: ``[B, C]``."""
        diagonal: Array = self._linear[:, None] * self._squared(x) + np.exp(self._local)[:, None] + 0.5
        return diagonal

    def gradient(self, likeness: Likeness, slope: Array) -> Array:
        """The gradient ``[B, G + 3]`` of ``sum(slope * matrix)`` in the hyperparameters.

        Args:
            likeness: Between the fixed points and themselves.
            slope: Symmetric, ``[B, N, N]``.
        """
        # d Matern / d distance^2 = -1/6 (1 + d) exp(-d)
        apart = likeness.distance + 1.0
        apart *= likeness.decay
        apart *= slope
        apart *= -1 / 6
        both = slope * self._linear[:, None, None]
        both -= 2.0 * apart
        per_feature = ((both @ self._x) * self._x).sum(1) + 2.0 * apart.sum(2) @ self._x**2
        per_feature *= self._relevance
        grad = np.zeros((len(slope), self._owner.max() + 4))
        grad[:, :-3] = per_feature @ (self._owner[:, None] == np.arange(grad.shape[1] - 3))
        grad[:, -3] = np.einsum("bij,bij->b", slope, likeness.linear)
        grad[:, -2] = np.einsum("bij,bij->b", slope, likeness.matern)
        return grad

    def _squared(self, x: Array) -> Array:
        """The squared lengths of the rows of ``x [C, P]``, by relevance: ``[B, C]``."""
        lengths: Array = self._relevance @ (x**2).T
        return lengths


@dataclass(frozen=True)
class Likeness:
    """The parts of a kernel between two sets of points, each ``[B, C, N]``.

    Attributes:
        linear: ``s1 <x, x'>``.
        matern: ``s2 Matern52(|x - x'|)``.
        distance: ``|x - x'|`` in the unit of the Matern kernel.
        decay: ``s2`` times the exponential of the distance, negated.
    """

    linear: Array
    matern: Array
    distance: Array
    decay: Array

    @property
    def matrix(self) -> Array:
        """The kernel itself, ``[B, C, N]``, a fresh array."""
        matrix = self.linear + self.matern
        matrix += 0.5
        return matrix


def _plus_diagonal(matrix: Array, diagonal: Array) -> Array:
    """``[B, N, N]``, changed in place, with ``[B, N]`` added to its diagonal."""
    places = np.arange(matrix.shape[1])
    matrix[:, places, places] += diagonal
    return matrix


class Regression:
    """Gaussian processes by name, whose hyperparameters are remembered from one fit to the next.

    Attributes:
        hyper: Hyperparameters by output name.

    Args:
        owner: The group of each feature, ``[P]``.
    """

    def __init__(self, owner: Indices) -> None:
        self.hyper: dict[str, Array] = {}
        self._owner = owner
        self._process: GaussianProcess | None = None

    @property
    def ready(self) -> bool:
        """Whether there is anything to predict from."""
        return self._process is not None

    def forget(self) -> None:
        """Drop the data; the hyperparameters stay."""
        self._process = None

    def fit(
        self,
        names: Sequence[str],
        x: Array,
        y: Array,
        noise: Array,
        steps: int,
        priors: Mapping[str, Prior] | None = None,
    ) -> None:
        """Fit the outputs of these names; otherwise as :meth:`GaussianProcess.fit`.

        Args:
            names: One per output.
            x: Features ``[N, P]``.
            y: Standardised targets ``[B, N]``.
            noise: Relative noise variance ``[B, N]``.
            steps: Steps of Adam; 0 keeps the hyperparameters, unless they are those of other features.
            priors: What is expected of them, by name.
        """
        given = {row: priors[name] for row, name in enumerate(names) if priors and name in priors}
        process = GaussianProcess(self._owner, len(names), given)
        for row, name in enumerate(names):
            known = self.hyper.get(name)
            if known is not None and len(known) == process.hyper.shape[1]:
                process.hyper[row] = known
            elif known is not None:  # an earlier version's
                steps = max(steps, _ANEW)
        process.fit(x, y, noise, steps)
        self.hyper |= dict(zip(names, process.hyper, strict=True))
        self._process = process

    def posterior(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of every output at ``x [C, P]``: each ``[B, C]``."""
        assert self._process is not None
        return self._process.posterior(x)

    def calibration(self) -> Array:
        """As of :meth:`GaussianProcess.calibration`."""
        assert self._process is not None
        return self._process.calibration()

    def covariance(self, x: Array, other: Array) -> Array:
        """Posterior covariance between ``x [C, P]`` and ``other [E, P]``: ``[B, C, E]``."""
        assert self._process is not None
        return self._process.covariance(x, other)
