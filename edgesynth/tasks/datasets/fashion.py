"""Fashion-MNIST: the whole of it from local files, and a subset that comes with the package.

H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", arXiv 1708.07747. 28x28 grey photographs of clothing, 60,000 to train and 10,000 to test.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import torch

from edgesynth.errors import DataError
from edgesynth.tasks.classification import Augmentation, ClassificationTask, LabelledSamples, TensorSamples
from edgesynth.tasks.datasets.idx import read_idx, write_idx
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.division import divide, stratified_order

__all__ = ["fashion_mnist", "fashion_mnist_subset", "write_subset"]

CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
VALIDATION = 5_000
SUBSET_TRAIN, SUBSET_VALIDATION, SUBSET_TEST = 4_000, 1_000, 1_000

_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_SOURCE = "Fashion-MNIST, H. Xiao et al., arXiv 1708.07747"
_AUGMENTATION = Augmentation(shift=2, border="zero", flip=True)


def fashion_mnist(root: Path | None = None, train_size: int | None = None) -> ClassificationTask:
    """The standard split, with a fixed validation part taken out of the training images.

    Args:
        root: Directory of the four ``*-ubyte.gz`` files; otherwise ``$EDGESYNTH_DATA/fashion-mnist`` or where
            Debian's package ``dataset-fashion-mnist`` puts them.
        train_size: Training images, stratified; all 55,000 that remain after validation when not given.

    Raises:
        DataError: A file is missing or damaged, or ``train_size`` is out of range.
    """
    directory = _directory(root)
    whole = _read(directory, "train")
    available = len(whole.labels) - VALIDATION
    size = available if train_size is None else train_size
    if not 2 <= size <= available:
        raise DataError(f"train_size must lie between 2 and {available:,}, got {size}")
    # Large enough to decide on, never more than half of what is learned from.
    validation_size = min(VALIDATION, max(1, size // 2))
    held_out, remaining = divide(whole, VALIDATION, available)
    (train,) = divide(remaining, size)
    (validation,) = divide(held_out, validation_size)
    test = _read(directory, "t10k")
    return _task(
        "fashion-mnist",
        train,
        validation,
        test,
        f"standard test split; {validation_size:,} validation images held out of the standard training split",
    )


def fashion_mnist_subset(train_size: int | None = None) -> ClassificationTask:
    """6,000 images that come with the package: 4,000 train, 1,000 validation, 1,000 test.

    Args:
        train_size: Fewer training images than 4,000, stratified.

    Raises:
        DataError: ``train_size`` is out of range.
    """
    packaged = resources.files("edgesynth.tasks.datasets") / "fashion_mnist_subset"
    with resources.as_file(packaged) as directory:
        train, test = _read(directory, "train"), _read(directory, "t10k")
    validation, rest = divide(train, SUBSET_VALIDATION, SUBSET_TRAIN)
    size = SUBSET_TRAIN if train_size is None else train_size
    if not 2 <= size <= SUBSET_TRAIN:
        raise DataError(f"train_size must lie between 2 and {SUBSET_TRAIN:,}, got {size}")
    (chosen,) = divide(rest, size)
    return _task(
        "fashion-mnist-subset",
        chosen,
        validation,
        test,
        "stratified subset of the standard splits: validation and train from train, test from test",
    )


def write_subset(source: Path, destination: Path) -> None:
    """Make the packaged subset from the original files: a stratified draw with seed 0 from each split."""
    destination.mkdir(parents=True, exist_ok=True)
    for part, size in (("train", SUBSET_TRAIN + SUBSET_VALIDATION), ("t10k", SUBSET_TEST)):
        whole = _read(source, part)
        picked = stratified_order(whole.labels, seed=0)[:size].sort().values
        write_idx(destination / f"{part}-images-idx3-ubyte.gz", whole.inputs[picked].squeeze(1))
        write_idx(destination / f"{part}-labels-idx1-ubyte.gz", whole.labels[picked].to(torch.uint8))


def _directory(root: Path | None) -> Path:
    if root is not None:
        return root
    configured = os.environ.get("EDGESYNTH_DATA")
    candidates = [Path(configured) / "fashion-mnist"] if configured else []
    candidates.append(_DEBIAN)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise DataError(
        f"Fashion-MNIST is not in {' or '.join(map(str, candidates))}; install Debian's package "
        "dataset-fashion-mnist, give the directory of its idx files, or use the packaged "
        "'fashion-mnist-subset'"
    )


def _read(directory: Path, part: str) -> TensorSamples:
    images = read_idx(directory / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(directory / f"{part}-labels-idx1-ubyte.gz")
    if images.ndim != 3 or labels.ndim != 1:
        raise DataError(f"{directory} holds {part} images of {images.ndim} axes; expected [count, 28, 28]")
    return TensorSamples(images.unsqueeze(1), labels)


def _task(
    name: str, train: LabelledSamples, validation: LabelledSamples, test: LabelledSamples, division: str
) -> ClassificationTask:
    sizes = {"train": len(train.labels), "validation": len(validation.labels), "test": len(test.labels)}
    return ClassificationTask(
        name,
        train=train,
        validation=validation,
        test=test,
        classes=CLASSES,
        augmentation=_AUGMENTATION,
        label_smoothing=0.1,
        description=DataDescription(name, "real", _SOURCE, "MIT", sizes, division),
    )
