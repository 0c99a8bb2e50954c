"""Mask files: what value every pixel holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from edgesynth.tasks.images import Corrupt, ImageFormat, fitted, opened
from edgesynth.tasks.segmentation.legend import Legend, packed
from edgesynth.tasks.segmentation.samples import VALUES

__all__ = ["read_mask", "unfit"]

_INDICES = frozenset({"1", "L", "I;16", "I;16B", "I;16L", "I"})
_PALETTES = frozenset({"P", "PA"})


def unfit(path: Path, reason: str) -> Corrupt:
    """A picture or a mask that can be read, and not be used."""
    return Corrupt(path, f"{path}: {reason}", reason)


def read_mask(
    path: Path, form: ImageFormat, legend: Legend
) -> tuple[Tensor, tuple[int, int], tuple[int, ...]]:
    """Read one mask: values of any whole type, a palette's indices, or colours that the legend knows.

    Where the legend has no colours, greys without transparency are values too.

    It is turned as its EXIF orientation says, like pictures are.

    Returns:
        The stored values at the size asked for, uint8 ``[height, width]``; its height and width before;
        the distinct values of the whole file.

    Raises:
        Corrupt: The file is damaged, no picture, or holds what no class is.
    """
    values = _stored(path, legend)
    if values.max(initial=0) >= VALUES or values.min(initial=0) < 0:
        strange = values[(values >= VALUES) | (values < 0)]
        raise unfit(path, f"holds the value {int(strange[0])}; classes have values of 0 to 255")
    small = fitted(Image.fromarray(values.astype(np.uint8)), form, smooth=False)
    seen = np.flatnonzero(np.bincount(values.ravel(), minlength=VALUES))
    return torch.from_numpy(np.array(small)), (values.shape[0], values.shape[1]), tuple(seen.tolist())


def _stored(path: Path, legend: Legend) -> NDArray[np.int64]:
    """The values of a whole mask, ``[height, width]``."""
    with opened(path) as source:
        picture = ImageOps.exif_transpose(source)
        # A palette says how indices are shown, not what they are.
        if picture.mode in _INDICES or (picture.mode in _PALETTES and not legend.colours):
            stored = np.asarray(picture).astype(np.int64)
            return stored if stored.ndim == 2 else stored[..., 0]
        if picture.mode == "F":
            raise unfit(path, "holds fractions; save classes as whole numbers of 8 bits")
        if picture.mode == "LA":
            return np.asarray(picture)[..., 0].astype(np.int64)
        plain = picture.mode in ("RGB", "RGBA")
        coloured = np.asarray(picture.convert("RGBA"))
    if not legend.colours:
        grey = (coloured[..., :2] == coloured[..., 1:3]).all() and (coloured[..., 3] == 255).all()
        if plain and grey:
            return coloured[..., 0].astype(np.int64)
        raise unfit(
            path,
            "holds colours and nothing says which class they mean; add label_colors.txt with lines of red, "
            "green, blue and a name, or give classes with colours",
        )
    found = packed(coloured[..., :3])
    known = np.array(sorted(legend.colours))
    place = np.searchsorted(known, found).clip(max=len(known) - 1)
    strange = found[known[place] != found]
    if len(strange):
        value = int(strange[0])
        raise unfit(
            path,
            f"holds the colour {value >> 16, value >> 8 & 255, value & 255} ({len(strange)} pixels are of no "
            "known class); add it to the classes, or repair the mask",
        )
    values = np.array([legend.colours[int(key)] for key in known], dtype=np.int64)
    return np.asarray(values[place])
