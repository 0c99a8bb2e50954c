"""What a network is worth: task quality, cost, and the device's answer, as metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesynth.devices import Device
from edgesynth.graph import Cost, Prototype
from edgesynth.metrics import Metric, Provenance
from edgesynth.profiler import Measurement
from edgesynth.runs import LayerRecord, LayerTimeRecord, NetworkRecord, Role
from edgesynth.space import Architecture
from edgesynth.synthesis.elastic import ElasticWeights
from edgesynth.synthesis.layers import LayerSizes
from edgesynth.synthesis.measuring import MeasuringAhead, measure
from edgesynth.synthesis.performance import InformationDensity, NetScore
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.scrutiny import CUTTING, EVALUATING, FEWEST_SAMPLES, Scrutiny
from edgesynth.synthesis.settings import SynthesisSettings
from edgesynth.tasks import Batch, Task, recalibrate_
from edgesynth.tasks.scoring import judged

__all__ = ["ComputedCosts", "Evaluation", "Evaluator", "computed_metrics", "quality_metrics"]


def computed_metrics(cost: Cost) -> dict[str, Metric]:
    """MACs, parameters and weight bytes: exact, from the graph alone."""
    values = {"macs": cost.macs, "parameters": cost.parameters, "bytes": cost.bytes}
    return {name: Metric(name, float(value), Provenance.COMPUTED) for name, value in values.items()}


class ComputedCosts:
    """The exact metrics of architectures of one prototype, one by one or many at once.

    Args:
        prototype: Prices architectures.
    """

    def __init__(self, prototype: Prototype) -> None:
        self._prototype = prototype

    def __call__(self, architecture: Architecture) -> dict[str, float]:
        """MACs, parameters and bytes of one architecture."""
        cost = self._prototype.cost(architecture)
        return {name: metric.value for name, metric in computed_metrics(cost).items()}

    def layer_sizes(self, choices: NDArray[np.int64], /) -> LayerSizes:
        """As :meth:`Prototype.layer_sizes`."""
        return self._prototype.layer_sizes(choices)

    def unheard(self, choices: NDArray[np.int64], /) -> NDArray[np.bool_]:
        """As :meth:`Prototype.unheard`."""
        return self._prototype.unheard(choices)

    def totals(self, choices: NDArray[np.int64], /) -> dict[str, NDArray[np.int64]]:
        """MACs, parameters and bytes of value indices ``[n, D]``, each ``[n]``."""
        return self._prototype.totals(choices)


DERIVED: Final = ("netscore", "information_density")
"""Metrics that follow from any task's quality and the cost."""


def derived_metrics(quality: Metric, computed: Mapping[str, Metric]) -> dict[str, Metric]:
    """NetScore and information density, with the interval that the quality's interval implies."""
    plain = {name: metric.value for name, metric in computed.items()}
    derived: dict[str, Metric] = {}
    for function in (NetScore(quality.name), InformationDensity(quality.name)):
        # Both grow with quality, so the ends of the interval map to ends.
        value, *ends = (
            function({**plain, quality.name: q}) for q in (quality.value, *(quality.interval or ()))
        )
        derived[function.name] = replace(
            quality, name=function.name, value=value, interval=(ends[0], ends[1]) if ends else None
        )
    return derived


def quality_metrics(quality: Metric, cost: Cost) -> dict[str, Metric]:
    """The task's metric, and what follows from it and the cost."""
    return {quality.name: quality, **derived_metrics(quality, computed_metrics(cost))}


@dataclass(frozen=True)
class Evaluation:
    """One network with everything that is known of it.

    Attributes:
        architecture: Its choice per dimension.
        metrics: Values by name, on validation data unless asked otherwise.
        cost: Cost per layer.
        measurement: What the device said of it, if one was asked.
        loss: The mean task loss over the samples that gave its quality.
    """

    architecture: Architecture
    metrics: Mapping[str, Metric]
    cost: Cost
    measurement: Measurement | None = None
    loss: float = math.nan

    @property
    def failure(self) -> str:
        """Why it cannot run on the device; empty where it can, or nobody asked."""
        found = self.measurement
        return found.reason if found is not None and found.status == "failed" else ""

    def record(
        self,
        key: str,
        role: Role,
        requirements: Requirements,
        *,
        seed: int | None = None,
        cycle: int | None = None,
        test_metrics: Mapping[str, Metric] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> NetworkRecord:
        """The form in which a run keeps it."""
        found = self.measurement or Measurement(key, "ok")
        return NetworkRecord(
            key=key,
            role=role,
            architecture=self.architecture,
            metrics=self.metrics,
            test_metrics=test_metrics or {},
            seed=seed,
            cycle=cycle,
            status=found.status,
            reason=found.reason,
            verdicts=requirements.judge(self.metrics).statuses(),
            layers=layer_records(self.cost),
            layer_times=tuple(LayerTimeRecord(**vars(layer)) for layer in found.layers),
            rails=found.rails,
            conditions={**found.conditions, "attempts": found.attempts} if self.measurement else {},
            files=files or {},
        )


class Evaluator:
    """Evaluates architectures as slices of the shared weights.

    Args:
        prototype: Gives slices and costs.
        weights: The shared weights.
        task: Gives quality.
        device: Gives latency and energy; ``None`` leaves them out.
        calibration: Training batches that re-estimate batch-norm statistics of a slice.
    """

    def __init__(
        self,
        prototype: Prototype,
        weights: ElasticWeights,
        task: Task,
        device: Device | None,
        calibration: list[Batch],
    ) -> None:
        self.prototype = prototype
        self.weights = weights
        self.task = task
        self.device = device
        self.calibration = calibration
        self._brief = calibration[: -(-len(calibration) // 8)]
        self._calibrated = sum(len(batch.inputs) for batch in self._brief)
        self._ahead = MeasuringAhead(device, prototype.example_input) if device is not None else None

    def measure_ahead(self, architectures: Iterable[Architecture]) -> None:
        """Have the device measure networks that are going to be evaluated, beside what comes before that.

        Raises:
            DeviceError: The device failed.
        """
        if self._ahead is not None:
            distinct = {
                self.prototype.space.key(architecture): architecture for architecture in architectures
            }
            self._ahead.begin(
                {
                    key: (self.weights.extract(architecture), self.prototype.cost(architecture))
                    for key, architecture in distinct.items()
                }
            )

    def affordable(self, macs: float, trained_macs: float, most: int | None) -> int:
        """On how many validation samples networks are evaluated briefly, after so much training.

        Args:
            macs: Of all these networks together, per sample.
            trained_macs: That the training took.
            most: The most samples; ``None`` for all there are.
        """
        afforded = EVALUATING * trained_macs / max(1.0, macs) - self._calibrated - CUTTING
        samples = int(max(FEWEST_SAMPLES, afforded))
        return min(samples, self.task.size("validation"), most or samples)

    def scrutiny(
        self, settings: SynthesisSettings, trained_samples: float, *, asks: bool, standing: int
    ) -> Scrutiny:
        """How many networks a cycle evaluates whose training reads so many samples."""
        least = self.affordable(1.0, 0.0, settings.validation_limit) + self._calibrated
        return Scrutiny.affordable(settings, trained_samples, least, asks=asks, standing=standing)

    def extract(self, architecture: Architecture, *, brief: bool = False) -> nn.Module:
        """The slice as a module of its own, with batch-norm statistics of its own.

        Args:
            architecture: Its choice per dimension.
            brief: Estimate them on an eighth of the calibration batches: enough to compare networks.
        """
        module = self.weights.extract(architecture)
        recalibrate_(module, (batch.inputs for batch in (self._brief if brief else self.calibration)))
        return module.eval()

    def carried(self, architecture: Architecture) -> dict[str, Tensor]:
        """The prototype's state at full size, with the slice's own weights and statistics in their places."""
        state = {name: tensor.clone() for name, tensor in self.weights.averages().items()}
        self.prototype.plan(architecture).scatter_(state, self.extract(architecture).state_dict())
        return state

    def recalibrate(self, module: nn.Module) -> nn.Module:
        """Re-estimate a module's batch-norm statistics on the calibration batches, in place."""
        recalibrate_(module, (batch.inputs for batch in self.calibration))
        return module.eval()

    def again(self, architecture: Architecture, known: Mapping[str, Metric], limit: int) -> Evaluation:
        """A network that was evaluated before, on today's weights.

        Args:
            architecture: Its choice per dimension.
            known: Its metrics then: what a device said of it does not depend on the weights.
            limit: Validation samples.
        """
        cost = self.prototype.cost(architecture)
        score = judged(self.task, self.extract(architecture, brief=True), "validation", limit=limit)
        return Evaluation(
            architecture, {**known, **quality_metrics(score.metric, cost)}, cost, loss=score.loss
        )

    def evaluate(
        self,
        architecture: Architecture,
        module: nn.Module | None = None,
        *,
        limit: int | None = None,
        thorough: bool = False,
    ) -> Evaluation:
        """Score on validation data, cost and profile one network.

        Args:
            architecture: Its choice per dimension.
            module: The network itself; when not given, cut from the shared weights and briefly calibrated.
            limit: Validation samples; all of them when not given.
            thorough: Measure as for a figure that is reported, not as for search.
        """
        network = module if module is not None else self.extract(architecture, brief=True)
        cost = self.prototype.cost(architecture)
        score = judged(self.task, network, "validation", limit=limit)
        metrics = computed_metrics(cost) | quality_metrics(score.metric, cost)
        if self.device is None:
            return Evaluation(architecture, metrics, cost, loss=score.loss)
        key, example = self.prototype.space.key(architecture), self.prototype.example_input
        measurement = None if thorough or self._ahead is None else self._ahead.take(key)
        if measurement is None:
            measurement = measure(network, example, cost, self.device, name=key, thorough=thorough)
        return Evaluation(
            architecture,
            metrics | dict(measurement.metrics),
            cost,
            measurement,
            score.loss,
        )


def layer_records(cost: Cost) -> tuple[LayerRecord, ...]:
    """Cost per layer in the form a run keeps."""
    return tuple(
        LayerRecord(
            name=layer.name,
            operator=layer.operator,
            macs=layer.macs,
            parameters=layer.parameters,
            weight_bytes=layer.weight_bytes,
            activation_bytes=layer.activation_bytes,
            output_shape=tuple(layer.output_shape),
        )
        for layer in cost.layers
    )
