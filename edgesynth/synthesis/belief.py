"""What the inquisitor believes: a posterior over metrics, read as performance, margins and success.

Regressions work on standardised scales. Here ``p(y | N; theta_I)`` becomes what the generator's problem
is stated in (arXiv 1809.05989, eq. 1)::

    E[U(N)]  and  sd[U(N)]         performance
    P(1_r(N) = 1)                  from one margin per requirement, and the chance of success
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from edgesynth.metrics import SHARES, metric_kind
from edgesynth.synthesis.encoding import Array
from edgesynth.synthesis.layers import RATES, SUMS
from edgesynth.synthesis.normal import cdf, log_cdf
from edgesynth.synthesis.observations import Observations
from edgesynth.synthesis.performance import Differentiable, Performance
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.warp import Warp

__all__ = ["Belief", "Interpretation"]

_UTILITY: Final = "performance"
_FAILURE: Final = "failure"
_DRAWS: Final = 16
_SHARED: Final = 0.003
"""Noise that no interval tells of, over the usual: what no model has right, most of all."""


@dataclass(frozen=True)
class Belief:
    """What the inquisitor believes of ``n`` architectures.

    Attributes:
        utility: Mean performance ``[n]``.
        utility_std: Its standard deviation ``[n]``.
        margin: Mean margin per requirement on the model's standardised scale, ``[R, n]``; negative
            when violated.
        margin_std: Its standard deviation ``[R, n]``.
        success: Probability that the evaluation succeeds, ``[n]``.
        unit: The spread of performance among the better observations, in which gains are weighed.
        summed: 1 where what is bounded is regressed as a sum over layers, else 0, ``[R]``.
    """

    utility: Array
    utility_std: Array
    margin: Array
    margin_std: Array
    success: Array
    unit: float = 1.0
    summed: Array = field(default_factory=lambda: np.zeros(1))

    @property
    def log_feasible(self) -> Array:
        """Logarithm of the probability that every requirement holds and the evaluation succeeds."""
        chance = log_cdf(self.margin / np.maximum(self.margin_std, 1e-6)).sum(0)
        total: Array = chance + np.log(np.maximum(self.success, 1e-12))
        return total


class Interpretation:
    """Between observations, the scales that regressions work on, and beliefs.

    Attributes:
        outputs: What is regressed: metrics that are paid for; performance itself when it cannot be
            computed on tensors; the chance of failure once anything failed.

    Args:
        requirements: The bounds.
        performance: The performance function.
        scales: The scale of each metric that is computed.
        layered: Whether features of layers are known, in which what layers add up to is linear.
    """

    def __init__(
        self,
        requirements: Requirements,
        performance: Performance,
        scales: Mapping[str, Warp],
        *,
        layered: bool = False,
    ) -> None:
        self._requirements = requirements
        self._bounded = [item.metric for item in requirements]
        self._needs = performance.needs
        self._layered = layered
        self._scales = scales
        self._performance = performance
        self._score = _tensor_form(performance)
        needed = dict.fromkeys([*requirements.metrics, *(performance.needs if self._score else ())])
        self._names = [name for name in needed if name not in scales]
        if self._score is None:
            self._names.append(_UTILITY)
        draws = np.random.default_rng(1234).standard_normal((_DRAWS // 2, max(1, len(self._names)), 1))
        both = np.concatenate([draws, -draws])
        self._draws = both / both.std(axis=0, keepdims=True)
        self.forget()

    @staticmethod
    def is_quality(output: str) -> bool:
        """Whether an output speaks of the task, and not of a device."""
        return output == _UTILITY or (output != _FAILURE and metric_kind(output).source == "task")

    def forget(self) -> None:
        """Be as if nothing had been observed."""
        self.outputs: list[str] = list(self._names)
        self._warps: dict[str, Warp] = {}
        self._noise: dict[str, float] = {}
        self._slack: Mapping[str, tuple[float, float]] = {}
        self._unit = 1.0

    def observe(self, seen: Observations) -> tuple[Array, Array]:
        """Choose outputs and their scales by what was seen.

        Returns:
            Targets on those scales ``[B, N]``, not a number where unknown; relative noise ``[B, N]``.
        """
        self._slack = seen.slack
        failing = bool((seen.failed > 0).any())
        self.outputs = [*self._names, _FAILURE] if failing else list(self._names)
        better = np.sort(seen.utility[np.isfinite(seen.utility)])[-max(2, len(seen.utility) // 2) :]
        self._unit = (float(better.std()) if len(better) > 1 else 0.0) or 1.0
        targets, noises = [], []
        for name in self.outputs:
            values, weights, deviations = self._seen(seen, name)
            known = values[np.isfinite(values)]
            warp = self._warps[name] = self._fitted(name, known)
            targets.append(warp.forward(np.where(np.isfinite(values), values, np.nan)))
            noise, self._noise[name] = _noise(values, weights, deviations, warp)
            noises.append(noise)
        return np.stack(targets), np.stack(noises)

    def noise(self, output: str) -> float:
        """Variance of an observation of an output on its scale, by intervals; 0 where none was told."""
        return self._noise.get(output, 0.0)

    def metrics(self, mean: Array, std: Array) -> dict[str, tuple[Array, Array]]:
        """Every output's mean and standard deviation in its own units; arguments as for :meth:`read`."""
        out = {}
        for row, name in enumerate(self.outputs):
            warp = self._warp(name)
            out[name] = (warp.inverse(mean[row]), warp.width(mean[row], std[row]))
        return out

    def read(
        self,
        mean: Array,
        std: Array,
        exact: Mapping[str, Array],
        bounds: Array | None = None,
    ) -> Belief:
        """Turn a posterior into a belief.

        Args:
            mean: Of the outputs, ``[B, n]``.
            std: Of the outputs, ``[B, n]``.
            exact: Values of the computed metrics, each ``[n]``.
            bounds: Requirement vectors ``[n, R]``; by default the requirements themselves.
        """
        row = {name: i for i, name in enumerate(self.outputs)}
        count = mean.shape[1]
        margins, margin_stds = [], []
        for j, item in enumerate(self._requirements):
            name, warp = item.metric, self._warp(item.metric)
            if name in exact:
                centre, width = warp.forward(exact[name]), np.zeros(count)
            else:
                centre, width = mean[row[name]], std[row[name]]
            ratio = np.zeros(1) if bounds is None else bounds[:, j]
            bound = _bound(item.bound, ratio)
            low, high = self._slack.get(name, (0.0, 0.0))
            if item.sense == ">=":
                margins.append(centre - warp.forward(bound + low))
            else:
                margins.append(warp.forward(bound - high) - centre)
            margin_stds.append(width)
        none = np.zeros((0, count))
        utility, utility_std = self._utility(mean, std, exact, row)
        success = np.ones(count)
        if _FAILURE in row:
            i = row[_FAILURE]
            success = cdf((1.0 - mean[i]) / np.sqrt(std[i] ** 2 + 0.04))
        return Belief(
            utility,
            utility_std,
            np.stack(margins) if margins else none,
            np.stack(margin_stds) if margins else none,
            success,
            self._unit,
            np.array([float(name not in exact and self.adds_up(name)) for name in self._bounded]),
        )

    def adds_up(self, output: str) -> bool:
        """Whether an output is a sum over layers whose features are known, or one over such a sum."""
        return self._layered and output in SUMS | RATES

    def _seen(self, seen: Observations, name: str) -> tuple[Array, Array, Array]:
        """Values of an output, how many observations each is worth, and one's deviation: each ``[N]``."""
        ones, none = np.ones(len(seen.indices)), np.full(len(seen.indices), np.nan)
        if name == _UTILITY:
            return seen.utility, *seen.certainty(self._performance)
        if name == _FAILURE:
            return seen.failed, ones, none
        parts = (seen.values, none), (seen.weights, ones), (seen.deviations, none)
        values, weights, deviations = (columns.get(name, default) for columns, default in parts)
        return values, weights, deviations

    def _fitted(self, name: str, known: Array) -> Warp:
        """The scale of an output that had these values."""
        if name == _FAILURE:
            return Warp("raw", 0.0, 0.5)
        if not len(known):
            return Warp("raw")
        if self.adds_up(name):
            return Warp.of_parts(known, "sum" if name in SUMS else "rate")
        return Warp.fit(known, fraction=name in SHARES)

    def _warp(self, name: str) -> Warp:
        return self._scales.get(name) or self._warps.get(name, Warp("raw"))

    def _utility(
        self, mean: Array, std: Array, exact: Mapping[str, Array], row: Mapping[str, int]
    ) -> tuple[Array, Array]:
        """Mean and deviation of performance over fixed draws of the metrics, each ``[n]``."""
        if self._score is None:
            draws = self._warp(_UTILITY).inverse(mean[row[_UTILITY]] + std[row[_UTILITY]] * self._draws[:, 0])
            return _moments(draws)
        metrics: dict[str, Tensor] = {}
        for name in self._needs:
            if name in exact:
                metrics[name] = torch.from_numpy(exact[name]).expand(_DRAWS, -1)
            else:
                i = row[name]
                draws = self._warp(name).inverse(mean[i] + std[i] * self._draws[:, i])
                metrics[name] = torch.from_numpy(draws)
        return _moments(self._score(metrics).numpy())


def _moments(draws: Array) -> tuple[Array, Array]:
    """Mean and standard deviation over the first axis of ``[S, n]``, each ``[n]``."""
    mean = draws.mean(0)
    # Several times faster than NumPy's own deviation.
    return mean, np.sqrt(((draws - mean) ** 2).sum(0) / (len(draws) - 1))


def _bound(bound: float, ratio: Array) -> Array:
    """The inverse of :meth:`Requirements.vector` for one bound."""
    return bound * np.exp(ratio) if bound > 0 else bound + ratio * (abs(bound) or 1.0)


def _noise(values: Array, weights: Array, deviations: Array, warp: Warp) -> tuple[Array, float]:
    """How noisy what was seen of an output is on its scale: relative variances ``[N]``, and their unit.

    Arguments are as :meth:`Interpretation._seen` gives them. The unit is the usual variance of one
    observation, which those without an interval are taken to have. Intervals say little of how noisy networks
    are beside each other, which were judged on the same samples; but which of them are the surer ones, they
    do say.
    """
    noise = 1.0 / weights
    variances = ((warp.forward(values + deviations) - warp.forward(values - deviations)) / 2) ** 2
    # No wider than all that was seen, for intervals may reach beyond where the scale ends.
    variances = np.minimum(variances, 1.0)
    if not (variances > 0).any():
        return noise, 0.0
    usual = float(np.median(variances[variances > 0]))
    known = np.isfinite(variances)
    noise[known] *= variances[known] / usual
    return (noise + _SHARED) / (1.0 + _SHARED), usual


def _tensor_form(performance: Performance) -> Callable[[Mapping[str, Tensor]], Tensor] | None:
    """The performance function on tensors, if it has one or happens to accept them."""
    if isinstance(performance, Differentiable):
        return performance.tensor
    function: Callable[[Any], Any] = getattr(performance, "function", performance)
    trial = {name: torch.tensor([0.3, 0.7, 0.9], dtype=torch.float64) for name in performance.needs}
    try:
        got = function(trial)
        want = [float(function({name: float(v[i]) for name, v in trial.items()})) for i in range(3)]
    except Exception:
        # Whatever it dislikes about tensors, it can still be learned from examples.
        return None
    fits = isinstance(got, Tensor) and got.shape == (3,) and np.allclose(got.numpy(), want)
    return function if fits else None
