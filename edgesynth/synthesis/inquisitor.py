"""The inquisitor ``I(G; theta_I)`` (arXiv 1809.05989, eq. 3): what it has seen, and what it teaches.

``theta_I`` predicts every metric of an architecture, with its uncertainty, from all observations so
far; ``delta`` is the change of ``theta_G`` it asks for: the gradient of predicted performance under
the requirements, through ``theta_I``, over imagined seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesynth.synthesis.encoding import Encoding, Indices, mutate
from edgesynth.synthesis.performance import Differentiable, Performance
from edgesynth.synthesis.policy import Policy
from edgesynth.synthesis.population import Ascent, Population, Weights
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.surrogate import CostNet, GaussianProcess, Warp

__all__ = ["FRACTIONS", "Belief", "Inquisitor", "Observations", "Update"]

FRACTIONS: Final = frozenset({"accuracy", "miou", "map"})
_UTILITY: Final = "performance"
_FAILURE: Final = "failure"
_RESPONSES: Final = 2
_DRAWS: Final = 16
_POPULATION: Final = 256
_RATE: Final = 1e-2
_GLOBAL: Final = 3
_FRESH: Final = 128
_CAUTION: Final = 1.5
_LEAST_CAUTION: Final = 0.75


@dataclass(frozen=True)
class Observations:
    """Everything told so far, one row per architecture.

    Attributes:
        indices: Value indices ``[N, D]``.
        values: Mean observed value by metric name, ``[N]``; not a number where there is none.
        noise: One over the number of observations, by metric name, ``[N]``.
        utility: Mean performance ``[N]``; not a number where a needed metric is missing.
        failed: Share of attempts that failed, ``[N]``; not a number where nothing was attempted.
        responses: Probe responses ``[N, R]``; rows of not a number where none were given.
        slack: By metric, the mean distance from value to the (low, high) end of its interval.
    """

    indices: Indices
    values: Mapping[str, NDArray[np.float64]]
    noise: Mapping[str, NDArray[np.float64]]
    utility: NDArray[np.float64]
    failed: NDArray[np.float64]
    responses: NDArray[np.float64]
    slack: Mapping[str, tuple[float, float]] = field(default_factory=dict)


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
    """

    utility: Tensor
    utility_std: Tensor
    margin: Tensor
    margin_std: Tensor
    success: Tensor

    @property
    def log_feasible(self) -> Tensor:
        """Logarithm of the probability that every requirement holds and the evaluation succeeds."""
        chance = torch.special.log_ndtr(self.margin / self.margin_std.clamp_min(1e-6)).sum(0)
        total: Tensor = chance + self.success.clamp_min(1e-12).log()
        return total

    @property
    def feasible(self) -> Tensor:
        """Whether the means hold every requirement, ``[n]`` bool."""
        inside: Tensor = (self.margin >= 0).all(0)
        return inside


@dataclass(frozen=True)
class Update:
    """``delta theta_G``, and how it was found.

    Attributes:
        delta: To be added to ``theta_G``.
        record: Figures for the cycle's record.
    """

    delta: Tensor
    record: Mapping[str, Any]


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
        self.requirements = requirements
        self.performance = performance
        self.computed = tuple(computed)
        self.cost = CostNet(encoding.projection.shape[1], self.computed, seed) if self.computed else None
        self.cost_error = 0.0
        self.score = _tensor_form(performance)
        needed = dict.fromkeys([*requirements.metrics, *(performance.needs if self.score else ())])
        self.names = [name for name in needed if name not in self.computed]
        if self.score is None:
            self.names.append(_UTILITY)
        self.outputs = list(self.names)
        self.temperature = 1.0
        self.caution = _CAUTION
        self._members = np.empty((0, len(encoding.space)), dtype=np.int64)
        self._warps: dict[str, Warp] = {}
        self._slack: Mapping[str, tuple[float, float]] = {}
        self._model: GaussianProcess | None = None
        self._probe: GaussianProcess | None = None
        self._hyper: dict[str, Tensor] = {}
        self._utility_scale = 1.0
        draws = np.random.default_rng(1234).standard_normal((_DRAWS // 2, max(1, len(self.names)), 1))
        both = np.concatenate([draws, -draws])
        self._draws = torch.from_numpy(both / both.std(axis=0, keepdims=True))

    # --- theta_I: learning from observations ---

    def learn_costs(
        self,
        indices: Indices,
        values: Mapping[str, NDArray[np.float64]],
        steps: int,
        rng: np.random.Generator,
    ) -> None:
        """Teach the cost net exact samples: value indices ``[n, D]`` and each metric's values ``[n]``."""
        if self.cost is not None:
            features = self.encoding.features(self.encoding.onehot(indices))
            self.cost_error = self.cost.fit(features, values, steps, rng)

    def learn(self, seen: Observations, steps: int) -> None:
        """Fit ``theta_I`` to every observation; 0 steps only conditions on them."""
        onehot = self.encoding.onehot(seen.indices)
        self._slack = seen.slack
        self._learn_responses(onehot, seen.responses, steps)
        failing = bool((seen.failed > 0).any())
        self.outputs = [*self.names, _FAILURE] if failing else list(self.names)
        targets, noises = [], []
        for name in self.outputs:
            values = {_UTILITY: seen.utility, _FAILURE: seen.failed}.get(name, seen.values.get(name))
            if values is None:
                values = np.full(len(seen.indices), np.nan)
            known = values[np.isfinite(values)]
            if name == _FAILURE:
                warp = Warp("raw", 0.0, 0.5)
            else:
                warp = Warp.fit(known, fraction=name in FRACTIONS) if len(known) else Warp("raw")
            self._warps[name] = warp
            finite = torch.from_numpy(np.where(np.isfinite(values), values, np.nan))
            targets.append(warp.forward(finite))
            noises.append(torch.from_numpy(seen.noise.get(name, np.ones(len(values)))))
        better = np.sort(seen.utility[np.isfinite(seen.utility)])[-max(2, len(seen.utility) // 2) :]
        self._utility_scale = (float(better.std()) if len(better) > 1 else 0.0) or 1.0
        x = self._features(onehot)
        self._model = self._process("metrics", x.shape[1], self.outputs)
        self._model.fit(x, torch.stack(targets), torch.stack(noises), steps)
        for row, name in enumerate(self.outputs):
            self._hyper[f"metrics.{name}"] = self._model.hyper[row]

    def _learn_responses(self, onehot: Tensor, responses: NDArray[np.float64], steps: int) -> None:
        """Model the leading directions of the probe responses; their means become features of every metric.

        A response costs no training, so there may be many more of them than of trained networks.
        """
        given = np.isfinite(responses).all(1) if responses.shape[1] else np.zeros(len(responses), dtype=bool)
        self._probe = None
        if given.sum() < 4:
            return
        table = responses[given]
        table = (table - table.mean(0)) / (table.std(0) + 1e-9)
        left, sizes, _ = np.linalg.svd(table, full_matrices=False)
        count = min(_RESPONSES, len(sizes))
        # The sign of a singular vector is arbitrary; fix it by its largest entry.
        leading = left[:, :count] * np.sign(left[np.abs(left[:, :count]).argmax(0), range(count)])
        target = torch.from_numpy(leading / (leading.std(0) + 1e-9)).T.contiguous()
        x = self.encoding.features(onehot[torch.from_numpy(given)])
        names = [f"response{i}" for i in range(count)]
        self._probe = self._process("probe", x.shape[1], names)
        self._probe.fit(x, target, torch.ones_like(target), steps)
        for row, name in enumerate(names):
            self._hyper[f"probe.{name}"] = self._probe.hyper[row]

    def _process(self, kind: str, features: int, names: Sequence[str]) -> GaussianProcess:
        owner = self.encoding.owner
        extra = features - len(owner)
        groups = int(owner.max()) + 1
        model = GaussianProcess(torch.cat([owner, torch.arange(groups, groups + extra)]), len(names))
        for row, name in enumerate(names):
            known = self._hyper.get(f"{kind}.{name}")
            if known is not None and len(known) == model.hyper.shape[1]:
                model.hyper[row] = known
        return model

    def _features(self, onehot: Tensor) -> Tensor:
        base = self.encoding.features(onehot)
        parts = [base]
        if self.cost is not None and self.cost.warps:
            parts.append(0.5 * self.cost(base))
        if self._probe is not None:
            parts.append(0.5 * self._probe.posterior(base)[0].T)
        return torch.cat(parts, dim=1)

    # --- theta_I: prediction ---

    @property
    def ready(self) -> bool:
        """Whether anything was learned yet."""
        return self._model is not None

    def features(self, indices: Indices) -> Tensor:
        """The features ``[n, P]`` that the metric model sees, of hard choices ``[n, D]``."""
        with torch.no_grad():
            return self._features(self.encoding.onehot(indices))

    def covariance(self, x: Tensor, other: Tensor) -> Tensor:
        """Posterior covariance of every output between feature rows: ``[B, n, m]``."""
        assert self._model is not None
        return self._model.covariance(x, other)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every output at feature rows ``[n, P]``, each ``[B, n]``."""
        if self._model is None:
            shape = (len(self.outputs), len(x))
            return torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
        return self._model.posterior(x)

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
        row = {name: i for i, name in enumerate(self.outputs)}
        costs: dict[str, Tensor] = {}
        if self.cost is not None and self.cost.warps:
            net = self.cost(self.encoding.features(onehot))
            for i, name in enumerate(self.cost.names):
                costs[name] = self.cost.warps[i].forward(exact[name]) if exact else net[:, i]
        margins, margin_stds = [], []
        for j, item in enumerate(self.requirements):
            if item.metric in costs:
                warp = self.cost.warps[self.cost.names.index(item.metric)]  # type: ignore[union-attr]
                centre, width = (
                    costs[item.metric],
                    torch.full_like(costs[item.metric], 0.0 if exact else self.cost_error),
                )
            else:
                warp = self._warps.get(item.metric, Warp("raw"))
                centre, width = mean[row[item.metric]], std[row[item.metric]]
            ratio = torch.zeros(1, dtype=torch.float64) if bounds is None else bounds[:, j]
            bound = _bound(item.bound, ratio)
            low, high = self._slack.get(item.metric, (0.0, 0.0))
            if item.sense == ">=":
                margins.append(centre - warp.forward(bound + low))
            else:
                margins.append(warp.forward(bound - high) - centre)
            margin_stds.append(width)
        count = len(onehot)
        none = torch.zeros(0, count, dtype=torch.float64)
        utility, utility_std = self._utility(mean, std, costs, row)
        success = torch.ones(count, dtype=torch.float64)
        if _FAILURE in row and self._model is not None:
            i = row[_FAILURE]
            success = torch.special.ndtr((1.0 - mean[i]) / (std[i].square() + 0.04).sqrt())
        return Belief(
            utility,
            utility_std,
            torch.stack(margins) if margins else none,
            torch.stack(margin_stds) if margins else none,
            success,
        )

    def _utility(
        self, mean: Tensor, std: Tensor, costs: Mapping[str, Tensor], row: Mapping[str, int]
    ) -> tuple[Tensor, Tensor]:
        if self.score is None:
            warp = self._warps.get(_UTILITY, Warp("raw"))
            draws = warp.inverse(mean[row[_UTILITY]] + std[row[_UTILITY]] * self._draws[:, 0])
            return draws.mean(0), draws.std(0)
        metrics: dict[str, Tensor] = {}
        count = mean.shape[1] if len(mean) else len(next(iter(costs.values())))
        for name in self.performance.needs:
            if name in costs:
                warp = self.cost.warps[self.cost.names.index(name)]  # type: ignore[union-attr]
                metrics[name] = warp.inverse(costs[name]).expand(_DRAWS, count)
            else:
                i = row[name]
                draws = mean[i] + std[i] * self._draws[:, i]
                metrics[name] = self._warps.get(name, Warp("raw")).inverse(draws)
        draws = self.score(metrics)
        return draws.mean(0), draws.std(0)

    def predict(self, indices: Indices) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Mean and standard deviation, each ``[n]``, of every modelled metric at ``[n, D]``."""
        with torch.no_grad():
            mean, std = self.posterior(self.features(indices))
        out = {}
        for row, name in enumerate(self.outputs):
            warp = self._warps.get(name, Warp("raw"))
            centre = warp.inverse(mean[row])
            slope = (warp.inverse(mean[row] + std[row]) - warp.inverse(mean[row] - std[row])) / 2
            out[name] = (centre.numpy(), slope.numpy())
        return out

    # --- state ---

    def tensors(self) -> dict[str, Tensor]:
        """Everything learned that is a tensor; what observations determine is left out."""
        out = {f"hyper.{name}": value for name, value in self._hyper.items()}
        out["population"] = torch.from_numpy(self._members)
        if self.cost is not None:
            out |= {f"cost.{name}": value for name, value in self.cost.tensors().items()}
        return out

    def to_json(self) -> dict[str, Any]:
        """Everything learned that is a number."""
        cost = None if self.cost is None else self.cost.to_json()
        return {
            "temperature": self.temperature,
            "caution": self.caution,
            "cost": cost,
            "cost_error": self.cost_error,
        }

    def restore(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Read what :meth:`tensors` and :meth:`to_json` gave; observations are to be learned again."""
        self._hyper = {k.removeprefix("hyper."): v for k, v in tensors.items() if k.startswith("hyper.")}
        self._members = tensors["population"].numpy()
        self.temperature, self.caution = float(data["temperature"]), float(data["caution"])
        self.cost_error = float(data["cost_error"])
        self._model = None
        if self.cost is not None:
            own = {k.removeprefix("cost."): v for k, v in tensors.items() if k.startswith("cost.")}
            self.cost.restore(own, data["cost"])

    # --- delta theta_G ---

    def initial(self, policy: Policy, family: Indices, steps: int = 200) -> Tensor:
        """The change of ``theta_G`` that makes the policy draw a given family, and walk on from it.

        Args:
            policy: Read, never changed.
            family: Value indices ``[n, D]``.
            steps: Gradient steps on the family's likelihood.
        """
        bounds = torch.zeros(len(family), len(self.requirements), dtype=torch.float64)
        ascent = Ascent(policy.theta, _RATE)
        for _ in range(steps):
            leaf = ascent.theta.clone().requires_grad_(True)
            (-policy.log_probability(family, bounds, leaf).mean()).backward()  # type: ignore[no-untyped-call]
            assert leaf.grad is not None
            ascent.step(leaf.grad)
        self._members = family[np.arange(_POPULATION) % len(family)]
        return ascent.theta - policy.theta

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
        """``delta theta_G``: teach the generator on imagined seeds (arXiv 1809.05989, eq. 3).

        The generator that maximises ``E[U] + T H`` (mean performance, and entropy at temperature ``T``)
        under ``1_r`` is known in closed form::

            p*(N)  ~  1_r(N) exp(U(N) / T)

        so the inquisitor keeps a population of imagined architectures that walks towards ``p*`` as
        ``theta_I`` believes it (Metropolis-Hastings, proposed by small changes and by the generator
        itself). ``delta`` is gradient ascent on the generator's likelihood of that population, less the
        likelihood of its own draws that fall outside. A requirement is a wall, not a price: a member
        inside never leaves, and one outside only moves closer. ``T`` falls to ``diversity`` and rises
        only as far as members of the population repeat. Margins are held with up to 1.5 standard
        deviations in hand, fewer where that leaves no room for a varied family.

        Args:
            policy: Read, never changed.
            rng: Draws the imagined seeds.
            steps: Population sweeps, and as many gradient steps.
            diversity: The least temperature, in units of the spread of the better observations.
            span: Half of the population imagines bounds up to ``exp(span)`` times looser or tighter.
            start: Architectures ``[n, D]`` to seed the population with.
        """
        count = len(self.requirements)
        bounds = torch.zeros(_POPULATION, count, dtype=torch.float64)
        if span > 0:
            half = _POPULATION // 2
            bounds[half:] = torch.from_numpy(rng.uniform(-span, span, (_POPULATION - half, count)))
        members = self._members
        if not len(members):
            members, _ = policy.draw(policy.imagine(_POPULATION, rng), bounds)
        if start is not None:
            members = np.concatenate([start, members[len(start) :]])
        caution = self.caution

        def weigh(indices: Indices) -> Weights:
            return self._weigh(indices, bounds, caution)

        walk = Population(self.encoding, members, weigh, self.temperature, diversity)
        ascent = Ascent(policy.theta, _RATE)
        for step in range(steps):
            leaf = ascent.theta.clone().requires_grad_(True)
            warning = torch.zeros((), dtype=torch.float64)
            if step % _GLOBAL == 0:
                drawn, _ = policy.draw(policy.imagine(_POPULATION, rng), bounds, ascent.theta)
                log_p = policy.log_probability(drawn, bounds, leaf)
                own = policy.log_probability(walk.members, bounds, ascent.theta)
                outside = torch.from_numpy(walk.propose(drawn, rng, (own - log_p.detach()).numpy()))
                warning = _GLOBAL * ((outside - outside.mean()) * log_p).mean()
            else:
                walk.propose(mutate(self.encoding, walk.members, rng), rng)
            loss = warning - policy.log_probability(walk.lesson(rng), bounds, leaf).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            assert leaf.grad is not None
            ascent.step(leaf.grad)
        self._members, self.temperature = walk.members, walk.temperature
        # A region too small for a varied family is one that caution has cut too close.
        cramped = self.temperature >= 0.9 * Population.HOTTEST
        self.caution = max(_LEAST_CAUTION, 0.8 * caution) if cramped else min(_CAUTION, 1.1 * caution)
        none = torch.zeros(_FRESH, count, dtype=torch.float64)
        fresh, _ = policy.draw(policy.imagine(_FRESH, rng), none, ascent.theta)
        short, utility = self._weigh(fresh, none, 0.0)
        inside = short <= 0
        record = {
            "loss": float(loss.detach()) if steps else None,
            "utility": float(utility[inside].mean() * self._utility_scale) if inside.any() else None,
            "feasible": float(inside.mean()),
            "population_feasible": float((walk.short <= 0).mean()),
            "distinct": len(np.unique(fresh, axis=0)) / _FRESH,
            "temperature": self.temperature,
            "caution": caution,
        }
        return Update(ascent.theta - policy.theta, record)

    def _weigh(self, indices: Indices, bounds: Tensor, caution: float) -> Weights:
        """Total predicted violation with caution, and performance in units of its spread: each ``[n]``."""
        with torch.no_grad():
            belief = self.believe(self.encoding.onehot(indices), bounds=bounds)
            short = (caution * belief.margin_std - belief.margin).clamp_min(0.0).sum(0)
            utility = belief.utility / self._utility_scale + belief.success.clamp_min(1e-3).log()
            return short.numpy(), utility.numpy()


def _bound(bound: float, ratio: Tensor) -> Tensor:
    """The inverse of :meth:`Requirements.vector` for one bound."""
    return bound * ratio.exp() if bound > 0 else bound + ratio * (abs(bound) or 1.0)


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
