"""One class per pixel: cross-entropy, distillation, mean intersection over union."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesynth.errors import DataError, InputError
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.distillation import Distillation
from edgesynth.tasks.images import pictures
from edgesynth.tasks.normalization import Normalization
from edgesynth.tasks.protocol import Batch, Outputs, Split, Targets
from edgesynth.tasks.segmentation.answer import MaskAnswer
from edgesynth.tasks.segmentation.augmentation import PairedAugmentation
from edgesynth.tasks.segmentation.judge import SegmentationJudge
from edgesynth.tasks.segmentation.overlap import most_probable
from edgesynth.tasks.segmentation.samples import VALUES, MaskedSamples, representative_order
from edgesynth.tasks.splits import SplitTask

__all__ = ["ClassWeights", "SegmentationTask"]

ClassWeights = Literal["balanced"] | Sequence[float] | None
"""How much a pixel of each class weighs in the loss: alike, by rarity, or as given."""


class SegmentationTask(SplitTask[MaskedSamples]):
    """Semantic segmentation of pictures in three disjoint splits.

    Networks map pictures ``[batch, channels, height, width]`` to logits ``[batch, classes, h, w]``. Where
    ``h`` and ``w`` are the size of the masks divided by one whole number, the task magnifies the logits
    bilinearly (corners not aligned) before anything is computed of them; any other size is refused.

    Args:
        name: What reports call it.
        train: The samples to learn from; their statistics normalise all splits.
        validation: The samples to decide on.
        test: The samples to report on.
        classes: The names of the classes, in the order of the masks' values.
        ignore_label: The value of pixels that neither the loss nor the metrics count; not a class.
        class_weights: How much a pixel of each class weighs in the loss: alike, as given, or ``balanced``, by
            ``1 / ln(1.02 + share of the training pixels)`` (A. Paszke et al., "ENet", arXiv 1606.02147,
            section 5.2), which lies between 1.4 and 50.
        augmentation: Random variation of training pictures and their masks; ``None`` for none.
        distillation: How much a student listens to its teacher.
        normalization: Overrides the statistics of ``train``.
        description: Where the data come from; derived when not given.

    Raises:
        DataError: A split is empty or shows no labelled pixel, sizes differ between splits, masks hold values
            outside the classes, or the training masks show fewer than two classes.
        InputError: There are fewer than two classes or two of one name, the ignore label is one of them, or
            the weights do not fit them.
    """

    metric = "miou"

    def __init__(
        self,
        name: str,
        *,
        train: MaskedSamples,
        validation: MaskedSamples,
        test: MaskedSamples,
        classes: Sequence[str],
        ignore_label: int = 255,
        class_weights: ClassWeights = None,
        augmentation: PairedAugmentation | None = None,
        distillation: Distillation | None = None,
        normalization: Normalization | None = None,
        description: DataDescription | None = None,
    ) -> None:
        self.classes = tuple(classes)
        self.ignore_label = ignore_label
        if not 2 <= len(self.classes) <= ignore_label < VALUES:
            raise InputError(
                f"{name}: needs at least two classes and an ignore label above their indices and below "
                f"{VALUES}, got {len(self.classes)} classes and ignore label {ignore_label}"
            )
        if len(set(self.classes)) < len(self.classes):
            raise InputError(f"{name}: class names must differ, got {', '.join(self.classes)}")
        super().__init__(name, {"train": train, "validation": validation, "test": test}, description)
        _check(name, self._samples, self.classes, ignore_label)
        self.augmentation = augmentation
        self.class_weights = _weights(name, class_weights, train.counts[:, : len(self.classes)].sum(0))
        self.distillation = distillation or Distillation()
        self.normalization = normalization or Normalization.measured(train.take, len(train.counts))

    def _count(self, samples: MaskedSamples) -> int:
        return len(samples.counts)

    def _ranked(self, samples: MaskedSamples) -> Tensor:
        return representative_order(samples.counts[:, : len(self.classes)], seed=0)

    def _batch(self, samples: MaskedSamples, indices: Tensor, generator: torch.Generator | None) -> Batch:
        """Targets are uint8 ``[batch, height, width]``."""
        inputs, masks = samples.take(indices), samples.masks(indices)
        if generator is not None and self.augmentation is not None:
            inputs, masks = self.augmentation(inputs, masks, generator, ignore_label=self.ignore_label)
        if self.normalization is not None:
            inputs = self.normalization(inputs)
        return Batch(inputs, masks)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, averaged over the pixels that count by the weights of their classes.

        Args:
            outputs: Logits ``[batch, classes, h, w]``.
            targets: Class indices, uint8 ``[batch, height, width]``.

        Raises:
            InputError: The outputs have another shape.
        """
        total, weight = self.weighted_loss(self.at_full_size(outputs, len(targets)), targets)
        return _mean(total, weight)

    def distillation_loss(self, outputs: Tensor, teacher_outputs: Tensor, targets: Tensor) -> Tensor:
        """``(1 - w) * loss + w * T^2 * KL(softmax(teacher / T) || softmax(student / T))``, pixel by pixel.

        The divergence is averaged over the pixels that count (G. Hinton, O. Vinyals, J. Dean, arXiv
        1503.02531, applied to pixels as in Y. Liu et al., "Structured Knowledge Distillation for Semantic
        Segmentation", CVPR 2019).

        Args:
            outputs: The student's logits ``[batch, classes, h, w]``.
            teacher_outputs: The teacher's logits on the same inputs, at their own size.
            targets: Class indices, uint8 ``[batch, height, width]``.

        Raises:
            InputError: Either output has another shape.
        """
        weight, temperature = self.distillation.weight, self.distillation.temperature
        student = self.at_full_size(outputs, len(targets))
        hard = _mean(*self.weighted_loss(student, targets))
        if weight == 0:
            return hard
        teacher = self.at_full_size(teacher_outputs, len(targets))
        divergence = F.kl_div(
            F.log_softmax(student / temperature, dim=1),
            F.log_softmax(teacher / temperature, dim=1),
            reduction="none",
            log_target=True,
        ).sum(1)
        counts = (targets != self.ignore_label).to(divergence.dtype)
        soft = _mean((divergence * counts).sum(), counts.sum())
        return (1 - weight) * hard + weight * temperature**2 * soft

    def weighted_loss(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the weighted cross-entropies of all pixels that count, and the sum of their weights.

        Args:
            logits: ``[batch, classes, height, width]``, as :meth:`at_full_size` gives them.
            targets: Class indices, uint8 ``[batch, height, width]``.
        """
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        total = F.cross_entropy(
            logits, targets.long(), weight=weights, ignore_index=self.ignore_label, reduction="sum"
        )
        pixels = torch.bincount(targets.flatten(), minlength=VALUES)[: len(self.classes)].to(total.dtype)
        return total, pixels.sum() if weights is None else pixels @ weights

    def at_full_size(self, outputs: object, count: int) -> Tensor:
        """Logits in single precision at the size of the masks, magnified bilinearly where they are smaller.

        Args:
            outputs: Logits ``[count, classes, h, w]``.
            count: Samples of the batch.

        Raises:
            InputError: The outputs have another shape, or their size is not that of the masks divided by one
                whole number.
        """
        height, width = self.input_shape[1:]
        if isinstance(outputs, Tensor) and outputs.ndim == 4:
            rows, columns = outputs.shape[2:]
            known = tuple(outputs.shape[:2]) == (count, len(self.classes)) and rows > 0 and columns > 0
            if known and (rows, columns) == (height, width):
                return outputs.float()
            if known and height % rows == 0 and width % columns == 0 and height // rows == width // columns:
                return F.interpolate(
                    outputs.float(), size=(height, width), mode="bilinear", align_corners=False
                )
        got = f"shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(
            f"task {self.name!r} needs logits of shape [batch, {len(self.classes)}, {height}, {width}] from "
            f"the network, or smaller by one whole factor in both directions; got {got} for a batch of "
            f"{count}: change the last layer or the data set"
        )

    def judge(self, split: Split) -> SegmentationJudge:
        """Judges logits by mean IoU."""
        self._of(split)
        return SegmentationJudge(self, f"{self.name} {split}")

    def images(self, inputs: Tensor) -> Tensor | None:
        """The pictures before normalisation, uint8 ``[batch, 3, height, width]``."""
        return pictures(inputs, self.normalization)

    def answers(self, outputs: Outputs) -> tuple[MaskAnswer, ...]:
        """The most probable class of every pixel."""
        logits = self.at_full_size(outputs, len(outputs) if isinstance(outputs, Tensor) else 0)
        masks = most_probable(logits).to(torch.uint8)
        return tuple(MaskAnswer(mask, self.classes, self.ignore_label) for mask in masks)

    def truths(self, targets: Targets) -> tuple[MaskAnswer, ...]:
        """The mask of each sample."""
        return tuple(MaskAnswer(mask, self.classes, self.ignore_label, given=True) for mask in targets)

    @property
    def postprocessing(self) -> dict[str, Any]:
        """The class of a pixel is the largest output there, once outputs have the size of the picture."""
        return {
            "kind": "segmentation",
            "axis": 1,
            "size_pixels": list(self.input_shape[1:]),
            "resize": "bilinear",
            "align_corners": False,
        }


def _mean(total: Tensor, weight: Tensor) -> Tensor:
    """Zero, with a gradient of zero, where nothing counts."""
    return total / torch.where(weight > 0, weight, 1)


def _check(
    name: str, samples: Mapping[Split, MaskedSamples], classes: Sequence[str], ignore_label: int
) -> None:
    for split, part in samples.items():
        totals = part.counts.sum(0)
        known = torch.zeros(VALUES, dtype=torch.bool)
        known[: len(classes)] = True
        known[ignore_label] = True
        strange = torch.nonzero((totals > 0) & ~known).flatten().tolist()
        if strange:
            sample = int(torch.nonzero(part.counts[:, strange[0]])[0])
            raise DataError(
                f"{name}: the mask of {split} sample {sample} holds the value {strange[0]}, but there are "
                f"{len(classes)} classes (0 to {len(classes) - 1}) and {ignore_label} is ignored"
            )
        if not bool(totals[: len(classes)].any()):
            raise DataError(f"{name}: no pixel of the {split} split is labelled; every one is ignored")
    shown = torch.nonzero(samples["train"].counts.sum(0)[: len(classes)]).flatten().tolist()
    if len(shown) < 2:
        raise DataError(
            f"{name}: the training masks all show one class ({classes[shown[0]]!r}); "
            "segmentation needs at least two"
        )


def _weights(name: str, given: ClassWeights, pixels: Tensor) -> Tensor | None:
    """Float32 ``[classes]``, or ``None`` where all weigh alike."""
    if given is None:
        return None
    if isinstance(given, str):
        if given != "balanced":
            raise InputError(f"{name}: class weights are 'balanced' or one number per class, got {given!r}")
        return (1 / torch.log(1.02 + pixels.double() / pixels.sum())).float()
    try:
        weights = torch.tensor([float(weight) for weight in given])
    except (TypeError, ValueError, OverflowError):
        weights = torch.full_like(pixels, math.nan, dtype=torch.float32)
    usable = bool(((weights >= 0) & weights.isfinite()).all()) and bool(weights.any())
    if len(weights) != len(pixels) or not usable:
        raise InputError(
            f"{name}: needs one class weight, finite, not below 0 and not all 0, for each of {len(pixels)} "
            f"classes, got {given!r}"
        )
    return weights
