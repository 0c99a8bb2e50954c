"""Generated scenes of plain shapes on plain grounds: quick, and they need nothing installed.

For tests and a first try. A network that finds them has shown that it trains, and no more.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgesynth.errors import DataError
from edgesynth.tasks.datasets.synthetic.composition import Composition, Scenes, Sprite, compose_scenes
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.detection import BoxAugmentation, BoxedTensorSamples, DetectionTask, HeadName
from edgesynth.tasks.protocol import Split
from edgesynth.tasks.segmentation import MaskedTensors, PairedAugmentation, SegmentationTask

__all__ = ["SHAPES", "SIZES", "shape_scenes", "shapes_boxes", "shapes_masks"]

SHAPES = ("disc", "square", "triangle")
"""The classes, in order."""

SIZES: Final[Mapping[Split, int]] = {"train": 600, "validation": 150, "test": 200}
"""Scenes of each split, where nothing else is asked for."""

_SEEDS: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}
_COLOURS = 24
_SIDE = 160


@functools.lru_cache(maxsize=6)
def shape_scenes(split: Split, count: int, side: int = 64) -> Scenes:
    """Scenes of one to three shapes; each depends on its split and number alone.

    Args:
        split: Which of three different series.
        count: How many.
        side: Of a scene, in pixels.

    Raises:
        DataError: ``count`` is not between 2 and 100,000.
    """
    if not 2 <= count <= 100_000:
        raise DataError(f"the number of scenes must lie between 2 and 100,000, got {count}")
    seed = _SEEDS[split]
    rng = np.random.default_rng((seed, 0xC0105))
    sprites = [
        Sprite.of(f"{name} {number}", label, _drawn(name, rng))
        for label, name in enumerate(SHAPES)
        for number in range(_COLOURS)
    ]
    composition = Composition(side, objects=(1, 3), size=(0.25, 0.5))
    return compose_scenes(sprites, _plain, composition, count, seed)


def shapes_masks(train_size: int | None = None, *, side: int = 64) -> SegmentationTask:
    """Scenes with a class for every pixel: the background and three shapes.

    Args:
        train_size: Training scenes; 600 when not given.
        side: Of a scene, in pixels.

    Raises:
        DataError: ``train_size`` is out of range.
    """
    parts = _parts(train_size, side)
    train, validation, test = (MaskedTensors(part.images, part.masks) for part in parts.values())
    return SegmentationTask(
        "shapes-masks",
        train=train,
        validation=validation,
        test=test,
        classes=("background", *SHAPES),
        augmentation=PairedAugmentation(shift=side // 12, flip=True),
        description=_description("shapes-masks", parts),
    )


def shapes_boxes(
    train_size: int | None = None,
    *,
    side: int = 64,
    head: HeadName = "centre",
    metric: Literal["map50", "map"] = "map50",
) -> DetectionTask:
    """Scenes with a box around the visible part of every shape, of three kinds.

    Args:
        train_size: Training scenes; 600 when not given.
        side: Of a scene, in pixels.
        head: What a network's outputs mean.
        metric: What quality is.

    Raises:
        DataError: ``train_size`` is out of range.
    """
    parts = _parts(train_size, side)
    train, validation, test = (
        BoxedTensorSamples(part.images, part.boxes, part.labels) for part in parts.values()
    )
    return DetectionTask(
        "shapes-boxes",
        train=train,
        validation=validation,
        test=test,
        classes=SHAPES,
        head=head,
        metric=metric,
        augmentation=BoxAugmentation(colour=0.0),
        description=_description("shapes-boxes", parts),
    )


def _parts(train_size: int | None, side: int) -> dict[Split, Scenes]:
    sizes = {**SIZES, "train": SIZES["train"] if train_size is None else train_size}
    return {split: shape_scenes(split, count, side) for split, count in sizes.items()}


def _description(name: str, parts: Mapping[Split, Scenes]) -> DataDescription:
    return DataDescription(
        name,
        "generated",
        "plain shapes drawn by a program",
        "made here",
        {split: len(part.images) for split, part in parts.items()},
        "every split drawn from a seed of its own",
    )


def _drawn(name: str, rng: np.random.Generator) -> Image.Image:
    """A shape of one bright colour."""
    colour = tuple(int(value) for value in rng.integers(60, 256, 3))
    # Drawn twice as large and halved, edges are smooth.
    picture = Image.new("RGBA", (2 * _SIDE, 2 * _SIDE), (*colour, 0))
    pen, last = ImageDraw.Draw(picture), 2 * _SIDE - 1
    if name == "disc":
        pen.ellipse((0, 0, last, last), fill=(*colour, 255))
    elif name == "square":
        pen.rectangle((0, 0, last, last), fill=(*colour, 255))
    else:
        height = last * math.sqrt(3) / 2
        pen.polygon(((0, height), (last, height), (last / 2, 0)), fill=(*colour, 255))
    return picture.resize((_SIDE, _SIDE), Image.Resampling.BOX)


def _plain(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """A dark colour that fades into another across the scene."""
    ends = rng.uniform(0, 110, (2, 3)).astype(np.float32)
    angle = float(rng.uniform(0, 2 * math.pi))
    places = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    along = 0.5 + (places[:, None] * math.sin(angle) + places[None, :] * math.cos(angle)) / math.sqrt(2)
    share = along[..., None].astype(np.float32)
    faded: NDArray[np.float32] = ends[0] * (1 - share) + ends[1] * share
    return faded
