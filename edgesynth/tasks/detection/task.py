"""Finding objects: boxes with classes, judged by mean average precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import torch
from torch import Tensor

from edgesynth.errors import DataError, InputError
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.detection.answer import BoxesAnswer
from edgesynth.tasks.detection.augmentation import BoxAugmentation
from edgesynth.tasks.detection.boxes import Detections, suppressed
from edgesynth.tasks.detection.confusion import SHOWN
from edgesynth.tasks.detection.heads import HeadName, Predictions, head_by_name
from edgesynth.tasks.detection.judge import DetectionJudge
from edgesynth.tasks.detection.losses import DetectionDistillation, detection_loss, teacher_loss
from edgesynth.tasks.detection.samples import BoxedSamples, BoxMark, marks_of
from edgesynth.tasks.detection.targets import padded, told
from edgesynth.tasks.division import stratified_order
from edgesynth.tasks.images import picked, pictures
from edgesynth.tasks.normalization import Normalization
from edgesynth.tasks.protocol import Batch, Outputs, Split
from edgesynth.tasks.splits import SplitTask, check_labels

__all__ = ["DetectionTask"]

_LEAST_DETECTIONS: Final = 100
_MOST_DETECTIONS: Final = 1000
_ROWS: Final = 100
"""Boxes up to which the fullest image decides how many rows the targets of all have."""


class DetectionTask(SplitTask[BoxedSamples]):
    """Detection of objects in images, in three disjoint splits.

    Targets are a dict of ``boxes``, float32 ``[batch, rows, 4]`` in pixels, and ``labels``, int64 ``[batch,
    rows]``, -1 where an image has no more objects; ``rows`` is the most boxes an image of the task has, or,
    beyond 100, one of the batch. How crowds and difficult objects stand there says
    :mod:`edgesynth.tasks.detection.targets`. Images without objects are samples like any other. What a
    network must return says :mod:`edgesynth.tasks.detection.heads`.

    Args:
        name: What reports call it.
        train: The images to learn from; their statistics normalise all splits.
        validation: The images to decide on.
        test: The images to report on.
        classes: The names of the classes, in the order of the labels; one will do.
        head: ``centre`` or ``grid``: what the outputs mean.
        metric: ``map50``, or ``map`` for the mean over overlaps of .5 to .95; the other is measured beside
            it.
        augmentation: Random variation of training images; ``None`` for none.
        distillation: How much a student listens to its teacher.
        normalization: Overrides the statistics of ``train``.
        score_threshold: Confidences below are no detections.
        nms_iou: Overlap above which two boxes of a class mean one object.
        max_detections: At most this many of an image. When not given, as many as the fullest training or
            validation image has objects, but no fewer than 100, the limit of COCO, and no more than 1,000.
            Where an image has more, the description says so.
        description: Where the data come from; derived when not given.

    Raises:
        DataError: A split is empty, shapes differ between splits, labels fall outside the classes, two
            classes have one name, the images of a split show no object, or, in the user's own data, those of
            ``train`` show none of a class that another split has.
        InputError: The head or the metric is unknown, or a threshold lies outside its range.
    """

    def __init__(
        self,
        name: str,
        *,
        train: BoxedSamples,
        validation: BoxedSamples,
        test: BoxedSamples,
        classes: Sequence[str],
        head: HeadName = "centre",
        metric: Literal["map50", "map"] = "map50",
        augmentation: BoxAugmentation | None = None,
        distillation: DetectionDistillation | None = None,
        normalization: Normalization | None = None,
        score_threshold: float = 0.05,
        nms_iou: float = 0.5,
        max_detections: int | None = None,
        description: DataDescription | None = None,
    ) -> None:
        if metric not in ("map50", "map"):
            raise InputError(f"{name}: detection is judged by map50 or map, not {metric!r}")
        some = max_detections is None or max_detections >= 1
        if not (0 < score_threshold < 1 and 0 < nms_iou <= 1 and some):
            raise InputError(
                f"{name}: score_threshold lies in (0, 1), nms_iou in (0, 1] and max_detections is at least "
                f"1, got {score_threshold}, {nms_iou} and {max_detections}"
            )
        self.metric = metric
        self.classes = tuple(classes)
        self.head = head_by_name(head)
        super().__init__(name, {"train": train, "validation": validation, "test": test}, description)
        _check(name, self._samples, self.classes)
        if self.description.origin == "user":
            # Data sets that come with a name may be shortened to images that leave out a rare class.
            _check_taught(name, self._samples, self.classes)
        self.augmentation = augmentation
        self.distillation = distillation or DetectionDistillation()
        self.normalization = normalization or Normalization.of(train)
        self.score_threshold, self.nms_iou = score_threshold, nms_iou
        fullest = {split: _fullest(part) for split, part in self._samples.items()}
        needed = max(_LEAST_DETECTIONS, fullest["train"], fullest["validation"])
        self.max_detections = min(needed, _MOST_DETECTIONS) if max_detections is None else max_detections
        if max(fullest.values()) > self.max_detections:
            told = (
                f"at most {self.max_detections:,} objects of an image are found, the fullest image has "
                f"{max(fullest.values()):,}"
            )
            division = "; ".join(filter(None, (self.description.division, told)))
            self.description = replace(self.description, division=division)
        boxes = max(len(boxes) for part in self._samples.values() for boxes in part.boxes)
        self._rows = max(1, min(boxes, _ROWS))
        self._marked = any(
            bool(marks.any()) for part in self._samples.values() for marks in marks_of(part) or ()
        )

    def _count(self, samples: BoxedSamples) -> int:
        return len(samples.boxes)

    def _ranked(self, samples: BoxedSamples) -> Tensor:
        objects = _objects(samples)
        return _led_by_classes(stratified_order(_rarest(objects, len(self.classes)), seed=0), objects)

    def _batch(self, samples: BoxedSamples, indices: Tensor, generator: torch.Generator | None) -> Batch:
        inputs = samples.take(indices)
        boxes, labels = picked(samples.boxes, indices), picked(samples.labels, indices)
        marks = None
        if self._marked:
            # In every split, so that the targets of all have one form.
            given = marks_of(samples)
            marks = [torch.zeros_like(part) for part in labels] if given is None else picked(given, indices)
        targets = padded(boxes, labels, marks, self._rows)
        if generator is not None and self.augmentation is not None:
            inputs, targets["boxes"], targets["labels"] = self.augmentation(
                inputs, targets["boxes"], targets["labels"], generator
            )
        normalised = self.normalization(inputs) if self.normalization is not None else inputs.float()
        return Batch(normalised, targets)

    def loss(self, outputs: Outputs, targets: Mapping[str, Tensor]) -> Tensor:
        """See :func:`edgesynth.tasks.detection.losses.detection_loss`.

        Args:
            outputs: The tensors of the head, level by level.
            targets: ``boxes`` and ``labels``.

        Raises:
            InputError: The outputs are not those of the task's head.
        """
        return detection_loss(self.head, self._predictions(outputs), targets["boxes"], targets["labels"])

    def distillation_loss(
        self, outputs: Outputs, teacher_outputs: Outputs, targets: Mapping[str, Tensor]
    ) -> Tensor:
        """``(1 - w) * loss + w * teacher_loss``; see :func:`edgesynth.tasks.detection.losses.teacher_loss`.

        Args:
            outputs: The student's.
            teacher_outputs: The teacher's on the same inputs; its levels must be the student's.
            targets: ``boxes`` and ``labels``.

        Raises:
            InputError: Either outputs are not those of the task's head, or their levels differ.
        """
        hard, weight = self.loss(outputs, targets), self.distillation.weight
        if weight == 0:
            return hard
        student, teacher = self._predictions(outputs), self._predictions(teacher_outputs)
        if not torch.equal(student.strides, teacher.strides):
            raise InputError(
                f"{self.name}: the teacher has cells of strides {_strides(teacher)}, the student of strides "
                f"{_strides(student)}; a teacher must answer for the same cells"
            )
        return (1 - weight) * hard + weight * teacher_loss(self.head, student, teacher, self.distillation)

    def judge(self, split: Split) -> DetectionJudge:
        """Judges outputs by mean average precision."""
        self._of(split)
        return DetectionJudge(self, f"{self.name} {split}")

    def detections(self, outputs: Outputs) -> Detections:
        """Decode outputs and keep one box per object, best first.

        Raises:
            InputError: The outputs are not those of the task's head.
        """
        predictions = self._predictions(outputs)
        return suppressed(
            self.head.boxes(predictions, self._image_size),
            self.head.scores(predictions),
            score_threshold=self.score_threshold,
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
        )

    def images(self, inputs: Tensor) -> Tensor | None:
        """The images before normalisation."""
        return pictures(inputs, self.normalization)

    def answers(self, outputs: Outputs) -> tuple[BoxesAnswer, ...]:
        """The objects found with a confidence of at least 0.3."""
        boxes, scores, labels = (part.cpu() for part in self.detections(outputs))
        shown = (labels >= 0) & (scores >= SHOWN)
        return tuple(
            BoxesAnswer(box[keep], label[keep], self.classes, score[keep])
            for box, score, label, keep in zip(boxes, scores, labels, shown, strict=True)
        )

    def truths(self, targets: Mapping[str, Tensor]) -> tuple[BoxesAnswer, ...]:
        """The objects to be found in each image, and what is to be left alone there."""
        return tuple(
            BoxesAnswer.truth(boxes, labels, marks, self.classes)
            for boxes, labels, marks in zip(
                targets["boxes"].cpu(), *(part.cpu() for part in told(targets)), strict=True
            )
        )

    @property
    def postprocessing(self) -> dict[str, Any]:
        """How :func:`edgesynth.agent.detections.detections` makes boxes of the outputs; sizes in pixels."""
        height, width = self._image_size
        return {
            "kind": "detection",
            "head": self.head.name,
            "input_size": [height, width],
            "score_threshold": self.score_threshold,
            "nms_iou": self.nms_iou,
            "max_detections": self.max_detections,
            "classes": list(self.classes),
        }

    @property
    def _image_size(self) -> tuple[int, int]:
        return self.input_shape[1], self.input_shape[2]

    def _predictions(self, outputs: Outputs) -> Predictions:
        return self.head.predictions(outputs, len(self.classes), self._image_size)


def _strides(predictions: Predictions) -> list[int]:
    return [round(stride) for stride in torch.unique(predictions.strides).tolist()]


def _objects(samples: BoxedSamples) -> list[Tensor]:
    """The classes of the objects to be found, one tensor per image."""
    marks = marks_of(samples)
    if marks is None:
        return list(samples.labels)
    return [labels[mark == BoxMark.OBJECT] for labels, mark in zip(samples.labels, marks, strict=True)]


def _fullest(samples: BoxedSamples) -> int:
    """The most objects that an image has, difficult ones among them; crowds are none."""
    marks = marks_of(samples)
    if marks is None:
        return max(map(len, samples.labels))
    return max(int((mark != BoxMark.CROWD).sum()) for mark in marks)


def _rarest(labels: Sequence[Tensor], classes: int) -> Tensor:
    """Per image, the rarest class it shows; ``classes`` where it shows none."""
    counts = torch.bincount(torch.cat(list(labels)), minlength=classes)
    kinds = [int(part[counts[part].argmin()]) if len(part) else classes for part in labels]
    return torch.tensor(kinds, dtype=torch.int64)


def _led_by_classes(order: Tensor, objects: Sequence[Tensor]) -> Tensor:
    """The order, led by the first image of each class.

    A beginning that shows every class holds the same images as before; one that would show nothing of a rare
    class, or no object at all, cannot be judged by.
    """
    seen: set[int] = set()
    leading: list[int] = []
    others: list[int] = []
    for index in order.tolist():
        fresh = set(objects[index].tolist()) - seen
        (leading if fresh else others).append(index)
        seen |= fresh
    return torch.tensor(leading + others, dtype=torch.int64)


def _check(name: str, samples: Mapping[Split, BoxedSamples], classes: Sequence[str]) -> None:
    if not classes:
        raise DataError(f"{name}: there is no class to find; name at least one")
    if len(set(classes)) < len(classes):
        raise DataError(f"{name}: class names must differ, got {', '.join(classes)}")
    shape = samples["train"].shape
    if len(shape) != 3:
        raise DataError(f"{name}: images are [channels, height, width], samples have shape {shape}")
    for split, part in samples.items():
        check_labels(name, split, torch.cat(list(part.labels)), len(classes))
        # Said now, and not when a network that took hours to train is judged.
        if not any(len(labels) for labels in _objects(part)):
            but = " that is not a crowd or difficult" if any(len(boxes) for boxes in part.boxes) else ""
            raise DataError(
                f"{name}: none of the {len(part.boxes)} {split} images shows an object{but}; give some with "
                "boxes"
            )


def _check_taught(name: str, samples: Mapping[Split, BoxedSamples], classes: Sequence[str]) -> None:
    """Refuse classes that a network is judged by and never learns; crowds teach nothing."""
    marks, labels = marks_of(samples["train"]), samples["train"].labels
    if marks is not None:
        labels = [part[mark != BoxMark.CROWD] for part, mark in zip(labels, marks, strict=True)]
    taught = set(torch.cat(list(labels)).tolist())
    for split, part in samples.items():
        new = sorted(set(torch.cat(_objects(part)).tolist()) - taught)
        if new:
            named = ", ".join(repr(classes[index]) for index in new)
            raise DataError(
                f"{name}: {split} images show {named}, of which no train image has an object; add some "
                "there, divide the images into train, validation and test otherwise, or remove the boxes"
            )
