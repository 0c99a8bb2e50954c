"""The generator-inquisitor pair as an ask/tell object (arXiv 1809.05989, eqs. 1-3).

``theta_G,k+1 = theta_G,k + I(G_k; theta_I,k)``: every few observations the inquisitor is fitted anew and
its update is added to the generator. The pair knows nothing of training loops or devices::

    pair = GeneratorInquisitor(space, requirements, NetScore(), seed=0)
    for _ in range(100):
        for architecture in pair.ask(1):
            pair.tell(architecture, evaluate(architecture))
    pair.generate(seed=7)
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesynth.errors import InputError, RunError
from edgesynth.metrics import Metric, Provenance, metric_kind
from edgesynth.space import Architecture, Space, Value
from edgesynth.synthesis.acquisition import rank, select
from edgesynth.synthesis.candidates import Costs, proportional, spread_out, stratified, unique
from edgesynth.synthesis.candidates import repair as move_inside
from edgesynth.synthesis.encoding import Encoding, Indices, mutate
from edgesynth.synthesis.inquisitor import FRACTIONS, Inquisitor, Observations, Update
from edgesynth.synthesis.performance import Performance, as_performance
from edgesynth.synthesis.policy import Policy
from edgesynth.synthesis.requirements import Requirements

__all__ = ["Computed", "GeneratorInquisitor", "PairState"]

Computed = Callable[[Architecture], Mapping[str, float]]

_FREE_SAMPLES: Final = 1024
_POOL: Final = 512


@dataclass(frozen=True)
class PairState:
    """Everything a pair has learned: tensors for a safetensors file, the rest for a JSON file."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


@dataclass
class _Known:
    """What was told of one architecture."""

    values: dict[str, list[float]] = field(default_factory=dict)
    slack: dict[str, tuple[float, float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    successes: int = 0
    responses: dict[str, float] = field(default_factory=dict)


class GeneratorInquisitor:
    """Learns a generator of architectures that maximise ``U`` under hard requirements.

    Args:
        space: The dimensions that are free.
        requirements: The bounds, or their mapping form.
        performance: The performance function, or any callable on a mapping of metrics.
        seed: Seed of everything random; two pairs told the same things answer the same.
        computed: Exact, free metrics of an architecture (MACs, parameters), if there are any.
        diversity: Strength of the term that keeps the generator's family wide. Small values give a
            narrow family around the best; distinctness itself is kept by its own multiplier.
        span: Bounds up to ``exp(span)`` times looser or tighter are learned along, so that one
            generator serves a range of budgets; 0 learns the given requirements only.
    """

    def __init__(
        self,
        space: Space,
        requirements: Requirements | Mapping[str, str | Sequence[str]],
        performance: Performance | Callable[[Mapping[str, float]], float],
        seed: int = 0,
        computed: Computed | None = None,
        *,
        diversity: float = 0.1,
        span: float = 0.0,
    ) -> None:
        self.space = space
        self.requirements = (
            requirements if isinstance(requirements, Requirements) else Requirements(requirements)
        )
        self.performance = as_performance(performance)
        self.seed = seed
        self.diversity = diversity
        self.span = span
        self.cycles = 0
        self._lock = threading.RLock()
        self._encoding = Encoding(space)
        self._costs = Costs(self._encoding, computed, self.requirements)
        self.policy = Policy(self._encoding, len(self.requirements), seed)
        self.inquisitor = Inquisitor(
            self._encoding, self.requirements, self.performance, self._costs.names, seed
        )
        self._known: dict[bytes, _Known] = {}
        self._pending: dict[bytes, int] = {}
        self._calls = 0
        self._fitted = 0
        self._taught = 0
        self._stale = True
        self._free = np.empty((0, len(space)), dtype=np.int64)

    def initialise(self, count: int = 96) -> None:
        """``G_0``, from the prototype and the computed bounds alone, before anything was observed.

        The policy learns to draw the prototype scaled into the bounds, its proportions kept roughly:
        a better place to begin than networks of random proportions.
        """
        with self._lock:
            self._prepare()
            family = proportional(self._encoding, self._costs, count, self._rng("initialise"))
            self.policy.theta = self.policy.theta + self.inquisitor.initial(self.policy, family)

    # --- ask and tell ---

    def ask(self, n: int = 1) -> list[Architecture]:
        """Propose ``n`` architectures to evaluate, none of them asked or told before.

        Safe to call from any thread, in any batch size, while earlier results are pending. Fewer than
        ``n`` come back only when the space holds no more.

        Raises:
            InputError: ``n`` is not positive.
        """
        if n < 1:
            raise InputError(f"ask for at least one architecture, got n={n}")
        with self._lock:
            self._prepare()
            rng = self._rng("ask")
            missing = self._start - len(self._known) - len(self._pending)
            chosen = self._first(min(n, missing), rng) if missing > 0 else self._space_indices([])
            if len(chosen) < n:
                self._learn()
                chosen = np.concatenate([chosen, self._next(n - len(chosen), chosen, rng)])
            for row in chosen:
                self._pending[row.tobytes()] = 1
            return self._encoding.architectures(chosen)

    def tell(
        self,
        architecture: Mapping[str, Value],
        metrics: Mapping[str, Metric | float] | str,
        responses: Mapping[str, float] | None = None,
    ) -> None:
        """Teach the pair one observation; architectures that were never asked are welcome.

        Args:
            architecture: What was evaluated. Told again, its values count as repeated noisy samples.
            metrics: Values by metric name, or the reason why the evaluation failed. A value that is
                not finite is a failure too. Empty, when there are only responses.
            responses: Probe responses by name, the same names every time.

        Raises:
            ArchitectureError: The architecture does not fit the space.
            RequirementError: A metric has an unknown name.
        """
        key = self.space.encode(architecture).tobytes()
        values: dict[str, float] = {}
        slack: dict[str, tuple[float, float]] = {}
        failure = metrics if isinstance(metrics, str) else ""
        for name, metric in {} if isinstance(metrics, str) else metrics.items():
            metric_kind(name)
            value = metric.value if isinstance(metric, Metric) else float(metric)
            if isinstance(metric, Metric) and metric.provenance is Provenance.PREDICTED:
                continue
            if not math.isfinite(value):
                failure = f"{name} is {value}"
                continue
            values[name] = value
            if isinstance(metric, Metric) and metric.interval is not None:
                slack[name] = (value - metric.interval[0], metric.interval[1] - value)
        with self._lock:
            known = self._known.setdefault(key, _Known())
            for name, value in values.items():
                known.values.setdefault(name, []).append(value)
            known.slack.update(slack)
            known.responses.update(responses or {})
            if failure:
                known.failures.append(failure)
            elif values:
                known.successes += 1
            if failure or values:
                self._pending.pop(key, None)
            self._stale = True

    def drift(self, metric: str, offset: float) -> None:
        """Shift every value of a metric told so far, because the evaluation itself has moved on.

        Shared weights improve while architectures are compared on them; a client that measures by how
        much keeps old observations comparable with new ones.

        Args:
            metric: Whose values move.
            offset: Added to each of them; the result stays within 0..1 for a fraction.
        """
        with self._lock:
            for known in self._known.values():
                if metric in known.values:
                    moved = [value + offset for value in known.values[metric]]
                    if metric in FRACTIONS:
                        moved = [min(1.0, max(0.0, value)) for value in moved]
                    known.values[metric] = moved
            self._stale = True

    # --- the learned generator ---

    def generate(
        self, seed: int, requirements: Requirements | None = None, *, repair: bool = False
    ) -> Architecture:
        """The architecture that one seed stands for: ``G_k(s)``. No search, no evaluation.

        Args:
            seed: Any integer in 0 .. 2**64 - 1.
            requirements: Other bounds on the same metrics, on the same sides.
            repair: Move the policy's choice into the *computed* bounds by its own ranking of
                alternatives, where it is not there already.
        """
        with self._lock:
            self._prepare()
            wanted = requirements or self.requirements
            bounds = wanted.vector(self.requirements)
            chosen, preferences = self.policy.choose([seed], bounds)
            choice = chosen[0]
            if repair:
                choice = move_inside(self._encoding, self._costs, choice, preferences[0], wanted)
            return self.space.decode(choice)

    def update(self, steps: int = 60) -> Mapping[str, Any]:
        """One explicit cycle of learning: fit ``theta_I``, then ``theta_G = theta_G + delta``.

        Returns:
            Predicted utility, feasible share, distance, distinct share, multiplier per requirement.
        """
        with self._lock:
            self._prepare()
            self._learn(teach=False)
            return self._teach(steps)

    def predict(
        self, architectures: Sequence[Mapping[str, Value]]
    ) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Mean and standard deviation of every metric, each ``[n]``; exact ones have deviation 0."""
        with self._lock:
            self._prepare()
            self._learn(teach=False)
            indices = self._encoding.indices(architectures)
            out = self.inquisitor.predict(indices)
            out |= {name: (value, np.zeros_like(value)) for name, value in self._costs(indices).items()}
            return out

    @property
    def best(self) -> Architecture | None:
        """The best architecture told so far whose values hold every requirement."""
        with self._lock:
            rows, utility, feasible = self._standing()
            if not feasible.any():
                return None
            return self.space.decode(rows[int(np.where(feasible, utility, -np.inf).argmax())])

    # --- state ---

    def state(self) -> PairState:
        """Everything needed to continue exactly where this pair is."""
        with self._lock:
            tensors = {"policy.theta": self.policy.theta.clone()}
            tensors |= {f"inquisitor.{k}": v.clone() for k, v in self.inquisitor.tensors().items()}
            tensors["free"] = torch.from_numpy(self._free.copy())
            meta = {
                "space": self.space.to_json(),
                "requirements": self.requirements.to_json(),
                "seed": self.seed,
                "cycles": self.cycles,
                "calls": self._calls,
                "fitted": self._fitted,
                "taught": self._taught,
                "noise": self.policy.noise,
                "inquisitor": self.inquisitor.to_json(),
                "pending": [list(map(int, _row(key))) for key in self._pending],
                "known": [
                    {
                        "choice": list(map(int, _row(key))),
                        "values": known.values,
                        "slack": {name: list(ends) for name, ends in known.slack.items()},
                        "failures": known.failures,
                        "successes": known.successes,
                        "responses": known.responses,
                    }
                    for key, known in self._known.items()
                ],
            }
            return PairState(tensors, meta)

    def restore(self, state: PairState) -> None:
        """Continue where :meth:`state` was taken, bit for bit.

        Raises:
            RunError: The state belongs to another space or other requirements.
        """
        meta = state.meta
        for name, mine in (("space", self.space.to_json()), ("requirements", self.requirements.to_json())):
            if meta.get(name) != mine:
                raise RunError(
                    f"the saved state has another {name} than this pair; make the pair with the saved one"
                )
        with self._lock:
            self.seed, self.cycles = int(meta["seed"]), int(meta["cycles"])
            self._calls, self._fitted, self._taught = (int(meta[k]) for k in ("calls", "fitted", "taught"))
            self.policy.noise = float(meta["noise"])
            self.policy.theta = state.tensors["policy.theta"].clone()
            self._free = state.tensors["free"].numpy().copy()
            prefix = "inquisitor."
            self.inquisitor.restore(
                {k.removeprefix(prefix): v.clone() for k, v in state.tensors.items() if k.startswith(prefix)},
                meta["inquisitor"],
            )
            self._pending = {np.array(row, dtype=np.int64).tobytes(): 1 for row in meta["pending"]}
            self._known = {
                np.array(item["choice"], dtype=np.int64).tobytes(): _Known(
                    {name: [float(v) for v in values] for name, values in item["values"].items()},
                    {name: (float(low), float(high)) for name, (low, high) in item["slack"].items()},
                    list(item["failures"]),
                    int(item["successes"]),
                    {name: float(v) for name, v in item["responses"].items()},
                )
                for item in meta["known"]
            }
            self._stale = True

    # --- inside ---

    @property
    def _start(self) -> int:
        return min(16, len(self.space) + 4)

    def _rng(self, purpose: str) -> np.random.Generator:
        """A fresh stream per call, so that a restored pair needs only a counter."""
        self._calls += 1
        return np.random.default_rng([self.seed, len(purpose), self._calls])

    def _space_indices(self, keys: Sequence[bytes]) -> Indices:
        rows = [_row(key) for key in keys]
        return np.stack(rows) if rows else np.empty((0, len(self.space)), dtype=np.int64)

    def _prepare(self) -> None:
        """Before anything is told: learn what is free."""
        if not self._costs.names or len(self._free):
            return
        rng = self._rng("prepare")
        self._free = unique(stratified(self._encoding, _FREE_SAMPLES, rng))
        self.inquisitor.learn_costs(self._free, self._costs(self._free), 400, rng)

    def _observations(self) -> Observations:
        keys = list(self._known)
        known = [self._known[key] for key in keys]
        names = sorted({name for item in known for name in item.values})
        values = {
            name: np.array([np.mean(k.values[name]) if name in k.values else np.nan for k in known])
            for name in names
        }
        noise = {name: np.array([1.0 / max(1, len(k.values.get(name, ()))) for k in known]) for name in names}
        indices = self._space_indices(keys)
        exact = self._costs(indices) if self._costs.names else {}
        utility = np.full(len(keys), np.nan)
        for row in range(len(keys)):
            at = {name: column[row] for name, column in {**values, **exact}.items()}
            if all(np.isfinite(at.get(name, np.nan)) for name in self.performance.needs):
                utility[row] = self.performance({name: float(v) for name, v in at.items()})
        tries = np.array([k.successes + len(k.failures) for k in known])
        failed = np.array([len(k.failures) / t if t else np.nan for k, t in zip(known, tries, strict=True)])
        probes = sorted({name for k in known for name in k.responses})
        responses = np.array([[k.responses.get(name, np.nan) for name in probes] for k in known])
        slack = {}
        for name in names:
            ends = [k.slack[name] for k in known if name in k.slack]
            if ends:
                slack[name] = (float(np.mean([e[0] for e in ends])), float(np.mean([e[1] for e in ends])))
        return Observations(indices, values, noise, utility, failed, responses.reshape(len(known), -1), slack)

    def _standing(self) -> tuple[Indices, NDArray[np.float64], NDArray[np.bool_]]:
        """Every told architecture with its observed performance and whether its values hold the bounds."""
        seen = self._observations()
        exact = self._costs(seen.indices) if self._costs.names else {}
        values = {**seen.values, **exact}
        feasible = np.isfinite(seen.utility) & ~(seen.failed > 0.5)
        for item in self.requirements:
            column = values.get(item.metric, np.full(len(seen.indices), np.nan))
            low, high = seen.slack.get(item.metric, (0.0, 0.0))
            safe = column - low if item.sense == ">=" else column + high
            feasible &= np.array([item.margin(value) >= 0 for value in safe], dtype=bool)
        return seen.indices, seen.utility, feasible

    def _learn(self, *, teach: bool = True) -> None:
        """Fit ``theta_I`` if anything was told; teach ``theta_G`` whenever enough was told since."""
        count = sum(1 for known in self._known.values() if known.values or known.failures)
        if not count:
            return
        if self._stale:
            due = count >= 1.15 * self._fitted + 1
            self.inquisitor.learn(self._observations(), 0 if not due else 40 if self._fitted == 0 else 15)
            self._fitted = count if due else self._fitted
            self._stale = False
        if teach and count >= 1.15 * self._taught + 1:
            self._taught = count
            self._teach(20)

    def _teach(self, steps: int) -> Mapping[str, Any]:
        """``theta_G,k+1 = theta_G,k + delta theta_G,k``."""
        rng = self._rng("teach")
        rows, utility, feasible = self._standing()
        update: Update = self.inquisitor.delta(
            self.policy,
            rng,
            steps=steps,
            diversity=self.diversity,
            span=self.span,
            start=rows[np.argsort(-np.where(feasible, utility, -np.inf), kind="stable")[:8]],
        )
        self.policy.theta = self.policy.theta + update.delta
        self.cycles += 1
        return update.record

    def _first(self, count: int, rng: np.random.Generator) -> Indices:
        """A space-filling start inside the computed bounds, half of it near them."""
        pool = unique(stratified(self._encoding, _POOL, rng))
        taken = self._space_indices([*self._known, *self._pending])
        pool = _without(pool, taken)
        if self._costs.bounded:
            margins = self._costs.margins(pool)
            inside = np.flatnonzero(margins >= 0)
            if len(inside) < count:
                pool = pool[np.argsort(-margins)[: 4 * count]]
            elif (len(taken) // max(1, count)) % 2 == 0:
                pool = pool[inside[np.argsort(margins[inside])[: max(4 * count, len(inside) // 3)]]]
            else:
                pool = pool[inside]
        return spread_out(self._encoding, pool, taken, count)

    def _next(self, count: int, chosen: Indices, rng: np.random.Generator) -> Indices:
        """The most promising of the generator's own proposals and the neighbours of the best."""
        pending = np.concatenate([self._space_indices(list(self._pending)), chosen])
        taken = np.concatenate([self._space_indices(list(self._known)), pending])
        rows, utility, feasible = self._standing()
        best = float(utility[feasible].max()) if feasible.any() else None
        zeros = torch.zeros(_POOL // 2, len(self.requirements), dtype=torch.float64)
        drawn, _ = self.policy.draw(self.policy.imagine(_POOL // 2, rng), zeros)
        parts = [drawn, stratified(self._encoding, _POOL // 4, rng)]
        if len(rows):
            order = np.argsort(-np.where(feasible, utility, -np.inf), kind="stable")[:4]
            parts += [
                self._encoding.neighbours(rows[order]),
                mutate(self._encoding, np.repeat(rows[order], 32, axis=0), rng),
            ]
        pool = _without(unique(np.concatenate(parts)), taken)
        for _ in range(2):
            if not len(pool):
                break
            score = self._score(pool, best)
            top = pool[np.argsort(-score, kind="stable")[:8]]
            pool = _without(unique(np.concatenate([pool, self._encoding.neighbours(top)])), taken)
        if len(pool) < count:
            more = stratified(self._encoding, 8 * _POOL, rng)
            pool = _without(unique(np.concatenate([pool, more])), taken)
        score = self._score(pool, best) if len(pool) else np.empty(0)
        pool = pool[np.argsort(-score, kind="stable")[: max(128, 4 * count)]]
        if self._costs.bounded:
            margins = self._costs.margins(pool)
            inside = margins >= 0
            pool = (
                pool[inside] if inside.sum() >= count else pool[np.argsort(-margins, kind="stable")[:count]]
            )
        exact = (
            {name: torch.from_numpy(value) for name, value in self._costs(pool).items()}
            if self._costs.names
            else None
        )
        return pool[select(self.inquisitor, pool, count, exact=exact, best=best, pending=pending)]

    def _score(self, pool: Indices, best: float | None) -> NDArray[np.float64]:
        with torch.no_grad():
            score: NDArray[np.float64] = rank(
                self.inquisitor.believe(self._encoding.onehot(pool)), best
            ).numpy()
        return score


def _row(key: bytes) -> Indices:
    return np.frombuffer(key, dtype=np.int64)


def _without(pool: Indices, taken: Indices) -> Indices:
    """The rows of the pool that are not taken."""
    known = {row.tobytes() for row in taken}
    return pool[[row.tobytes() not in known for row in pool]] if len(pool) else pool
