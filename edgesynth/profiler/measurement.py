"""What a measurement gives, whatever became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from edgesynth.metrics import Metric

__all__ = ["LayerTime", "Measurement", "Status"]

Status = Literal["ok", "inconclusive", "failed"]


@dataclass(frozen=True)
class LayerTime:
    """How long one layer takes, as the device runs it: fused ones are one.

    Attributes:
        name: As the device calls it.
        mean_ms: Mean time per call under the device's profiler, which slows small layers.
        share: Of the time of all layers, 0..1.
    """

    name: str
    mean_ms: float
    share: float


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
        layers: Time per layer from a pass of its own; empty where the device does not tell.
    """

    network: str
    status: Status
    reason: str = ""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    rails: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 1
    layers: tuple[LayerTime, ...] = ()

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
            "layers": [asdict(layer) for layer in self.layers],
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
            layers=tuple(LayerTime(**layer) for layer in data.get("layers", ())),
        )
