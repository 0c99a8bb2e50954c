"""The values a run keeps: one record per network, one per cycle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edgesynth.metrics import Metric
from edgesynth.space import Architecture

__all__ = ["CycleRecord", "LayerRecord", "LayerTimeRecord", "NetworkRecord", "Role", "Status"]

Role = Literal["prototype", "candidate", "generated"]
Status = Literal["ok", "inconclusive", "failed"]


@dataclass(frozen=True)
class LayerRecord:
    """What one layer of a network costs, for one input sample.

    Attributes:
        name: Qualified module name of the layer, or the graph node when it has none.
        operator: ATen operator, e.g. ``conv2d``.
        macs: Multiply-accumulates.
        parameters: Learned scalars.
        weight_bytes: Bytes of its weights at 4 bytes a scalar.
        activation_bytes: Bytes read plus written as activations at 4 bytes a scalar.
        output_shape: Shape without the batch axis.
    """

    name: str
    operator: str
    macs: int
    parameters: int
    weight_bytes: int
    activation_bytes: int
    output_shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """The JSON form that stores use."""
        return {**asdict(self), "output_shape": list(self.output_shape)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LayerRecord:
        """Read what :meth:`to_json` wrote."""
        return cls(**{**data, "output_shape": tuple(data["output_shape"])})


@dataclass(frozen=True)
class LayerTimeRecord:
    """How long one layer of a network took on the device, as the device runs it: fused ones are one.

    Attributes:
        name: As the device calls it, which need not be a module's name.
        mean_ms: Mean time per call under the device's profiler.
        share: Of the time of all layers, 0..1.
    """

    name: str
    mean_ms: float
    share: float


@dataclass(frozen=True)
class NetworkRecord:
    """One network that was evaluated, whatever came of it.

    Attributes:
        key: ``Space.key`` of its architecture; ``prototype`` for the prototype.
        role: ``prototype``, ``candidate`` (seen during learning) or ``generated`` (drawn afterwards).
        architecture: Its choice per dimension.
        metrics: Values by metric name, selected on validation data.
        test_metrics: Values by metric name on test data; filled for reported networks only.
        seed: The generator seed it came from, if any.
        cycle: The cycle it was evaluated in, if any.
        status: ``ok``, ``inconclusive`` or ``failed``.
        reason: Why the status is not ``ok``.
        verdicts: Verdict text by requirement, e.g. ``{"macs <= 3.1e+06": "satisfied"}``.
        layers: Cost per layer.
        layer_times: Time per layer on the device, where it was measured as for a report and the device tells.
        rails: Mean power per rail of the device while it ran, mW.
        conditions: What it was measured under, as the profiler tells it: mode, clocks, software, counts.
        files: Paths of its artefacts relative to the run folder, by kind (recipe, weights, onnx).
    """

    key: str
    role: Role
    architecture: Architecture
    metrics: Mapping[str, Metric]
    test_metrics: Mapping[str, Metric] = field(default_factory=dict)
    seed: int | None = None
    cycle: int | None = None
    status: Status = "ok"
    reason: str = ""
    verdicts: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[LayerRecord, ...] = ()
    layer_times: tuple[LayerTimeRecord, ...] = ()
    rails: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The JSON form that stores and ``--json`` use."""
        return {
            "key": self.key,
            "role": self.role,
            "architecture": dict(self.architecture),
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "test_metrics": {name: metric.to_json() for name, metric in self.test_metrics.items()},
            "seed": self.seed,
            "cycle": self.cycle,
            "status": self.status,
            "reason": self.reason,
            "verdicts": dict(self.verdicts),
            "layers": [layer.to_json() for layer in self.layers],
            "layer_times": [asdict(layer) for layer in self.layer_times],
            "rails": dict(self.rails),
            "conditions": dict(self.conditions),
            "files": dict(self.files),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NetworkRecord:
        """Read what :meth:`to_json` wrote; what runs of earlier versions did not keep is empty."""
        return cls(
            **{
                **data,
                "metrics": {name: Metric.from_json(value) for name, value in data["metrics"].items()},
                "test_metrics": {
                    name: Metric.from_json(value) for name, value in data["test_metrics"].items()
                },
                "layers": tuple(LayerRecord.from_json(layer) for layer in data["layers"]),
                "layer_times": tuple(LayerTimeRecord(**layer) for layer in data.get("layer_times", ())),
            }
        )


@dataclass(frozen=True)
class CycleRecord:
    """What one cycle of the pair achieved, over fresh seeds it was never trained on.

    Attributes:
        cycle: Counted from 0; cycle 0 is the untaught generator.
        quality: Mean task quality of this cycle's networks on validation data, 0..1.
        macs: Mean multiply-accumulates.
        parameters: Mean parameter count.
        netscore: Mean NetScore.
        performance: Mean U.
        feasible_fraction: Share of fresh seeds whose network meets every requirement.
        distinct_fraction: Share of distinct architectures among fresh seeds.
        mean_distance: Mean pairwise distance of those architectures, 0..1.
        latency_ms: Mean median latency, if a device was asked.
        inferences_per_joule: Mean inferences per joule, if a device was asked.
        bytes: Mean bytes of the parameters.
        information_density: Mean quality in percent per million parameters.
        binding: The requirement most often violated or closest to its bound.
        better: The chance that a network of this cycle's generator is better than one of the generator
            before, on the same weights; ``None`` where the generator was not moved.
        stands: Whether this cycle's generator went on; otherwise the one before it did.
        efficiency: Share of the response to probes over share of MACs, by vertex, averaged over networks.
        seconds: Wall time by phase (generate, train, probe, profile, learn).
        epochs: Passes over the training data spent so far.
        notes: Anything else worth keeping, JSON-serialisable.
    """

    cycle: int
    quality: float
    macs: float
    parameters: float
    netscore: float
    performance: float
    feasible_fraction: float
    distinct_fraction: float
    mean_distance: float
    latency_ms: float | None = None
    inferences_per_joule: float | None = None
    bytes: float | None = None
    information_density: float | None = None
    binding: str = ""
    better: float | None = None
    stands: bool = True
    efficiency: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    epochs: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The JSON form that stores and ``--json`` use."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CycleRecord:
        """Read what :meth:`to_json` wrote."""
        return cls(**data)
