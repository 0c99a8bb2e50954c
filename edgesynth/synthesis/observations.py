"""What the inquisitor has seen: every observation of every architecture, and where the best of them stand.

Pairs ``(N_i, y_i)`` of an architecture and what was observed of it are all that ``theta_I`` is ever
fitted to; ``y_i`` holds metrics, failures and probe responses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.metrics import SHARES, metric_kind
from edgesynth.space import Space, Value
from edgesynth.synthesis.candidates import Costs
from edgesynth.synthesis.encoding import Indices
from edgesynth.synthesis.performance import Performance
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.told import Told

__all__ = ["Memory", "Observations", "Standing"]

_LEAST: Final = 1e-3
"""The share of itself below which no cost is thought to be."""


@dataclass(frozen=True)
class Observations:
    """Everything told so far, one row per architecture.

    Attributes:
        indices: Value indices ``[N, D]``.
        values: Mean observed value by metric name, ``[N]``; not a number where there is none.
        weights: How many observations each mean is worth, by metric name, ``[N]``.
        deviations: Of one such observation, by metric name, ``[N]``; not a number where none was told.
        utility: Mean performance ``[N]``; not a number where a needed metric is missing.
        failed: Share of attempts that failed, ``[N]``; not a number where nothing was attempted.
        responses: Probe responses by name, averaged over the networks that answered at all.
        slack: By metric, the mean distance from value to the (low, high) end of its interval.
        exact: What is computed and never observed, by metric name, ``[N]``.
    """

    indices: Indices
    values: Mapping[str, NDArray[np.float64]]
    weights: Mapping[str, NDArray[np.float64]]
    deviations: Mapping[str, NDArray[np.float64]]
    utility: NDArray[np.float64]
    failed: NDArray[np.float64]
    responses: Mapping[str, float]
    slack: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    exact: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def certainty(self, performance: Performance) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How many observations each performance is worth, and the deviation of one, each ``[N]``.

        It is worth as many as the metric that was observed least. Errors of metrics count as independent. A
        deviation is not a number where one is missing of a metric that has some, where none has, or where
        the function does not answer to values nearby.
        """
        noisy = [name for name in performance.needs if name in self.values and name not in self.exact]
        told = [name for name in noisy if np.isfinite(self.deviations[name]).any()]
        worth = np.min([self.weights[name] for name in noisy] or [np.ones(len(self.indices))], axis=0)
        columns = {**self.values, **self.exact}
        deviations = np.full(len(self.indices), np.nan)
        # Of several observations at a time, as many as the least observed metric has.
        alike = {name: self.deviations[name] * np.sqrt(worth / self.weights[name]) for name in told}
        known = np.isfinite([self.utility, *alike.values()]).all(0)
        for row in np.flatnonzero(known) if told else ():
            at = {name: float(column[row]) for name, column in columns.items()}
            utility = float(self.utility[row])
            swings = [_swing(performance, at, utility, name, float(alike[name][row])) for name in told]
            deviations[row] = math.hypot(*swings)
        return worth, deviations


@dataclass(frozen=True)
class Standing:
    """How the told architectures compare, by what was observed of them.

    Attributes:
        indices: Value indices ``[N, D]``.
        utility: Observed performance ``[N]``; not a number where unknown.
        feasible: Whether the observed values hold every requirement, intervals included, ``[N]``.
    """

    indices: Indices
    utility: NDArray[np.float64]
    feasible: NDArray[np.bool_]

    @property
    def best(self) -> float | None:
        """Performance of the best feasible architecture, if there is one."""
        return float(self.utility[self.feasible].max()) if self.feasible.any() else None

    def leaders(self, count: int) -> Indices:
        """At most ``count`` architectures, the feasible ones first, best first."""
        order = np.argsort(-np.where(self.feasible, self.utility, -np.inf), kind="stable")
        return self.indices[order[:count]]


class Memory:
    """What was asked and what was told, by architecture, in the order it came.

    Attributes:
        evaluations: How many observations with more than probe responses were told.

    Args:
        space: The architectures' space.
        costs: Exact, free metrics, known of every architecture.
        performance: Scores what was told.
        requirements: Judges what was told.
    """

    def __init__(
        self, space: Space, costs: Costs, performance: Performance, requirements: Requirements
    ) -> None:
        self._space = space
        self._costs = costs
        self._performance = performance
        self._requirements = requirements
        self._told: dict[bytes, Told] = {}
        self._pending: dict[bytes, None] = {}
        self._table: Observations | None = None
        self.evaluations = 0

    def __len__(self) -> int:
        """How many architectures were asked or told."""
        return len(self._told) + len(self._pending)

    @property
    def told(self) -> Indices:
        """Every architecture of which anything was told, ``[N, D]``."""
        return self._rows(self._told)

    @property
    def pending(self) -> Indices:
        """Every architecture that was asked and whose evaluation was not told, ``[E, D]``."""
        return self._rows(self._pending)

    @property
    def seen(self) -> Indices:
        """Every architecture that was told or asked, ``[N + E, D]``."""
        return np.concatenate([self.told, self.pending])

    def ask(self, indices: Indices) -> None:
        """Architectures ``[n, D]`` were asked for."""
        self._pending.update(dict.fromkeys(row.tobytes() for row in indices))

    def tell(self, architecture: Mapping[str, Value], told: Told) -> None:
        """Remember one observation.

        Raises:
            ArchitectureError: The architecture does not fit the space.
        """
        self._table = None
        key = self._space.encode(architecture).tobytes()
        self._told.setdefault(key, Told()).add(told)
        if told.evaluated:
            self._pending.pop(key, None)
            self.evaluations += 1

    def drift(self, metric: str, offset: float, trust: float = 1.0) -> None:
        """Shift and discount every value of a metric that is not pinned; see :meth:`Told.drift`."""
        self._table = None
        for told in self._told.values():
            told.drift(metric, offset, trust)

    def observations(self) -> Observations:
        """Everything told so far as a table."""
        if self._table is None:
            self._table = self._tabulated()
        return self._table

    def standing(self, requirements: Requirements | None = None) -> Standing:
        """Performance of what was told and is not stale, and whether it is surely inside the requirements."""
        seen = self.observations()
        values = {**seen.values, **self._costs(seen.indices)}
        feasible = np.isfinite(seen.utility) & ~(seen.failed > 0.5)
        for item in requirements or self._requirements:
            column = values.get(item.metric, np.full(len(seen.indices), np.nan))
            low, high = seen.slack.get(item.metric, (0.0, 0.0))
            safe = column - low if item.sense == ">=" else column + high
            feasible &= np.array([item.margin(value) >= 0 for value in safe], dtype=bool)
        fresh = np.array([not told.stale for told in self._told.values()], dtype=bool)
        return Standing(seen.indices[fresh], seen.utility[fresh], feasible[fresh])

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "evaluations": self.evaluations,
            "pending": [list(map(int, row)) for row in self.pending],
            "known": [
                {"choice": list(map(int, row)), **told.to_json()}
                for row, told in zip(self.told, self._told.values(), strict=True)
            ],
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Read what :meth:`to_json` gave."""
        self._table = None
        self.evaluations = int(data["evaluations"])
        self._pending = {self._key(row): None for row in data["pending"]}
        self._told = {self._key(item["choice"]): Told.from_json(item) for item in data["known"]}

    def _key(self, choice: Sequence[int]) -> bytes:
        """The key of saved value indices ``[D]``.

        Raises:
            ValueError: The space has no such architecture.
        """
        row = np.array(choice, dtype=np.int64)
        counts = self._space.cardinalities
        if row.shape != (len(counts),) or (row < 0).any() or (row >= counts).any():
            raise ValueError(f"the space has no architecture {choice}")
        return row.tobytes()

    def _tabulated(self) -> Observations:
        told = list(self._told.values())
        names = sorted({name for item in told for name in item.metrics})
        means = {name: [item.mean(name) for item in told] for name in names}
        values = {name: np.array([mean.value for mean in column]) for name, column in means.items()}
        weights = {name: np.array([mean.weight for mean in column]) for name, column in means.items()}
        deviations = {
            name: np.array([math.nan if mean.deviation is None else mean.deviation for mean in column])
            for name, column in means.items()
        }
        failed = np.array([len(t.failures) / t.tries if t.tries else np.nan for t in told])
        heard: dict[str, list[float]] = {}
        for item in told:
            for name, response in item.responses.items():
                heard.setdefault(name, []).extend([response] if response > 0 else [])
        responses = {name: float(np.mean(answers)) for name, answers in heard.items() if answers}
        slack = {}
        for name in names:
            ends = [item.slack[name] for item in told if name in item.slack]
            if ends:
                slack[name] = (float(np.mean([e[0] for e in ends])), float(np.mean([e[1] for e in ends])))
        indices = self.told
        exact = self._costs(indices)
        utility = self._utility({**values, **exact})
        return Observations(indices, values, weights, deviations, utility, failed, responses, slack, exact)

    def _utility(self, values: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Performance ``[N]``, not a number where a metric that it needs is missing."""
        utility = np.full(len(self._told), np.nan)
        columns = {name: column.tolist() for name, column in values.items()}
        for row in range(len(utility)):
            at = {name: column[row] for name, column in columns.items()}
            if all(math.isfinite(at.get(name, math.nan)) for name in self._performance.needs):
                utility[row] = self._performance(at)
        return utility

    def _rows(self, keys: Mapping[bytes, object]) -> Indices:
        rows = np.frombuffer(b"".join(keys), dtype=np.int64)
        return rows.reshape(len(keys), len(self._space)).copy()


def _swing(
    performance: Performance, at: Mapping[str, float], utility: float, name: str, deviation: float
) -> float:
    """By how much performance differs where a metric is off by one deviation, either way."""
    low, high = at[name] - deviation, at[name] + deviation
    if name in SHARES:
        low, high = max(low, 0.0), min(high, 1.0)
    elif metric_kind(name).source != "task":
        low = max(low, _LEAST * at[name])  # no cost is zero
    try:
        ends = [performance({**at, name: end}) for end in (low, high)]
        return max(abs(float(end) - utility) for end in ends)
    except Exception:
        # It may know the values that were told, and no others.
        return math.nan
