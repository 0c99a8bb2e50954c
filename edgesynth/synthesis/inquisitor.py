"""The inquisitor ``I(G; theta_I)`` (arXiv 1809.05989, eq. 3): what it believes, and what it teaches.

``theta_I`` predicts every metric ``y`` of an architecture ``N``, with its uncertainty, from all
observations so far and from probe responses; ``delta`` is the change of ``theta_G`` it asks for::

    theta_I,k       = argmax  log p({y_i} | {N_i}; theta_I) + log p(theta_I)
    delta theta_G,k = I(G_k; theta_I,k)

The first line is :meth:`Inquisitor.learn` (Gaussian processes on what is paid for; what is free is asked
for exactly), the second :meth:`Inquisitor.delta`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesynth.synthesis.belief import Belief, Interpretation
from edgesynth.synthesis.budgets import Budgets
from edgesynth.synthesis.candidates import Costs
from edgesynth.synthesis.encoding import Array, Encoding, Indices
from edgesynth.synthesis.layers import LayerFeatures
from edgesynth.synthesis.observations import Observations
from edgesynth.synthesis.performance import Performance
from edgesynth.synthesis.policy import Policy
from edgesynth.synthesis.proportions import Proportions
from edgesynth.synthesis.relevance import prior_relevance
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.states import under
from edgesynth.synthesis.surrogate import LEAST_NOISE, Prior, Regression
from edgesynth.synthesis.teaching import Lesson, Teaching, Update
from edgesynth.synthesis.tiles import TileFeatures

__all__ = ["Inquisitor"]

_ADDED: Final = 0.5
"""Weight of exact costs beside the features of the architecture itself."""

_HARDLY: Final = (-4.0, -3.0)
"""Logarithms of how relevant the features of layers are to a quality, and dimensions to a sum over layers."""

_RARELY: Final = -3.0
"""Logarithm of how relevant tiles are to anything, where layers are not known."""

_LOOSE: Final = 2.0
"""How sure it is beforehand how well features of layers explain such a sum: very well on some devices."""


class Inquisitor:
    """``theta_I``: an uncertainty-aware model of every metric that is not free.

    Attributes:
        teaching: How it teaches the generator, and where the last lesson ended.

    Args:
        encoding: The space's encoding.
        requirements: The bounds; their metrics are predicted.
        performance: The performance function; its metrics are predicted, or it is itself when it
            cannot be evaluated on tensors.
        costs: The metrics that are exact and free.
    """

    def __init__(
        self, encoding: Encoding, requirements: Requirements, performance: Performance, costs: Costs
    ) -> None:
        self.encoding = encoding
        self._requirements = requirements
        self._costs = costs
        layers = costs.layers
        self._interpretation = Interpretation(
            requirements, performance, costs.scales, layered=layers is not None
        )
        self._own = len(encoding.space) + len(costs.names)
        parts = [encoding.owner, np.arange(len(encoding.space), self._own)]
        # Of layers and tiles a device alone knows; where nothing is asked of one, they are left out.
        self._device: LayerFeatures | TileFeatures | None = None
        if not all(map(self._interpretation.is_quality, self._interpretation.outputs)):
            self._device = layers or TileFeatures(encoding.space)
            parts.append(self._own + self._device.group)
        owner = np.concatenate(parts)
        self._groups = int(owner.max()) + 1
        self._metrics = Regression(owner)
        self.teaching = Teaching(encoding, self.believe, Proportions(encoding.space, costs.function))

    # --- theta_I: learning ---

    def learn(self, seen: Observations, steps: int) -> None:
        """Fit ``theta_I`` to every observation; 0 steps only conditions on them."""
        targets, noise = self._interpretation.observe(seen)
        outputs = self._interpretation.outputs
        dimensions = len(self.encoding.space)
        even, quality, summed = np.zeros((3, self._groups))
        quality[:dimensions] = prior_relevance(self.encoding.space, seen.responses)
        quality[self._own :], summed[:dimensions] = _HARDLY
        if isinstance(self._device, TileFeatures):
            even[self._own :] = quality[self._own :] = _RARELY
        priors = {}
        for name in outputs:
            told = self._interpretation.noise(name)
            prior = Prior(even, noise=max(LEAST_NOISE, told))
            if self._interpretation.is_quality(name):
                prior = replace(prior, relevance=quality)
            elif self._interpretation.adds_up(name):
                prior = replace(prior, relevance=summed, spread=_LOOSE)
            priors[name] = prior
        self._metrics.fit(outputs, self.features(seen.indices), targets, noise, steps, priors)

    # --- theta_I: prediction ---

    @property
    def ready(self) -> bool:
        """Whether anything was learned yet."""
        return self._metrics.ready

    def features(self, indices: Indices, exact: Mapping[str, NDArray[np.float64]] | None = None) -> Array:
        """An architecture, its exact costs, and its layers or tiles where they matter: ``[n, P]``.

        Args:
            indices: Value indices ``[n, D]``.
            exact: Their exact costs, where they are known already.
        """
        exact = self._costs(indices) if exact is None else exact
        parts = [self.encoding.embed(indices), _ADDED * self._costs.features(exact, len(indices))]
        return np.hstack(parts if self._device is None else [*parts, self._device(indices)])

    def covariance(self, x: Array, other: Array) -> Array:
        """Posterior covariance of every output between feature rows: ``[B, n, m]``."""
        return self._metrics.covariance(x, other)

    def posterior(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of every output at feature rows ``[n, P]``, each ``[B, n]``."""
        if not self.ready:
            shape = (len(self._interpretation.outputs), len(x))
            return np.zeros(shape), np.ones(shape)
        return self._metrics.posterior(x)

    def bounds(self, requirements: Requirements | None = None) -> Array:
        """The vector ``[1, R]`` of requirements; by default of the taught ones."""
        wanted = requirements or self._requirements
        return np.array([wanted.vector(self._requirements)])

    def believe(self, indices: Indices, bounds: Array | None = None) -> Belief:
        """What to expect of architectures ``[n, D]``.

        Args:
            indices: Value indices.
            bounds: Requirement vectors ``[n, R]``; by default the taught requirements.
        """
        exact = self._costs(indices)
        mean, std = self.posterior(self.features(indices, exact))
        return self._interpretation.read(mean, std, exact, bounds)

    def interpret(self, indices: Indices, mean: Array, std: Array, bounds: Array | None = None) -> Belief:
        """Turn the outputs' posterior (each ``[B, n]``) into performance, margins and success."""
        return self._interpretation.read(mean, std, self._costs(indices), bounds)

    def predict(self, indices: Indices) -> dict[str, tuple[Array, Array]]:
        """Mean and standard deviation, each ``[n]``, of every modelled metric at ``[n, D]``.

        Deviations are as large as errors have been. Beliefs keep the model's own: what is explored is
        what they are unsure of.
        """
        mean, std = self.posterior(self.features(indices))
        scale = self._metrics.calibration() if self.ready else np.ones(len(std))
        return self._interpretation.metrics(mean, std * scale[:, None])

    # --- delta theta_G ---

    def initial(self, policy: Policy, family: Indices) -> Array:
        """The change of ``theta_G`` that makes the policy draw a given family ``[n, D]``."""
        return self.teaching.initial(policy, family)

    def delta(
        self,
        policy: Policy,
        rng: np.random.Generator,
        *,
        steps: int = 40,
        diversity: float = 0.1,
        budgets: Budgets | None = None,
        start: Indices | None = None,
        told: int = 0,
        drawn_from: bool = True,
    ) -> Update:
        """``delta theta_G = I(G; theta_I)``; arguments as for :meth:`Teaching.delta`."""
        return self.teaching.delta(
            policy,
            rng,
            steps=steps,
            diversity=diversity,
            budgets=budgets,
            start=start,
            told=told,
            drawn_from=drawn_from,
        )

    # --- state ---

    def tensors(self) -> dict[str, Tensor]:
        """Everything learned that is a tensor; what observations determine is left out."""
        out = {
            f"hyper.metrics.{name}": torch.from_numpy(hyper) for name, hyper in self._metrics.hyper.items()
        }
        out |= self.teaching.lesson.tensors()
        return out

    def to_json(self) -> dict[str, Any]:
        """Everything learned that is a number."""
        return self.teaching.lesson.to_json()

    def restore(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Read what :meth:`tensors` and :meth:`to_json` gave; observations are to be learned again."""
        self._metrics.forget()
        self._metrics.hyper = {
            name: hyper.numpy() for name, hyper in under("hyper.metrics.", tensors).items()
        }
        self._interpretation.forget()
        self.teaching.lesson = Lesson.read(tensors, data)
