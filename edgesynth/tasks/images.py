"""Picture files as tensors of one size."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from edgesynth.errors import DataError, InputError

__all__ = ["IMAGE_SUFFIXES", "ImageFormat", "fitted", "read_image", "read_measured", "readable"]

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
"""Which files of a folder are taken for pictures, in lower case."""

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


@dataclass(frozen=True)
class ImageFormat:
    """What every picture is brought to.

    Attributes:
        height: In pixels.
        width: In pixels.
        colour: ``rgb`` for three channels, ``grey`` for one.
        fit: ``crop`` scales until the picture covers the size and cuts the overhang evenly; ``stretch``
            changes its proportions instead.
    """

    height: int
    width: int
    colour: Literal["rgb", "grey"] = "rgb"
    fit: Literal["crop", "stretch"] = "crop"

    def __post_init__(self) -> None:
        """Refuse sizes no picture can have."""
        if self.height < 1 or self.width < 1:
            raise InputError(f"image size must be at least 1x1, got {self.height}x{self.width}")

    @property
    def channels(self) -> int:
        """1 or 3."""
        return 1 if self.colour == "grey" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width


def read_image(path: Path, form: ImageFormat) -> Tensor:
    """Read one picture, turned as its EXIF orientation says; transparent pixels become white.

    Returns:
        uint8 ``[channels, height, width]``.

    Raises:
        DataError: The file is damaged, too large to be trusted, or not a picture.
    """
    return read_measured(path, form)[0]


def read_measured(path: Path, form: ImageFormat) -> tuple[Tensor, tuple[int, int]]:
    """As :func:`read_image`, with the height and width that the picture has in its file."""
    with readable(path):
        with Image.open(path) as opened:
            picture = _opaque(ImageOps.exif_transpose(opened))
        width, height = picture.size
        picture = fitted(picture.convert("L" if form.colour == "grey" else "RGB"), form)
        pixels = np.array(picture, dtype=np.uint8)
    shaped = torch.from_numpy(pixels.reshape(form.height, form.width, form.channels))
    return shaped.permute(2, 0, 1).contiguous(), (height, width)


def fitted(picture: Image.Image, form: ImageFormat, *, smooth: bool = True) -> Image.Image:
    """Bring a picture to its size, between pixels or, for what cannot be mixed, by the nearest pixel."""
    size = (form.width, form.height)
    method = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    if form.fit == "crop":
        return ImageOps.fit(picture, size, method)
    return picture if picture.size == size else picture.resize(size, method)


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Tell what a decoder says as a :class:`DataError` that names the file."""
    try:
        yield
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read picture {path}: {error}") from error


def _opaque(picture: Image.Image) -> Image.Image:
    """Eight bits a channel, without transparency."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        # Sixteen bits of grey: keep the upper byte, where conversion would clip.
        deep = np.asarray(picture).astype(np.int64)
        return Image.fromarray((deep.clip(0, 65_535) >> 8).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture)
    return picture
