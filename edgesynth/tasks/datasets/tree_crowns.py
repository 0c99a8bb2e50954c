"""Crowns of trees in aerial pictures: real boxes drawn by people, few of them.

The wheel of deepforest carries four pictures with their annotations (B. Weinstein et al., "A benchmark
dataset for canopy crown detection and delineation in co-registered airborne RGB, LiDAR and hyperspectral
imagery", PLOS Computational Biology 17(7), 2021). Only these files are read; deepforest itself is never
imported.
"""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from edgesynth.errors import DataError, MissingDependencyError
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.detection import BoxAugmentation, BoxedTensorSamples, DetectionTask, HeadName
from edgesynth.tasks.division import shortened
from edgesynth.tasks.protocol import Split

__all__ = ["Annotated", "Strip", "strips", "tiles", "tree_crowns"]

DIVIDED: Final = ("2019_YELL_2_528000_4978000_image_crop2", "2019_YELL_2_541000_4977000_image_crop")
TRAINING: Final = ("OSBS_029", "SOAP_061")
SIDE = 128

_ENDS: dict[Split, tuple[float, float]] = {
    "train": (0.0, 0.56),
    "validation": (0.56, 0.75),
    "test": (0.75, 1.0),
}
# Half the rows between two splits that no tile shows; a crown is about 40 pixels wide.
_MARGIN = 20
_LEAST_SHARE = 0.4


@dataclass(frozen=True, eq=False)
class Annotated:
    """One aerial picture.

    Attributes:
        pixels: uint8 ``[height, width, 3]``.
        boxes: Left, top, right, bottom of every crown in pixels, ``[crowns, 4]``.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Strip:
    """Rows of a picture that belong to one split.

    Attributes:
        picture: The whole picture.
        top: First row.
        bottom: The row after the last.
    """

    picture: Annotated
    top: int
    bottom: int


def tree_crowns(
    root: Path | None = None,
    train_size: int | None = None,
    *,
    head: HeadName = "centre",
    metric: Literal["map50", "map"] = "map50",
) -> DetectionTask:
    """Tiles of 128x128 pixels with a box around every crown; one class.

    The two large pictures are divided by rows, 56 % to train, 19 % to validate and 25 % to test, with 40 rows
    between that nobody sees; the two small ones are for training alone. Training tiles overlap by half,
    others do not. A crown at the edge of a tile counts where at least 40 % of its box are in it.

    Args:
        root: Folder of the pictures and their XML files; the installed package's when not given.
        train_size: Training tiles; all of them when not given.
        head: What a network's outputs mean.
        metric: What quality is.

    Raises:
        MissingDependencyError: deepforest is not installed.
        DataError: A file is missing or damaged, or ``train_size`` is out of range.
    """
    folder = _folder(root)
    found: dict[Split, list[Strip]] = {split: [] for split in _ENDS}
    for name in DIVIDED:
        for split, strip in strips(_read(folder, name)).items():
            found[split].append(strip)
    for name in TRAINING:
        picture = _read(folder, name)
        found["train"].append(Strip(picture, 0, len(picture.pixels)))
    for split, of in found.items():
        if not any(part.bottom - part.top >= SIDE <= part.picture.pixels.shape[1] for part in of):
            raise DataError(
                f"tree-crowns, {split}: no tile of {SIDE}x{SIDE} pixels fits the pictures in {folder}"
            )
    parts = {split: tiles(of, SIDE // 2 if split == "train" else SIDE) for split, of in found.items()}
    parts["train"] = shortened("tree-crowns", parts["train"], len(parts["train"].inputs), train_size)
    return DetectionTask(
        "tree-crowns",
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        classes=("tree",),
        head=head,
        metric=metric,
        augmentation=BoxAugmentation(),
        description=DataDescription(
            "tree-crowns",
            "real",
            "four aerial pictures of the NEON programme with boxes drawn by people (deepforest 2.1.0)",
            "MIT",
            {split: len(part.inputs) for split, part in parts.items()},
            "split by rows of two pictures, 40 rows between; tiles overlap within training only; small",
        ),
    )


def strips(picture: Annotated) -> dict[Split, Strip]:
    """The rows of each split, from the top: training, validation, test."""
    height = len(picture.pixels)
    return {
        split: Strip(
            picture,
            round(first * height) + (_MARGIN if first > 0 else 0),
            round(last * height) - (_MARGIN if last < 1 else 0),
        )
        for split, (first, last) in _ENDS.items()
    }


def tiles(parts: list[Strip], step: int) -> BoxedTensorSamples:
    """Square tiles of strips, with the boxes cut at their edges.

    Args:
        parts: Where from.
        step: From one tile to the next, in pixels.
    """
    pictures, boxes = [], []
    for part in parts:
        for y in range(part.top, part.bottom - SIDE + 1, step):
            for x in range(0, part.picture.pixels.shape[1] - SIDE + 1, step):
                pictures.append(part.picture.pixels[y : y + SIDE, x : x + SIDE])
                boxes.append(torch.from_numpy(_within(part.picture.boxes, x, y)))
    inputs = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return BoxedTensorSamples(inputs, boxes, [torch.zeros(len(part), dtype=torch.int64) for part in boxes])


def _within(boxes: NDArray[np.float32], x: int, y: int) -> NDArray[np.float32]:
    """The boxes of which enough lies in the tile at (x, y), in its own pixels."""
    moved = boxes - np.array([x, y, x, y], dtype=np.float32)
    cut = moved.clip(0, SIDE)
    area, left = (np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (moved, cut))
    kept: NDArray[np.float32] = cut[left >= _LEAST_SHARE * area]
    return kept


def _folder(root: Path | None) -> Path:
    if root is not None:
        return root
    spec = importlib.util.find_spec("deepforest")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "tree-crowns are read from the files of deepforest, which is not installed; its own dependencies "
            "are not needed: pip install --no-deps deepforest==2.1.0"
        )
    return Path(spec.origin).parent / "data"


def _read(folder: Path, name: str) -> Annotated:
    path = folder / f"{name}.png"
    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        boxes = [
            [float(crown.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax")]
            for crown in ET.parse(path.with_suffix(".xml")).getroot().iter("object")
        ]
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"tree-crowns: cannot read {path} and its .xml: {error}") from error
    found = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    if len(found) == 0 or not bool((found[:, 2:] > found[:, :2]).all()):
        raise DataError(f"tree-crowns: {path.with_suffix('.xml')} holds no boxes, or one without area")
    return Annotated(pixels, found)
