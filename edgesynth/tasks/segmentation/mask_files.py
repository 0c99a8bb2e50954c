"""Mask files: what value every pixel holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from edgesynth.errors import DataError
from edgesynth.tasks.images import ImageFormat, fitted, opened
from edgesynth.tasks.segmentation.legend import Legend, packed
from edgesynth.tasks.segmentation.samples import VALUES

__all__ = ["read_mask"]


def read_mask(
    path: Path, form: ImageFormat, legend: Legend
) -> tuple[Tensor, tuple[int, int], tuple[int, ...]]:
    """Read one mask: values of any whole type, a palette's indices, or colours that the legend knows.

    It is turned as its EXIF orientation says, like pictures are.

    Returns:
        The stored values at the size asked for, uint8 ``[height, width]``; its height and width before;
        the distinct values of the whole file.

    Raises:
        Corrupt: The file is damaged, or no picture.
        DataError: It holds what no class is.
    """
    values = _stored(path, legend)
    if values.max(initial=0) >= VALUES or values.min(initial=0) < 0:
        strange = values[(values >= VALUES) | (values < 0)]
        raise DataError(f"mask {path} holds the value {int(strange[0])}; classes have values of 0 to 255")
    small = fitted(Image.fromarray(values.astype(np.uint8)), form, smooth=False)
    seen = np.flatnonzero(np.bincount(values.ravel(), minlength=VALUES))
    return torch.from_numpy(np.array(small)), (values.shape[0], values.shape[1]), tuple(seen.tolist())


def _stored(path: Path, legend: Legend) -> NDArray[np.int64]:
    """The values of a whole mask, ``[height, width]``."""
    with opened(path) as source:
        picture = ImageOps.exif_transpose(source)
        if picture.mode in ("1", "L", "P", "I;16", "I;16B", "I;16L", "I") and not (
            picture.mode == "P" and legend.colours
        ):
            # A palette says how indices are shown, not what they are.
            return np.asarray(picture).astype(np.int64)
        if picture.mode == "F":
            raise DataError(f"mask {path} holds fractions; save classes as whole numbers of 8 bits")
        if picture.mode == "LA":
            return np.asarray(picture)[..., 0].astype(np.int64)
        found = packed(np.asarray(picture.convert("RGB")))
    if not legend.colours:
        raise DataError(
            f"mask {path} holds colours and nothing says which class they mean; add label_colors.txt with "
            "lines of red, green, blue and a name, or give classes with colours"
        )
    known = np.array(sorted(legend.colours))
    place = np.searchsorted(known, found).clip(max=len(known) - 1)
    strange = found[known[place] != found]
    if len(strange):
        value = int(strange[0])
        raise DataError(
            f"mask {path} holds the colour {value >> 16, value >> 8 & 255, value & 255} "
            f"({len(strange)} pixels are of no known class); add it to the classes, or repair the mask"
        )
    values = np.array([legend.colours[int(key)] for key in known], dtype=np.int64)
    return np.asarray(values[place])
