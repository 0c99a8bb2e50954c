"""What today's networks are expected to be worth when training has ended.

A floor on quality is a floor at the end, so the pair is told of the end. No table shows an expectation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgesynth.metrics import Metric
from edgesynth.synthesis.estimation import moved, regressed
from edgesynth.synthesis.evaluation import Evaluation, derived_metrics
from edgesynth.synthesis.succession import Member

__all__ = ["Outlook"]


class Outlook:
    """Carries qualities from the middle of a synthesis to its end.

    Attributes:
        ceiling: The prototype's own quality.

    Args:
        quality: Name of the task's metric.
        epochs: Passes over the training data in all, the polish of a network included.
        samples: On how many validation samples networks are judged in the end.
    """

    def __init__(self, quality: str, epochs: float, samples: int) -> None:
        self.ceiling = 0.0
        self._quality = quality
        self._epochs = epochs
        self._samples = samples

    def lift(self, best: float, epochs: float) -> float:
        """How much better networks are expected to be when training has ended.

        Until then the best network is taken to be on a straight line towards the prototype's own quality;
        at the end nothing is added.

        Args:
            best: The best quality on today's weights.
            epochs: Passes over the training data so far.
        """
        return max(0.0, (self._epochs - epochs) / self._epochs * (self.ceiling - best))

    def members(
        self, found: Sequence[Evaluation], harder: float, epochs: float
    ) -> tuple[float, list[Member]]:
        """How much networks should gain yet, and what each of them is then worth.

        Args:
            found: Evaluated on the same samples and weights.
            harder: By how much these samples give a lower quality than others would.
            epochs: Passes over the training data so far.
        """
        qualities = [evaluation.metrics[self._quality] for evaluation in found]
        estimates = [
            moved(quality, harder, "for its samples")
            for quality in regressed(qualities, [evaluation.loss for evaluation in found])
        ]
        lift = self.lift(max(metric.value for metric in estimates), epochs)
        members = []
        for evaluation, metric in zip(found, estimates, strict=True):
            ended = self.expected({**evaluation.metrics, self._quality: metric}, lift)
            members.append(Member(evaluation.architecture, {**evaluation.metrics, **ended}))
        return lift, members

    def expected(self, metrics: Mapping[str, Metric], lift: float) -> dict[str, Metric]:
        """Quality, and what follows from it, as they are expected to end.

        The interval is that of as many samples as will judge in the end: the few that are read inside a
        cycle would call for a distance from the bound that nobody needs.
        """
        today = metrics[self._quality]
        narrowing = min(1.0, math.sqrt((today.samples or self._samples) / self._samples))
        ends = today.interval or (today.value, today.value)
        low, high = (today.value + narrowing * (end - today.value) for end in ends)
        quality = replace(
            today,
            value=min(1.0, today.value + lift),
            interval=(min(1.0, low + lift), min(1.0, high + lift)),
            source=f"{today.source}, {lift:+.4f} for the training still to come",
        )
        return {quality.name: quality, **derived_metrics(quality, metrics)}
