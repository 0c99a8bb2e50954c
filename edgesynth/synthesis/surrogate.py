"""The regressions inside the inquisitor: Gaussian processes, and the scales they work on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["GaussianProcess", "Kernel", "Regression", "Warp"]

_JITTER: Final = 1e-6
_MISSING: Final = 1e6
_LEAST_NOISE: Final = 1e-5
_BLOCK: Final = 2**16
"""Kernel entries predicted from at a time: they stay in the cache, and memory is reused."""


@dataclass(frozen=True)
class Warp:
    """A monotone map from a metric to a scale on which a Gaussian fits it.

    Attributes:
        kind: ``log`` for positive scales (latency, energy, MACs), ``logit`` for fractions, ``raw`` else.
        shift: Subtracted after the map.
        scale: Divided by after the shift.
        floor: The least value the logarithm sees.
    """

    kind: Literal["log", "logit", "raw"]
    shift: float = 0.0
    scale: float = 1.0
    floor: float = 1e-9

    @classmethod
    def fit(cls, values: NDArray[np.float64], *, fraction: bool) -> Warp:
        """Choose the map by the values' range, and standardise by their mean and deviation."""
        kind: Literal["log", "logit", "raw"] = "raw"
        floor = 1e-9
        if fraction and values.min() >= 0 and values.max() <= 1:
            kind = "logit"
        elif not fraction and values.min() >= 0 and values.max() > 0:
            kind, floor = "log", max(1e-3 * float(np.median(values[values > 0])), 1e-300)
        mapped = cls(kind, floor=floor).forward(torch.from_numpy(values)).numpy()
        scale = float(mapped.std()) if len(mapped) > 1 else 1.0
        return cls(kind, float(mapped.mean()), scale if scale > 1e-9 else 1.0, floor)

    def forward(self, values: Tensor) -> Tensor:
        """Metric to model scale."""
        if self.kind == "log":
            values = (values + self.floor).clamp_min(self.floor).log()
        elif self.kind == "logit":
            values = values.clamp(1e-3, 1 - 1e-4).logit()
        return (values - self.shift) / self.scale

    def inverse(self, values: Tensor) -> Tensor:
        """Model scale to metric."""
        values = values * self.scale + self.shift
        if self.kind == "log":
            # The clamp keeps wild extrapolations finite.
            return values.clamp(-200.0, 200.0).exp() - self.floor
        return values.sigmoid() if self.kind == "logit" else values

    def to_json(self) -> list[Any]:
        """The JSON form."""
        return [self.kind, self.shift, self.scale, self.floor]


class GaussianProcess:
    """Exact Gaussian processes for several outputs at once, with one kernel each.

    The kernel of an output is ``s0 + s1 <x, x'> + s2 Matern52(|x - x'|)`` on features scaled by a
    learned relevance per group (dimension): the linear part extrapolates additive effects from few
    points, the Matern part holds interactions. Hyperparameters are the maximum a posteriori under
    log-normal priors (Adam on the marginal likelihood, warm-started).

    Args:
        owner: The group of each feature, ``[P]``.
        outputs: How many outputs there are.
        relevance: What the logarithms of the groups' relevances are expected to differ by, ``[outputs, G]``;
            nothing by default.
    """

    def __init__(self, owner: Tensor, outputs: int, relevance: Tensor | None = None) -> None:
        self.owner = owner
        groups = int(owner.max()) + 1
        even = torch.full((groups,), math.log(2.0 / groups), dtype=torch.float64)
        rest = torch.tensor([0.0, 0.0, math.log(1e-3)], dtype=torch.float64)
        self._prior = torch.cat([even, rest]).repeat(outputs, 1)
        if relevance is not None:
            self._prior[:, :groups] += relevance - relevance.exp().mean(1, keepdim=True).log()
        self._spread = torch.cat([torch.full((groups,), 1.0), torch.tensor([1.0, 1.0, 2.0])]).to(
            torch.float64
        )
        self.hyper = self._prior.clone()
        self._x = torch.empty(0, len(owner), dtype=torch.float64)
        self._alpha = torch.empty(outputs, 0, dtype=torch.float64)
        self._inverse = torch.empty(outputs, 0, 0, dtype=torch.float64)

    def fit(self, x: Tensor, y: Tensor, noise: Tensor, steps: int) -> float:
        """Learn hyperparameters for ``steps`` steps, then condition on the data.

        Args:
            x: Features ``[N, P]``.
            y: Standardised targets ``[B, N]``; not a number where an output was not observed.
            noise: Relative noise variance per observation, ``[B, N]``: one over the repeats.
            steps: Steps of Adam; 0 keeps the hyperparameters.

        Returns:
            The mean negative log posterior per observation at the last step.
        """
        seen = ~y.isnan()
        target = torch.where(seen, y, 0.0)
        first, second = torch.zeros_like(self.hyper), torch.zeros_like(self.hyper)
        loss = math.nan
        for step in range(1, steps + 1):
            hyper = self.hyper
            kernel = Kernel(hyper, self.owner, x)
            factor = torch.linalg.cholesky(_plus_diagonal(kernel.matrix, self._noise(hyper, noise, seen)))
            inverse = torch.cholesky_inverse(factor)
            alpha = (inverse @ target[:, :, None])[:, :, 0]
            # d(-log p)/dK
            slope = torch.baddbmm(inverse, alpha[:, :, None], alpha[:, None, :], beta=0.5, alpha=-0.5)
            grad = kernel.gradient(slope) + (hyper - self._prior) / self._spread**2
            own = torch.where(seen, slope.diagonal(dim1=1, dim2=2) * noise, 0.0).sum(1)
            grad[:, -1] += hyper[:, -1].exp() * own
            if step == steps:
                diagonal = factor.diagonal(dim1=1, dim2=2).log()
                fit = 0.5 * (target * alpha).sum(1) + torch.where(seen, diagonal, 0.0).sum(1)
                prior = 0.5 * (((hyper - self._prior) / self._spread) ** 2).sum()
                loss = float((fit.sum() + prior) / seen.sum().clamp_min(1))
            first = 0.9 * first + 0.1 * grad
            second = 0.95 * second + 0.05 * grad.square()
            rate = 0.15 * min(1.0, 2.0 * (1 - (step - 1) / steps))
            move = (first / (1 - 0.9**step)) / ((second / (1 - 0.95**step)).sqrt() + 1e-8)
            self.hyper = (self.hyper - rate * move).clamp(-9.0, 5.0)
        self.condition(x, y, noise)
        return loss

    def condition(self, x: Tensor, y: Tensor, noise: Tensor) -> None:
        """Condition on data under the present hyperparameters; arguments as for :meth:`fit`."""
        seen = ~y.isnan()
        kernel = Kernel(self.hyper, self.owner, x).matrix
        noisy = _plus_diagonal(kernel, self._noise(self.hyper, noise, seen))
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(noisy))
        self._alpha = (self._inverse @ torch.where(seen, y, 0.0)[:, :, None])[:, :, 0]
        self._x = x

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every output at ``x [C, P]``: each ``[B, C]``."""
        rows = max(1, _BLOCK // max(1, self._alpha.numel()))
        parts = [self._posterior(block) for block in torch.split(x, rows)]
        return torch.cat([mean for mean, _ in parts], dim=1), torch.cat([std for _, std in parts], dim=1)

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kernel = Kernel(self.hyper, self.owner, x, self._x)
        cross = kernel.matrix
        mean = (cross @ self._alpha[:, :, None])[:, :, 0]
        variance = kernel.diagonal() - (cross @ self._inverse).mul_(cross).sum(2)
        return mean, variance.clamp_min(1e-8).sqrt()

    def covariance(self, x: Tensor, other: Tensor) -> Tensor:
        """Posterior covariance between ``x [C, P]`` and ``other [E, P]``: ``[B, C, E]``."""
        left, right, both = (
            Kernel(self.hyper, self.owner, *pair).matrix
            for pair in ((x, self._x), (other, self._x), (x, other))
        )
        return both - left @ (self._inverse @ right.transpose(1, 2))

    def _noise(self, hyper: Tensor, noise: Tensor, seen: Tensor) -> Tensor:
        variance = (hyper[:, -1:].exp() + _LEAST_NOISE) * noise + _JITTER
        return torch.where(seen, variance, _MISSING)


class Kernel:
    """The kernel of every output between two sets of features, and its slope in the hyperparameters.

    Attributes:
        matrix: ``[B, C, E]``.

    Args:
        hyper: Hyperparameters ``[B, G + 3]``.
        owner: The group of each feature, ``[P]``.
        x: Features ``[C, P]``.
        other: Features ``[E, P]``; by default the same.
    """

    def __init__(self, hyper: Tensor, owner: Tensor, x: Tensor, other: Tensor | None = None) -> None:
        self._hyper, self._owner, self._x = hyper, owner, x
        scale = (0.5 * hyper[:, owner]).exp()[:, None, :]
        left = x * scale
        right = left if other is None else other * scale
        self._gram = left @ right.transpose(1, 2)
        self._lengths = left.square().sum(2)
        squares = self._lengths[:, :, None] + right.square().sum(2)[:, None, :]
        linear, local = hyper[:, -3, None, None].exp(), hyper[:, -2, None, None].exp()
        # In place, for these are the most costly lines of all.
        distance = squares.sub_(self._gram, alpha=2.0).mul_(5.0).clamp_min_(1e-12).sqrt_()
        self._distance, self._decay = distance, distance.neg().exp_()
        self._matern = torch.addcmul(distance, distance, distance, value=1 / 3).add_(1.0).mul_(self._decay)
        self.matrix = torch.addcmul(self._gram * linear, self._matern, local).add_(0.5)

    def diagonal(self) -> Tensor:
        """The kernel of every row of ``x`` with itself: ``[B, C]``."""
        linear, local = self._hyper[:, -3, None].exp(), self._hyper[:, -2, None].exp()
        return torch.addcmul(local + 0.5, linear, self._lengths)

    def gradient(self, slope: Tensor) -> Tensor:
        """The gradient ``[B, G + 3]`` of ``sum(slope * matrix)``, for a symmetric slope ``[B, N, N]``."""
        hyper, x = self._hyper, self._x
        linear, local = hyper[:, -3, None].exp(), hyper[:, -2, None].exp()
        grad = torch.zeros_like(hyper)
        grad[:, -3] = linear[:, 0] * (slope * self._gram).sum((1, 2))
        grad[:, -2] = local[:, 0] * (slope * self._matern).sum((1, 2))
        # d Matern / d |x - x'|^2 = -5/6 (1 + d) exp(-d)
        apart = (self._distance + 1.0).mul_(self._decay).mul_(slope).mul_(-5 / 6 * local[:, :, None])
        both = torch.sub(slope * linear[:, :, None], apart, alpha=2.0)
        per_feature = ((both @ x) * x).sum(1) + 2.0 * apart.sum(2) @ x.square()
        per_feature *= hyper[:, self._owner].exp()
        return grad.index_add_(1, self._owner, per_feature)


def _plus_diagonal(matrix: Tensor, diagonal: Tensor) -> Tensor:
    """``[B, N, N]``, changed in place, with ``[B, N]`` added to its diagonal."""
    matrix.diagonal(dim1=1, dim2=2).add_(diagonal)
    return matrix


class Regression:
    """Gaussian processes by name, whose hyperparameters are remembered from one fit to the next.

    Attributes:
        hyper: Hyperparameters by output name.

    Args:
        owner: The group of each feature of an architecture, ``[P]``. Every further feature that a fit
            is given has a group of its own.
    """

    def __init__(self, owner: Tensor) -> None:
        self.hyper: dict[str, Tensor] = {}
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
        x: Tensor,
        y: Tensor,
        noise: Tensor,
        steps: int,
        relevance: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Fit the outputs of these names; otherwise as :meth:`GaussianProcess.fit`.

        Args:
            names: One per output.
            x: Features ``[N, P]``.
            y: Standardised targets ``[B, N]``.
            noise: Relative noise variance ``[B, N]``.
            steps: Steps of Adam; 0 keeps the hyperparameters.
            relevance: By name, what the logarithms of the dimensions' relevances are expected to differ by,
                ``[D]``; nothing where a name is missing.
        """
        groups = int(self._owner.max()) + 1
        extra = torch.arange(groups, groups + x.shape[1] - len(self._owner))
        expected = torch.zeros(len(names), groups + len(extra), dtype=torch.float64)
        for row, name in enumerate(names):
            if relevance and name in relevance:
                expected[row, :groups] = relevance[name]
        process = GaussianProcess(torch.cat([self._owner, extra]), len(names), expected)
        for row, name in enumerate(names):
            known = self.hyper.get(name)
            if known is not None and len(known) == process.hyper.shape[1]:
                process.hyper[row] = known
        process.fit(x, y, noise, steps)
        self.hyper |= dict(zip(names, process.hyper, strict=True))
        self._process = process

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every output at ``x [C, P]``: each ``[B, C]``."""
        assert self._process is not None
        return self._process.posterior(x)

    def covariance(self, x: Tensor, other: Tensor) -> Tensor:
        """Posterior covariance between ``x [C, P]`` and ``other [E, P]``: ``[B, C, E]``."""
        assert self._process is not None
        return self._process.covariance(x, other)
