"""Which generator goes on: ``G_0, G_1, ... G_k``, each better and still feasible (arXiv 1809.05989, eq. 2).

An update follows what ``theta_I`` believes of networks whose weights nothing has trained yet. So it stands
only if it is borne out: the shared weights are trained for the networks of both generators, both families
are evaluated on them, and where the new one is not better the old generator goes on, with an inquisitor
that now knows more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesynth.metrics import Metric
from edgesynth.space import Architecture
from edgesynth.synthesis.performance import Performance
from edgesynth.synthesis.requirements import Requirements

__all__ = ["Member", "gains", "superiority"]


@dataclass(frozen=True)
class Member:
    """A network of a family, and what is expected of it on today's weights.

    Attributes:
        architecture: Its choice per dimension.
        metrics: Values by name.
    """

    architecture: Architecture
    metrics: Mapping[str, Metric]

    def to_json(self) -> dict[str, Any]:
        """The JSON form that checkpoints keep."""
        metrics = {name: metric.to_json() for name, metric in self.metrics.items()}
        return {"architecture": dict(self.architecture), "metrics": metrics}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Member:
        """Read what :meth:`to_json` wrote."""
        metrics = {name: Metric.from_json(metric) for name, metric in data["metrics"].items()}
        return cls(data["architecture"], metrics)


def superiority(
    challengers: Sequence[Member],
    incumbents: Sequence[Member],
    requirements: Requirements,
    performance: Performance,
) -> float:
    """The chance that a network of one family is better than one of another, ties counting half.

    This is the Mann-Whitney statistic (H. Mann and D. Whitney, Ann. Math. Statist. 18, 1947) over an order
    in which requirements come first: the network that is less outside of them is better, whatever its
    performance, and performance decides among those inside.

    Args:
        challengers: Networks of one generator.
        incumbents: Networks of the other, evaluated on the same weights.
        requirements: What comes first.
        performance: What comes second.
    """
    ours = [_rank(member.metrics, requirements, performance) for member in challengers]
    theirs = [_rank(member.metrics, requirements, performance) for member in incumbents]
    return float(np.mean([(a > b) + 0.5 * (a == b) for a in ours for b in theirs]))


def _rank(
    metrics: Mapping[str, Metric], requirements: Requirements, performance: Performance
) -> tuple[float, float]:
    """How far inside (0) or outside (below 0) the requirements a network surely is, and its performance."""
    short = 0.0
    for item in requirements:
        metric = metrics.get(item.metric)
        if metric is None:
            return -np.inf, -np.inf
        short += max(0.0, *(-item.margin(value) for value in (metric.value, *(metric.interval or ()))))
    plain = {name: metric.value for name, metric in metrics.items()}
    known = all(name in plain for name in performance.needs)
    return -short, performance(plain) if known else -np.inf


def gains(before: Sequence[Member], now: Sequence[Member], metric: str) -> float:
    """By how much the same networks have gained in a metric, on average."""
    pairs = zip(before, now, strict=True)
    return float(np.mean([new.metrics[metric].value - old.metrics[metric].value for old, new in pairs]))
