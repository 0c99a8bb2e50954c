"""CIFAR-10 from a local copy of its binary version.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. Each record is one label byte
and 3,072 pixel bytes: 32x32 red, then green, then blue, row by row. The python version is a pickle:
it is not read.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from edgesynth.errors import DataError
from edgesynth.tasks.classification import Augmentation, ClassificationTask, TensorSamples
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.division import divide

__all__ = ["cifar10"]

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_VALIDATION_SHARE = 0.1


def cifar10(root: Path | None = None, train_size: int | None = None) -> ClassificationTask:
    """The standard split, with a fixed tenth of the training images held out for validation.

    Args:
        root: Directory of ``data_batch_1.bin`` ... ``test_batch.bin``; otherwise
            ``$EDGESYNTH_DATA/cifar-10-batches-bin``.
        train_size: Training images, stratified; all that remain after validation when not given.

    Raises:
        DataError: A file is missing or damaged, or ``train_size`` is out of range.
    """
    directory = _directory(root)
    whole = _read([directory / file for file in _TRAIN_FILES])
    test = _read([directory / "test_batch.bin"])
    count = len(whole.labels)
    held = max(1, round(_VALIDATION_SHARE * count))
    validation, rest = divide(whole, held, count - held)
    size = count - held if train_size is None else train_size
    if not 2 <= size <= count - held:
        raise DataError(f"train_size must lie between 2 and {count - held:,}, got {size}")
    (train,) = divide(rest, size)
    sizes = {"train": size, "validation": held, "test": len(test.labels)}
    return ClassificationTask(
        "cifar10",
        train=train,
        validation=validation,
        test=test,
        classes=_CLASSES,
        augmentation=Augmentation(shift=4, border="reflect", flip=True),
        label_smoothing=0.1,
        description=DataDescription(
            "cifar10",
            "real",
            "CIFAR-10, A. Krizhevsky, 2009, www.cs.toronto.edu/~kriz/cifar.html",
            "",
            sizes,
            "standard test split; a tenth of the standard training split held out for validation",
        ),
    )


def _directory(root: Path | None) -> Path:
    if root is not None:
        return root
    configured = os.environ.get("EDGESYNTH_DATA")
    if configured is None:
        raise DataError(
            "CIFAR-10 is read from a local copy: give the directory of its binary version "
            "(cifar-10-batches-bin), or set EDGESYNTH_DATA to the directory above it"
        )
    return Path(configured) / "cifar-10-batches-bin"


def _read(paths: list[Path]) -> TensorSamples:
    records = []
    for path in paths:
        try:
            data = np.fromfile(path, dtype=np.uint8)
        except OSError as error:
            raise DataError(
                f"cannot read {path}: {error.strerror}; give the binary version's directory"
            ) from error
        if data.size == 0 or data.size % _RECORD:
            raise DataError(
                f"{path} has {data.size} bytes, not a multiple of {_RECORD}; fetch the binary version again"
            )
        records.append(data.reshape(-1, _RECORD))
    table = torch.from_numpy(np.concatenate(records))
    return TensorSamples(table[:, 1:].reshape(-1, *_SHAPE).contiguous(), table[:, 0].to(torch.int64))
