"""How good a detector is: mean average precision, and how sure of it one can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgesynth.errors import InputError
from edgesynth.metrics import Metric, Provenance
from edgesynth.tasks.detection.average_precision import (
    ClassMatches,
    ImageBoxes,
    average_precision,
    class_means,
    curve,
    matches,
)
from edgesynth.tasks.detection.boxes import Detections
from edgesynth.tasks.detection.confusion import confusions
from edgesynth.tasks.detection.samples import BoxMark
from edgesynth.tasks.detection.targets import told
from edgesynth.tasks.protocol import Batch, Outputs, Score
from edgesynth.tasks.scoring import share_interval

__all__ = ["DetectionJudge"]


class _Detecting(Protocol):
    classes: tuple[str, ...]
    max_detections: int

    @property
    def metric(self) -> str: ...

    def loss(self, outputs: Outputs, targets: Mapping[str, Tensor]) -> Tensor: ...

    def detections(self, outputs: Outputs) -> Detections: ...


class DetectionJudge:
    """Hears outputs, keeps the detections, and matches them to the objects at the end.

    Args:
        task: Decodes outputs, knows the classes and the loss.
        source: What the metrics say they were measured on.
    """

    def __init__(self, task: _Detecting, source: str) -> None:
        self._task, self._source = task, source
        self._losses: list[float] = []
        self._found: list[ImageBoxes] = []
        self._truth: list[ImageBoxes] = []

    def add(self, outputs: Outputs, batch: Batch) -> None:
        """Take the outputs for one batch.

        Raises:
            InputError: They are not those of the task's head.
        """
        targets: Mapping[str, Tensor] = batch.targets
        self._losses.append(float(self._task.loss(outputs, targets)) * len(batch.inputs))
        found = self._task.detections(outputs)
        for boxes, scores, labels in zip(*(part.cpu().numpy() for part in found), strict=True):
            kept = labels >= 0
            self._found.append(ImageBoxes(boxes[kept], labels[kept], scores[kept]))
        kinds, marks = told(targets)
        for boxes, labels, mark in zip(targets["boxes"].numpy(), kinds.numpy(), marks.numpy(), strict=True):
            kept = labels >= 0
            self._truth.append(ImageBoxes(boxes[kept], labels[kept], marks=mark[kept]))

    def score(self) -> Score:
        """Both mean average precisions with intervals over images, and that of the metric by class.

        What was found on a crowd or a difficult object is neither right nor wrong, as in
        :func:`edgesynth.tasks.detection.average_precision.matches`. A class without objects counts in no
        mean. Where no class has objects, there is no precision to speak of. The confusion has one row and one
        column more than there are classes, see :func:`edgesynth.tasks.detection.confusion.confusions`.

        Raises:
            InputError: Nothing was heard, or what was heard shows no object.
            MissingDependencyError: pycocotools is not installed.
        """
        if not self._truth:
            raise InputError(f"{self._source}: no outputs were given, so there is nothing to judge")
        if not any(
            image.marks is not None and (image.marks == BoxMark.OBJECT).any() for image in self._truth
        ):
            raise InputError(
                f"{self._source}: none of the {len(self._truth)} images shows an object that counts, so no "
                "precision can be told; judge by more images"
            )
        classes = self._task.classes
        matched, table = matches(
            self._found, self._truth, len(classes), max_detections=self._task.max_detections
        )
        seen = [index for index in range(len(classes)) if matched[index].objects.any()]
        thresholds = {"map50": slice(0, 1), "map": slice(None)}
        metrics = {
            name: self._metric(name, matched, table[which][:, :, seen].mean(), which)
            for name, which in thresholds.items()
        }
        chosen = metrics.pop(self._task.metric)
        averaged = table[thresholds[self._task.metric]]
        return Score(
            chosen,
            sum(self._losses) / len(self._truth),
            others=tuple(metrics.values()),
            per_class={classes[index]: float(averaged[:, :, index].mean()) for index in seen},
            confusion=confusions(self._found, self._truth, len(classes)),
            curves={classes[index]: curve(table[0, :, index]) for index in seen},
            resampled=_resampled(matched, thresholds[self._task.metric]),
        )

    def _metric(
        self, name: str, matched: tuple[ClassMatches, ...], value: float, thresholds: slice
    ) -> Metric:
        shown = np.array([(each.objects > 0).sum() for each in matched])
        return Metric(
            name=name,
            value=float(value),
            provenance=Provenance.MEASURED,
            samples=len(self._truth),
            interval=share_interval(
                lambda counts: class_means(matched, counts, thresholds), len(self._truth), shown
            ),
            source=self._source,
        )


def _resampled(matched: tuple[ClassMatches, ...], thresholds: slice) -> Callable[[NDArray[np.int64]], float]:
    """The mean average precision, given how often each image occurs."""
    return lambda counts: average_precision(matched, counts, thresholds)
