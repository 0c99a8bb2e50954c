"""What one cycle achieved, over the fresh seeds that judge its generator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from edgesynth.runs import CycleRecord
from edgesynth.space import Space
from edgesynth.synthesis.evaluation import Evaluation
from edgesynth.synthesis.performance import Performance
from edgesynth.synthesis.requirements import Requirements

__all__ = ["summarise"]


def summarise(
    cycle: int,
    judged: Sequence[Evaluation],
    space: Space,
    requirements: Requirements,
    performance: Performance,
    *,
    quality: str,
    better: float | None,
    stands: bool,
    efficiency: Mapping[str, float],
    seconds: Mapping[str, float],
    epochs: float,
    notes: Mapping[str, Any],
) -> CycleRecord:
    """Average what was found of a generator's networks.

    Args:
        cycle: Counted from 0.
        judged: One evaluation per fresh seed, at least one.
        space: Measures how far architectures are apart.
        requirements: What they are judged by.
        performance: Scores them.
        quality: Name of the task's metric.
        better: The chance that these networks are better than those of the generator before.
        stands: Whether their generator went on.
        efficiency: Information efficiency by vertex.
        seconds: Wall time by phase.
        epochs: Passes over the training data so far.
        notes: Kept as they are.
    """
    judgements = [requirements.judge(evaluation.metrics) for evaluation in judged]
    keys = {space.key(evaluation.architecture) for evaluation in judged}
    pairs = list(combinations([evaluation.architecture for evaluation in judged], 2))
    values = [{name: m.value for name, m in evaluation.metrics.items()} for evaluation in judged]
    binding = Counter(j.binding.text for j in judgements if j.binding is not None)

    def mean(name: str) -> float:
        return float(np.mean([value[name] for value in values]))

    def mean_if_known(name: str) -> float | None:
        return mean(name) if all(name in value for value in values) else None

    return CycleRecord(
        cycle=cycle,
        quality=mean(quality),
        macs=mean("macs"),
        parameters=mean("parameters"),
        netscore=mean("netscore"),
        performance=float(np.mean([performance(value) for value in values])),
        feasible_fraction=sum(j.feasible for j in judgements) / len(judgements),
        distinct_fraction=len(keys) / len(judged),
        mean_distance=float(np.mean([space.distance(a, b) for a, b in pairs])) if pairs else 0.0,
        latency_ms=mean_if_known("latency_ms"),
        inferences_per_joule=mean_if_known("inferences_per_joule"),
        bytes=mean("bytes"),
        information_density=mean("information_density"),
        binding=binding.most_common(1)[0][0] if binding else "",
        better=better,
        stands=stands,
        efficiency=dict(efficiency),
        seconds=dict(seconds),
        epochs=epochs,
        notes=dict(notes),
    )
