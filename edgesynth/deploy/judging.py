"""What outputs are worth to the task, wherever they were computed: before and after a change of precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgesynth.errors import InputError
from edgesynth.metrics import Metric, Provenance, wilson_interval

if TYPE_CHECKING:
    from torch import Tensor

    from edgesynth.tasks import Batch, Score, Task
    from edgesynth.tasks.detection.boxes import Detections
    from edgesynth.tasks.protocol import Outputs

__all__ = ["AnswerScore", "ClassScore", "ObjectsScore", "TaskScore"]


@dataclass(frozen=True)
class ClassScore:
    """Accuracy of the first output, by labels.

    Attributes:
        labels: Class indices, one per sample.
        name: The metric.
    """

    labels: NDArray[Any] = field(repr=False)
    name: str = "accuracy"

    def part(self, start: int, end: int) -> ClassScore:
        """The same for some of the samples."""
        return replace(self, labels=self.labels[start:end])

    def __call__(self, outputs: Mapping[str, NDArray[Any]]) -> float:
        """The score; see :meth:`scored`."""
        return self.scored(outputs).metric.value

    def scored(self, outputs: Mapping[str, NDArray[Any]]) -> Score:
        """The score, and which samples are right; there is no loss.

        Raises:
            InputError: The output is not one number per class and sample, or has fewer classes than labels.
        """
        import torch

        from edgesynth.tasks import Score

        first = next(iter(outputs.values()))
        if first.ndim != 2 or len(first) != len(self.labels):
            raise InputError(
                f"labels are for outputs [samples, classes], the first one has shape {first.shape}"
            )
        if (highest := int(self.labels.max(initial=0))) >= first.shape[1]:
            raise InputError(
                f"labels go up to {highest}, and the network tells {first.shape[1]} classes apart, 0 to "
                f"{first.shape[1] - 1}; give the labels that it was trained with"
            )
        correct = np.argmax(first, axis=1) == self.labels
        right, samples = int(correct.sum()), len(correct)
        metric = Metric(
            self.name,
            right / samples,
            Provenance.MEASURED,
            samples,
            wilson_interval(right, samples),
            "labelled samples",
        )
        return Score(metric, float("nan"), torch.from_numpy(correct))


@dataclass(frozen=True)
class TaskScore:
    """A task's own metric.

    Attributes:
        task: Its judge hears the outputs.
        batch: What they are the outputs for.
    """

    task: Task = field(repr=False)
    batch: Batch = field(repr=False)

    @property
    def name(self) -> str:
        """The metric."""
        return self.task.metric

    def part(self, start: int, end: int) -> TaskScore:
        """The same for some of the samples."""
        from edgesynth.tasks import Batch
        from edgesynth.tasks.trees import mapped

        inputs = self.batch.inputs[start:end]
        return replace(
            self, batch=Batch(inputs, mapped(lambda tensor: tensor[start:end], self.batch.targets))
        )

    def __call__(self, outputs: Mapping[str, NDArray[Any]]) -> float:
        """The score; see :meth:`scored`."""
        return self.scored(outputs).metric.value

    def scored(self, outputs: Mapping[str, NDArray[Any]]) -> Score:
        """The score as the task gives it; the names of the outputs say which part of a nest each is.

        Raises:
            InputError: The outputs do not have the shape that the task needs, or the task gives no score.
        """
        import torch

        from edgesynth.tasks.scoring import judge_of, whole_score
        from edgesynth.tasks.trees import structured

        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in outputs.items()}
        judge = judge_of(self.task, "validation")
        judge.add(structured(tensors), self.batch)
        return whole_score(judge.score(), f"{type(judge).__qualname__}.score()", self.task)


@dataclass(frozen=True)
class ObjectsScore(TaskScore):
    """The metric of a :class:`~edgesynth.tasks.DetectionTask`, of objects that are chosen already."""

    def scored(self, outputs: Mapping[str, NDArray[Any]]) -> Score:
        """The score as the task gives it, without a loss.

        Args:
            outputs: Boxes, confidences and classes in this order, -1 where there is no object.
        """
        import torch

        from edgesynth.tasks.detection.judge import DetectionJudge

        tensors = tuple(torch.from_numpy(np.ascontiguousarray(value)) for value in outputs.values())
        judge = DetectionJudge(_Chosen(self.task), f"{self.task.name} validation")
        judge.add(tensors, self.batch)
        return judge.score()


class _Chosen:
    """A task to its judge: there is no loss of objects, and nothing to be chosen among them."""

    def __init__(self, task: Any) -> None:  # noqa: ANN401 - a DetectionTask
        self.classes: tuple[str, ...] = task.classes
        self.max_detections: int = task.max_detections
        self.metric: str = task.metric

    def loss(self, outputs: Outputs, targets: Mapping[str, Tensor]) -> Tensor:
        import torch

        del outputs, targets
        return torch.tensor(float("nan"))

    def detections(self, outputs: Outputs) -> Detections:
        from edgesynth.tasks.detection.boxes import Detections

        return Detections(*outputs)


@dataclass(frozen=True)
class AnswerScore:
    """The score of answers that come out of a graph instead of the outputs they were made of.

    Attributes:
        score: Of such outputs.
        outputs: Makes outputs, which would be answered so, of answers.
    """

    score: ClassScore | TaskScore
    outputs: Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]] = field(repr=False)

    @property
    def name(self) -> str:
        """The metric."""
        return self.score.name

    def part(self, start: int, end: int) -> AnswerScore:
        """The same for some of the samples."""
        return replace(self, score=self.score.part(start, end))

    def __call__(self, outputs: Mapping[str, NDArray[Any]]) -> float:
        """The score; see :meth:`scored`."""
        return self.scored(outputs).metric.value

    def scored(self, outputs: Mapping[str, NDArray[Any]]) -> Score:
        """The score as labels or the task give it; of the loss nothing can be said.

        Raises:
            InputError: The answers do not have the shape that they need.
        """
        return self.score.scored(self.outputs(outputs))
