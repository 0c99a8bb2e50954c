"""Any torch data set of (tensor, class index) pairs as a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from edgesynth.errors import DataError
from edgesynth.tasks.classification.augmentation import Augmentation
from edgesynth.tasks.classification.samples import DatasetSamples, LabelledSamples
from edgesynth.tasks.classification.task import ClassificationTask
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.division import hold_out
from edgesynth.tasks.splits import MEMORY_LIMIT_BYTES

__all__ = ["from_datasets"]


def from_datasets(
    train: Dataset[Any],
    test: Dataset[Any],
    validation: Dataset[Any] | None = None,
    *,
    name: str | None = None,
    classes: Sequence[str] | None = None,
    augmentation: Augmentation | None = None,
    label_smoothing: float = 0.1,
    validation_share: float = 0.15,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
) -> ClassificationTask:
    """Make a task of map-style data sets whose items are pairs (tensor, class index).

    Samples should come unnormalised and unvaried: the task normalises by the statistics of ``train`` and
    varies by ``augmentation``. A data set that varies its items at random must stay out of memory
    (``memory_limit_bytes=0``) to vary them anew each epoch.

    Args:
        train: To learn from.
        test: To report on.
        validation: To decide on; held out of ``train``, stratified, when not given; never of ``test``.
        name: What reports call it; the class of ``train`` when not given.
        classes: Names of the classes; ``train.classes`` where it has them, else the indices.
        augmentation: Random variation of training images.
        label_smoothing: Share of the target spread over all classes.
        validation_share: Share of ``train`` held out.
        memory_limit_bytes: Splits up to this size are read once and kept.

    Raises:
        DataError: A data set is empty, has no length, has items that are not such pairs, or shows one class.
    """
    parts = {
        part: _samples(dataset, memory_limit_bytes)
        for part, dataset in (("train", train), ("validation", validation), ("test", test))
        if dataset is not None
    }
    division = "splits as given"
    if "validation" not in parts:
        if len(parts["train"].labels) < 2:
            raise DataError("the training data set holds one sample: nothing can be held out for validation")
        parts["train"], parts["validation"] = hold_out(parts["train"], validation_share)
        division = f"validation is {validation_share:.0%} of the training data, held out; test as given"
    title = name or type(train).__name__
    sizes = {part: len(parts[part].labels) for part in ("train", "validation", "test")}
    return ClassificationTask(
        title,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        classes=_class_names(train, classes, parts["train"]),
        augmentation=augmentation,
        label_smoothing=label_smoothing,
        description=DataDescription(
            title, "user", f"torch data set {type(train).__name__}", "", sizes, division
        ),
    )


def _samples(dataset: Dataset[Any], memory_limit_bytes: int) -> LabelledSamples:
    samples = DatasetSamples(dataset)
    if len(samples.labels) * samples.item_bytes <= memory_limit_bytes:
        return samples.in_memory()
    return samples


def _class_names(
    train: Dataset[Any], given: Sequence[str] | None, samples: LabelledSamples
) -> tuple[str, ...]:
    if given is not None:
        return tuple(given)
    declared = getattr(train, "classes", None)
    if isinstance(declared, Sequence) and not isinstance(declared, str) and declared:
        return tuple(map(str, declared))
    return tuple(str(index) for index in range(int(torch.max(samples.labels)) + 1))
