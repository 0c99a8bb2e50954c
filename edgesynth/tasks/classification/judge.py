"""How often a classifier is right, and how sure of it one can be."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from edgesynth.errors import InputError
from edgesynth.metrics import Metric, Provenance, wilson_interval
from edgesynth.tasks.protocol import Batch, Outputs, Score

__all__ = ["ClassificationJudge"]


class _Classifying(Protocol):
    metric: str
    classes: tuple[str, ...]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor: ...


class ClassificationJudge:
    """Hears logits and counts answers.

    Args:
        task: Knows the classes and the loss.
        source: What the metric says it was measured on.
    """

    def __init__(self, task: _Classifying, source: str) -> None:
        self._task, self._source = task, source
        self._losses: list[Tensor] = []
        self._answers: list[Tensor] = []
        self._truths: list[Tensor] = []

    def add(self, outputs: Outputs, batch: Batch) -> None:
        """Take logits ``[batch, classes]``.

        Raises:
            InputError: They have another shape.
        """
        targets: Tensor = batch.targets
        self._losses.append(self._task.loss(outputs, targets).double() * len(targets))
        self._answers.append(outputs.argmax(1))
        self._truths.append(targets)

    def score(self) -> Score:
        """Top-1 accuracy with its Wilson interval, and the confusion behind it.

        Raises:
            InputError: Nothing was heard.
        """
        if not self._answers:
            raise InputError(f"{self._source}: no outputs were given, so there is nothing to judge")
        answer, truth = torch.cat(self._answers), torch.cat(self._truths)
        classes = self._task.classes
        count = len(classes)
        confusion = torch.bincount(truth * count + answer, minlength=count * count).view(count, count)
        correct = answer == truth
        right, samples = int(correct.sum()), len(correct)
        metric = Metric(
            name=self._task.metric,
            value=right / samples,
            provenance=Provenance.MEASURED,
            samples=samples,
            interval=wilson_interval(right, samples),
            source=self._source,
        )
        totals = confusion.sum(1)
        per_class = {
            name: confusion[index, index].item() / totals[index].item()
            for index, name in enumerate(classes)
            if totals[index] > 0
        }
        loss = float(torch.stack(self._losses).sum()) / samples
        return Score(metric, loss, correct, per_class=per_class, confusion=confusion)
