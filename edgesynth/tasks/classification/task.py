"""One label per sample: cross-entropy, distillation, top-1 accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesynth.errors import DataError, InputError
from edgesynth.tasks.classification.answer import ClassAnswer
from edgesynth.tasks.classification.augmentation import Augmentation
from edgesynth.tasks.classification.judge import ClassificationJudge
from edgesynth.tasks.classification.samples import LabelledSamples
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.distillation import Distillation
from edgesynth.tasks.division import stratified_order
from edgesynth.tasks.images import pictures
from edgesynth.tasks.normalization import Normalization
from edgesynth.tasks.protocol import Batch, Outputs, Split, Targets
from edgesynth.tasks.splits import SplitTask, check_labels

__all__ = ["ClassificationTask"]


class ClassificationTask(SplitTask[LabelledSamples]):
    """Classification of samples in three disjoint splits.

    Args:
        name: What reports call it.
        train: The samples to learn from; their statistics normalise all splits.
        validation: The samples to decide on.
        test: The samples to report on.
        classes: The names of the classes, in the order of the labels.
        augmentation: Random variation of training images; ``None`` for none.
        label_smoothing: Share of the target spread evenly over all classes
            (C. Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016).
        distillation: How much a student listens to its teacher.
        normalization: Overrides the statistics of ``train``.
        description: Where the data come from; derived when not given.

    Raises:
        DataError: A split is empty, shapes differ between splits, labels fall outside the classes, or the
            training samples show fewer than two classes.
    """

    metric = "accuracy"

    def __init__(
        self,
        name: str,
        *,
        train: LabelledSamples,
        validation: LabelledSamples,
        test: LabelledSamples,
        classes: Sequence[str],
        augmentation: Augmentation | None = None,
        label_smoothing: float = 0.0,
        distillation: Distillation | None = None,
        normalization: Normalization | None = None,
        description: DataDescription | None = None,
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label smoothing is a share in [0, 1), got {label_smoothing}")
        self.classes = tuple(classes)
        super().__init__(name, {"train": train, "validation": validation, "test": test}, description)
        _check(name, self._samples, len(self.classes))
        if augmentation is not None and len(self.input_shape) != 3:
            raise InputError(
                f"{name}: augmentation varies images [channels, height, width], samples have shape "
                f"{self.input_shape}; leave it out"
            )
        self.augmentation = augmentation
        self.label_smoothing = label_smoothing
        self.distillation = distillation or Distillation()
        self.normalization = normalization or Normalization.of(train)

    def _count(self, samples: LabelledSamples) -> int:
        return len(samples.labels)

    def _ranked(self, samples: LabelledSamples) -> Tensor:
        return stratified_order(samples.labels, seed=0)

    def _batch(self, samples: LabelledSamples, indices: Tensor, generator: torch.Generator | None) -> Batch:
        inputs = samples.take(indices)
        if generator is not None and self.augmentation is not None:
            inputs = self.augmentation(inputs, generator)
        if self.normalization is not None:
            inputs = self.normalization(inputs)
        return Batch(inputs, samples.labels[indices])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy with label smoothing.

        Args:
            outputs: Logits ``[batch, classes]``.
            targets: Class indices ``[batch]``.

        Raises:
            InputError: The outputs have another shape.
        """
        self._check_outputs(outputs, targets)
        return F.cross_entropy(outputs.float(), targets, label_smoothing=self.label_smoothing)

    def distillation_loss(self, outputs: Tensor, teacher_outputs: Tensor, targets: Tensor) -> Tensor:
        """``(1 - w) * loss + w * T^2 * KL(softmax(teacher / T) || softmax(student / T))``.

        G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531; the
        factor ``T^2`` keeps the size of the gradient when the temperature changes.

        Args:
            outputs: The student's logits ``[batch, classes]``.
            teacher_outputs: The teacher's logits on the same inputs ``[batch, classes]``.
            targets: Class indices ``[batch]``.

        Raises:
            InputError: Either output has another shape.
        """
        weight, temperature = self.distillation.weight, self.distillation.temperature
        hard = self.loss(outputs, targets)
        if weight == 0:
            return hard
        self._check_outputs(teacher_outputs, targets)
        soft = F.kl_div(
            F.log_softmax(outputs.float() / temperature, dim=1),
            F.log_softmax(teacher_outputs.float() / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - weight) * hard + weight * temperature**2 * soft

    def judge(self, split: Split) -> ClassificationJudge:
        """Judges logits by top-1 accuracy."""
        self._of(split)
        return ClassificationJudge(self, f"{self.name} {split}")

    def images(self, inputs: Tensor) -> Tensor | None:
        """The pictures before normalisation, uint8 ``[batch, 3, height, width]``; ``None`` for other data."""
        return pictures(inputs, self.normalization)

    def answers(self, outputs: Outputs) -> tuple[ClassAnswer, ...]:
        """The most probable class of each sample, with its probability."""
        confidences, labels = outputs.float().softmax(1).max(1)
        found = zip(labels.tolist(), confidences.tolist(), strict=True)
        return tuple(ClassAnswer(self.classes[label], confidence) for label, confidence in found)

    def truths(self, targets: Targets) -> tuple[ClassAnswer, ...]:
        """The class of each sample."""
        return tuple(ClassAnswer(self.classes[label]) for label in targets.tolist())

    @property
    def postprocessing(self) -> dict[str, Any]:
        """The class is the largest output."""
        return {"kind": "classification", "axis": 1}

    def _check_outputs(self, outputs: object, targets: Tensor) -> None:
        expected = (len(targets), len(self.classes))
        if isinstance(outputs, Tensor) and tuple(outputs.shape) == expected:
            return
        got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(
            f"task {self.name!r} needs logits of shape [batch, {len(self.classes)}] from the network, "
            f"got {got} for a batch of {len(targets)}; change the last layer or the data set"
        )


def _check(name: str, samples: Mapping[Split, LabelledSamples], classes: int) -> None:
    first = int(samples["train"].labels[0])
    if bool((samples["train"].labels == first).all()):
        raise DataError(
            f"{name}: the training samples all belong to one class (index {first}); "
            "classification needs at least two"
        )
    for split, part in samples.items():
        check_labels(name, split, part.labels, classes)
