"""Composed scenes: photographs of objects, cut out, on photographs of something else.

Every picture in them is real, the scene is not, and everything made of it says *composed*. Masks and boxes
are exact, because the program that pasted the objects knows them. No object and no background of the test
split occurs in training.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import numpy as np

from edgesynth.errors import DataError
from edgesynth.tasks.datasets.synthetic.backgrounds import find_backgrounds, photographic
from edgesynth.tasks.datasets.synthetic.composition import Composition, Scenes, compose_scenes
from edgesynth.tasks.datasets.synthetic.cutouts import KINDS, STAMPS, divide_cutouts, find_cutouts
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.detection import BoxAugmentation, BoxedTensorSamples, DetectionTask, HeadName
from edgesynth.tasks.protocol import Split
from edgesynth.tasks.segmentation import MaskedTensors, PairedAugmentation, SegmentationTask

__all__ = ["SIZES", "scenes", "scenes_boxes", "scenes_masks"]

SIZES: Final[Mapping[Split, int]] = {"train": 2_000, "validation": 400, "test": 600}
"""Scenes of each split, where nothing else is asked for."""

MASKS_SIDE, BOXES_SIDE = 96, 128

_SEEDS: dict[Split, int] = {"train": 10, "validation": 11, "test": 12}


@functools.lru_cache(maxsize=6)
def scenes(split: Split, count: int, side: int, folder: Path = STAMPS) -> Scenes:
    """Scenes of one to four objects; each depends on its split and number and on the pictures installed.

    Args:
        split: Which objects and backgrounds.
        count: How many scenes.
        side: Of a scene, in pixels.
        folder: Where the stamps are.

    Raises:
        DataError: The stamps are missing, or ``count`` is not between 2 and 100,000.
        MissingDependencyError: No package with photographs is installed.
    """
    if not 2 <= count <= 100_000:
        raise DataError(f"the number of scenes must lie between 2 and 100,000, got {count}")
    sprites = divide_cutouts(find_cutouts(folder))[split]
    ground = photographic(tuple(find_backgrounds(split).values()))
    return compose_scenes(sprites, ground, Composition(side), count, _SEEDS[split])


def scenes_masks(
    root: Path | None = None, train_size: int | None = None, *, side: int = MASKS_SIDE
) -> SegmentationTask:
    """Composed scenes with a class for every pixel: the background and five kinds of objects.

    Args:
        root: Folder of the stamps; where Debian's package puts them, when not given.
        train_size: Training scenes; 2,000 when not given.
        side: Of a scene, in pixels.

    Raises:
        DataError: The stamps are missing, or ``train_size`` is out of range.
        MissingDependencyError: No package with photographs is installed.
    """
    parts = _parts(root, train_size, side)
    train, validation, test = (MaskedTensors(part.images, part.masks) for part in parts.values())
    return SegmentationTask(
        "scenes-masks",
        train=train,
        validation=validation,
        test=test,
        classes=("background", *KINDS),
        augmentation=PairedAugmentation(shift=side // 12, scale=(0.8, 1.25), flip=True, colour=0.2),
        description=_description("scenes-masks", root, parts),
    )


def scenes_boxes(
    root: Path | None = None,
    train_size: int | None = None,
    *,
    side: int = BOXES_SIDE,
    head: HeadName = "centre",
    metric: Literal["map50", "map"] = "map50",
) -> DetectionTask:
    """Composed scenes with a box around the visible part of every object, of five kinds.

    Args:
        root: Folder of the stamps; where Debian's package puts them, when not given.
        train_size: Training scenes; 2,000 when not given.
        side: Of a scene, in pixels.
        head: What a network's outputs mean.
        metric: What quality is.

    Raises:
        DataError: The stamps are missing, or ``train_size`` is out of range.
        MissingDependencyError: No package with photographs is installed.
    """
    parts = _parts(root, train_size, side)
    train, validation, test = (
        BoxedTensorSamples(part.images, part.boxes, part.labels) for part in parts.values()
    )
    return DetectionTask(
        "scenes-boxes",
        train=train,
        validation=validation,
        test=test,
        classes=tuple(KINDS),
        head=head,
        metric=metric,
        augmentation=BoxAugmentation(),
        description=_description("scenes-boxes", root, parts),
    )


def _parts(root: Path | None, train_size: int | None, side: int) -> dict[Split, Scenes]:
    sizes = {**SIZES, "train": SIZES["train"] if train_size is None else train_size}
    folder = STAMPS if root is None else root
    return {split: scenes(split, count, side, folder) for split, count in sizes.items()}


def _description(name: str, root: Path | None, parts: Mapping[Split, Scenes]) -> DataDescription:
    folder = STAMPS if root is None else root
    objects = divide_cutouts(find_cutouts(folder))
    grounds = {split: find_backgrounds(split) for split in parts}

    def counted(groups: Mapping[Split, object]) -> str:
        return "/".join(str(len(groups[split])) for split in parts)  # type: ignore[arg-type]

    return DataDescription(
        name,
        "composed",
        f"{sum(map(len, objects.values()))} photographs of Tux Paint's stamps on "
        f"{sum(map(len, grounds.values()))} of scikit-image, scikit-learn and mvtb-data, fingerprint "
        f"{_fingerprint(parts['test'])}",
        "stamps GPL-2, photographs as their packages say; made here, not distributed",
        {split: len(part.images) for split, part in parts.items()},
        f"split by object ({counted(objects)}) and by background ({counted(grounds)})",
    )


def _fingerprint(part: Scenes) -> str:
    """Changes whenever a picture does that the first scenes show."""
    return hashlib.sha256(np.ascontiguousarray(part.images[:200]).tobytes()).hexdigest()[:12]
