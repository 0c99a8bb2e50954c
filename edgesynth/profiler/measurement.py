"""What a measurement gives, whatever became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from edgesynth.metrics import Metric

__all__ = ["Measurement", "Status"]

Status = Literal["ok", "inconclusive", "failed"]


@dataclass(frozen=True)
class Measurement:
    """Figures of one network on one device.

    Attributes:
        network: Name of the network.
        status: ``ok``; ``inconclusive`` when figures could not be trusted, which are then left out;
            ``failed`` when the network cannot run on the device.
        reason: Why the status is not ``ok``.
        metrics: Figures that can be trusted, by name.
        rails: Mean power per rail during the window, mW.
        conditions: Mode, clocks, sample counts, sensor step, and whatever else a reader needs to repeat it.
        attempts: How often it was tried.
    """

    network: str
    status: Status
    reason: str = ""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    rails: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 1

    def to_json(self) -> dict[str, Any]:
        """The JSON form that stores and ``--json`` use."""
        return {
            "network": self.network,
            "status": self.status,
            "reason": self.reason,
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "rails": dict(self.rails),
            "conditions": dict(self.conditions),
            "attempts": self.attempts,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls(
            network=data["network"],
            status=data["status"],
            reason=data["reason"],
            metrics={name: Metric.from_json(value) for name, value in data["metrics"].items()},
            rails=data["rails"],
            conditions=data["conditions"],
            attempts=data["attempts"],
        )
