"""Photographs behind composed scenes: none shows an object of the scenes' classes at a size that matters."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgesynth.errors import DataError, MissingDependencyError
from edgesynth.tasks.datasets.synthetic.composition import Ground
from edgesynth.tasks.protocol import Split

__all__ = ["PHOTOGRAPHS", "find_backgrounds", "photographic"]

_CAMPUS = tuple(
    f"campus/P1070{number}.png"
    for number in (
        491,
        493,
        494,
        495,
        496,
        497,
        498,
        499,
        500,
        501,
        503,
        504,
        505,
        506,
        507,
        509,
        510,
        512,
        514,
        515,
    )
)
PHOTOGRAPHS: Final[Mapping[Split, Mapping[str, tuple[str, ...]]]] = {
    "train": {
        "skimage": ("brick.png", "coffee.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png"),
        "mvtbdata": (
            *_CAMPUS,
            "58060.png",
            "building2-3.png",
            "eiffel-1.png",
            "lab-scene.png",
            "mosaic/aerial-08.png",
            "mosaic/aerial2-001.png",
            "roof.png",
        ),
    },
    "validation": {
        "skimage": ("clock_motion.png", "grass.png"),
        "mvtbdata": ("castle.png", "church.jpg", "rocks2-l.png"),
    },
    "test": {
        "skimage": ("coins.png", "moon.png", "retina.jpg"),
        "sklearn": ("china.jpg",),
        "mvtbdata": ("notre-dame.png", "road.png"),
    },
}
"""Divided by place: every view of one place, and every picture of one series, is in one split."""

_FOLDERS = {"skimage": "data", "mvtbdata": "images", "sklearn": "datasets/images"}
_SIDE = 256


@functools.cache
def find_backgrounds(split: Split) -> dict[str, Image.Image]:
    """The photographs of a split that installed packages bring, by name; read once a process.

    Returns:
        RGB, the shorter side 256.

    Raises:
        MissingDependencyError: scikit-image is not installed.
        DataError: A picture is damaged.
    """
    if importlib.util.find_spec("skimage") is None:
        raise MissingDependencyError(
            "composed scenes need the photographs of scikit-image, and have more with those of mvtb-data and "
            "scikit-learn: pip install 'edgesynth[data]'"
        )
    found = {}
    for package, files in PHOTOGRAPHS[split].items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for file in files:
            path = Path(spec.origin).parent / _FOLDERS[package] / file
            if path.is_file():
                found[f"{package}/{file}"] = _read(path)
    return found


def photographic(photographs: Sequence[Image.Image]) -> Ground:
    """Squares of photographs at random, of varying size, brightness and contrast, some mirrored."""

    def ground(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
        photograph = photographs[int(rng.integers(len(photographs)))]
        least = min(photograph.size)
        width = float(rng.uniform(min(0.8 * side, least), least))
        left, top = (float(rng.random()) * (size - width) for size in photograph.size)
        box = (left, top, min(left + width, photograph.width), min(top + width, photograph.height))
        square = photograph.resize((side, side), Image.Resampling.BILINEAR, box=box)
        pixels: NDArray[np.float32] = np.asarray(square).astype(np.float32)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1].copy()
        contrast, brightness = np.float32(rng.uniform(0.6, 1.1)), np.float32(rng.uniform(-25, 25))
        mean = pixels.mean()
        varied: NDArray[np.float32] = (pixels - mean) * contrast + mean + brightness
        return varied.clip(0, 255)

    return ground


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as opened:
            factor = _SIDE / min(opened.size)
            size = (max(_SIDE, round(opened.width * factor)), max(_SIDE, round(opened.height * factor)))
            # JPEGs are decoded at about the size that is needed.
            opened.draft("RGB", size)
            return opened.convert("RGB").resize(size, Image.Resampling.BOX)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"cannot read picture {path}: {error}") from error
