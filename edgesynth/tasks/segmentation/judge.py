"""How good the masks of a network are: mean intersection over union, and how sure of it one can be."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from edgesynth.errors import InputError
from edgesynth.metrics import Metric, Provenance
from edgesynth.tasks.protocol import Batch, Outputs, Score
from edgesynth.tasks.scoring import share_interval
from edgesynth.tasks.segmentation.overlap import Overlap, confusions, most_probable
from edgesynth.tasks.trees import moved

__all__ = ["SegmentationJudge"]


class _Segmenting(Protocol):
    metric: str
    classes: tuple[str, ...]
    ignore_label: int

    def at_full_size(self, outputs: object, count: int) -> Tensor: ...

    def weighted_loss(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]: ...


class SegmentationJudge:
    """Hears logits and counts pixels, image by image.

    Args:
        task: Knows the classes and the loss.
        source: What the metrics say they were measured on.
    """

    def __init__(self, task: _Segmenting, source: str) -> None:
        self._task, self._source = task, source
        self._losses: list[Tensor] = []
        self._confusions: list[Tensor] = []

    def add(self, outputs: Outputs, batch: Batch) -> None:
        """Take logits ``[batch, classes, h, w]``.

        Raises:
            InputError: They have another shape.
        """
        truths: Tensor = batch.targets
        logits = self._task.at_full_size(moved(outputs, truths.device), len(truths))
        self._losses.append(torch.stack(self._task.weighted_loss(logits, truths)).double())
        answers, classes = most_probable(logits), len(self._task.classes)
        self._confusions.append(confusions(truths, answers, classes, self._task.ignore_label))

    def score(self) -> Score:
        """Mean IoU and pixel accuracy, with intervals over whole images, see :func:`share_interval`.

        Raises:
            InputError: Nothing was heard, or every pixel heard of is to be ignored.
        """
        if not self._confusions:
            raise InputError(f"{self._source}: no outputs were given, so there is nothing to judge")
        confusion = torch.cat(self._confusions)
        overlap = Overlap.of(confusion)
        if not overlap.pixels.any():
            raise InputError(
                f"{self._source}: every pixel of these {len(confusion)} samples is to be ignored "
                f"(label {self._task.ignore_label}); give samples with labelled pixels"
            )
        pixels = (overlap.pixels > 0).sum(keepdims=True)
        metric, accuracy = (
            Metric(
                name=name,
                value=value,
                provenance=Provenance.MEASURED,
                samples=len(confusion),
                interval=share_interval(scores, len(confusion), shown),
                source=self._source,
            )
            for name, value, scores, shown in (
                (self._task.metric, overlap.mean(), overlap.ious, (overlap.either > 0).sum(0)),
                (
                    "pixel_accuracy",
                    overlap.accuracy(),
                    lambda drawn: np.array([overlap.accuracy(drawn)]),
                    pixels,
                ),
            )
        )
        ious = zip(self._task.classes, overlap.ious().tolist(), strict=True)
        total, weight = torch.stack(self._losses).sum(0).tolist()
        return Score(
            metric,
            total / weight if weight else 0.0,
            others=(accuracy,),
            per_class={name: iou for name, iou in ious if not math.isnan(iou)},
            confusion=confusion.sum(0),
            resampled=overlap.mean,
        )
