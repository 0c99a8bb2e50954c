"""The inquisitor ``I(G; theta_I)`` (arXiv 1809.05989, eq. 3): what it believes, and what it teaches.

``theta_I`` predicts every metric ``y`` of an architecture ``N``, with its uncertainty, from all
observations so far and from probe responses; ``delta`` is the change of ``theta_G`` it asks for::

    theta_I,k       = argmax  log p({y_i} | {N_i}; theta_I) + log p(theta_I)
    delta theta_G,k = I(G_k; theta_I,k)

The first line is :meth:`Inquisitor.learn` (Gaussian processes for what is paid for, a net for what is
free), the second :meth:`Inquisitor.delta`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesynth.synthesis.belief import Belief, Interpretation
from edgesynth.synthesis.encoding import Encoding, Indices
from edgesynth.synthesis.observations import Observations
from edgesynth.synthesis.performance import Performance
from edgesynth.synthesis.policy import Policy
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.responses import ResponseModel
from edgesynth.synthesis.surrogate import CostNet, Regression
from edgesynth.synthesis.teaching import Teaching, Update

__all__ = ["Inquisitor"]

_ADDED: Final = 0.5
"""Weight of predicted features beside those of the architecture itself."""


class Inquisitor:
    """``theta_I``: an uncertainty-aware model of every metric that is not free, and a net for those that are.

    Args:
        encoding: The space's encoding.
        requirements: The bounds; their metrics are predicted.
        performance: The performance function; its metrics are predicted, or it is itself when it
            cannot be evaluated on tensors.
        computed: Names of the metrics that are exact and free.
        seed: Seed of everything random inside.
    """

    def __init__(
        self,
        encoding: Encoding,
        requirements: Requirements,
        performance: Performance,
        computed: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        self.encoding = encoding
        self._cost = CostNet(encoding.projection.shape[1], computed, seed) if computed else None
        self._responses = ResponseModel(encoding.owner)
        self._metrics = Regression(encoding.owner)
        self._interpretation = Interpretation(requirements, performance, self._cost)
        self._teaching = Teaching(encoding, self._imagine)

    # --- theta_I: learning ---

    def learn_costs(
        self,
        indices: Indices,
        values: Mapping[str, NDArray[np.float64]],
        steps: int,
        rng: np.random.Generator,
    ) -> None:
        """Teach the cost net exact samples: value indices ``[n, D]`` and each metric's values ``[n]``."""
        if self._cost is not None:
            self._cost.fit(self.encoding.features(self.encoding.onehot(indices)), values, steps, rng)

    def learn(self, seen: Observations, steps: int) -> None:
        """Fit ``theta_I`` to every observation; 0 steps only conditions on them."""
        onehot = self.encoding.onehot(seen.indices)
        self._responses.fit(self.encoding.features(onehot), seen.responses, steps)
        targets, noise = self._interpretation.observe(seen)
        self._metrics.fit(self._interpretation.outputs, self._features(onehot), targets, noise, steps)

    def _features(self, onehot: Tensor) -> Tensor:
        """The architecture, its predicted costs, and its predicted probe responses: ``[n, P]``."""
        base = self.encoding.features(onehot)
        parts = [base]
        if self._cost is not None and self._cost.warps:
            parts.append(_ADDED * self._cost(base))
        parts.append(_ADDED * self._responses.predict(base))
        return torch.cat(parts, dim=1)

    # --- theta_I: prediction ---

    @property
    def ready(self) -> bool:
        """Whether anything was learned yet."""
        return self._metrics.ready

    def features(self, indices: Indices) -> Tensor:
        """The features ``[n, P]`` that the metric model sees, of hard choices ``[n, D]``."""
        with torch.no_grad():
            return self._features(self.encoding.onehot(indices))

    def covariance(self, x: Tensor, other: Tensor) -> Tensor:
        """Posterior covariance of every output between feature rows: ``[B, n, m]``."""
        return self._metrics.covariance(x, other)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every output at feature rows ``[n, P]``, each ``[B, n]``."""
        if not self.ready:
            shape = (len(self._interpretation.outputs), len(x))
            return torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
        return self._metrics.posterior(x)

    def believe(
        self, onehot: Tensor, exact: Mapping[str, Tensor] | None = None, bounds: Tensor | None = None
    ) -> Belief:
        """Predict ``n`` (relaxed) architectures; differentiable in ``onehot [n, D, V]``.

        Args:
            onehot: Padded one-hot choices or probabilities.
            exact: Exact values of the computed metrics, each ``[n]``; by default the cost net's.
            bounds: Requirement vectors ``[n, R]``; by default the taught requirements.
        """
        mean, std = self.posterior(self._features(onehot))
        return self.interpret(onehot, mean, std, exact, bounds)

    def interpret(
        self,
        onehot: Tensor,
        mean: Tensor,
        std: Tensor,
        exact: Mapping[str, Tensor] | None = None,
        bounds: Tensor | None = None,
    ) -> Belief:
        """Turn the outputs' posterior (each ``[B, n]``) into performance, margins and success."""
        return self._interpretation.read(self.encoding.features(onehot), mean, std, exact, bounds)

    def predict(self, indices: Indices) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Mean and standard deviation, each ``[n]``, of every modelled metric at ``[n, D]``."""
        with torch.no_grad():
            found = self._interpretation.metrics(*self.posterior(self.features(indices)))
        return {name: (mean.numpy(), std.numpy()) for name, (mean, std) in found.items()}

    # --- delta theta_G ---

    def initial(self, policy: Policy, family: Indices) -> Tensor:
        """The change of ``theta_G`` that makes the policy draw a given family ``[n, D]``."""
        return self._teaching.initial(policy, family)

    def delta(
        self,
        policy: Policy,
        rng: np.random.Generator,
        *,
        steps: int = 40,
        diversity: float = 0.1,
        span: float = 0.0,
        start: Indices | None = None,
    ) -> Update:
        """``delta theta_G = I(G; theta_I)``; arguments as for :meth:`Teaching.delta`."""
        return self._teaching.delta(policy, rng, steps=steps, diversity=diversity, span=span, start=start)

    def _imagine(self, indices: Indices, bounds: Tensor) -> Belief:
        with torch.no_grad():
            return self.believe(self.encoding.onehot(indices), bounds=bounds)

    # --- state ---

    def tensors(self) -> dict[str, Tensor]:
        """Everything learned that is a tensor; what observations determine is left out."""
        out = {f"hyper.metrics.{name}": value for name, value in self._metrics.hyper.items()}
        out |= {f"hyper.probe.{name}": value for name, value in self._responses.regression.hyper.items()}
        out["population"] = torch.from_numpy(self._teaching.members)
        if self._cost is not None:
            out |= {f"cost.{name}": value for name, value in self._cost.tensors().items()}
        return out

    def to_json(self) -> dict[str, Any]:
        """Everything learned that is a number."""
        return {
            "temperature": self._teaching.temperature,
            "caution": self._teaching.caution,
            "cost": None if self._cost is None else self._cost.to_json(),
            "cost_error": 0.0 if self._cost is None else self._cost.error,
        }

    def restore(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Read what :meth:`tensors` and :meth:`to_json` gave; observations are to be learned again."""
        for regression, prefix in (
            (self._metrics, "hyper.metrics."),
            (self._responses.regression, "hyper.probe."),
        ):
            regression.forget()
            regression.hyper = _under(prefix, tensors)
        self._interpretation.forget()
        self._teaching.members = tensors["population"].numpy()
        self._teaching.temperature, self._teaching.caution = (
            float(data["temperature"]),
            float(data["caution"]),
        )
        if self._cost is not None:
            self._cost.restore(_under("cost.", tensors), data["cost"])
            self._cost.error = float(data["cost_error"])


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
