"""Picture files as tensors of one size."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from edgesynth.errors import DataError, InputError

__all__ = ["IMAGE_SUFFIXES", "ImageFormat", "picture_size", "read_image"]

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
"""Which files of a folder are taken for pictures, in lower case."""

LETTERBOX = 114
"""The grey around a letterboxed picture."""

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


@dataclass(frozen=True)
class ImageFormat:
    """What every picture is brought to.

    Attributes:
        height: In pixels.
        width: In pixels.
        colour: ``rgb`` for three channels, ``grey`` for one.
        fit: ``crop`` scales until the picture covers the size and cuts the overhang evenly; ``stretch``
            changes its proportions instead; ``letterbox`` scales until it fits in, and fills the rest evenly
            with grey.
    """

    height: int
    width: int
    colour: Literal["rgb", "grey"] = "rgb"
    fit: Literal["crop", "stretch", "letterbox"] = "crop"

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

    def placed(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Where a picture of another size comes to lie, unless it is cropped: left, top, width, height."""
        if self.fit != "letterbox":
            return 0, 0, self.width, self.height
        factor = min(self.width / width, self.height / height)
        across = min(self.width, max(1, round(width * factor)))
        down = min(self.height, max(1, round(height * factor)))
        return (self.width - across) // 2, (self.height - down) // 2, across, down


def read_image(path: Path, form: ImageFormat) -> Tensor:
    """Read one picture, turned as its EXIF orientation says; transparent pixels become white.

    Returns:
        uint8 ``[channels, height, width]``.

    Raises:
        DataError: The file is damaged, too large to be trusted, or not a picture.
    """
    try:
        with Image.open(path) as opened:
            picture = _opaque(ImageOps.exif_transpose(opened))
            picture = picture.convert("L" if form.colour == "grey" else "RGB")
            size = (form.width, form.height)
            if form.fit == "crop":
                picture = ImageOps.fit(picture, size, Image.Resampling.BILINEAR)
            elif form.fit == "letterbox":
                left, top, across, down = form.placed(picture.height, picture.width)
                whole = picture.resize((across, down), Image.Resampling.BILINEAR)
                picture = Image.new(whole.mode, size, LETTERBOX if form.channels == 1 else (LETTERBOX,) * 3)
                picture.paste(whole, (left, top))
            elif picture.size != size:
                picture = picture.resize(size, Image.Resampling.BILINEAR)
            pixels = np.array(picture, dtype=np.uint8)
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read picture {path}: {error}") from error
    return (
        torch.from_numpy(pixels.reshape(form.height, form.width, form.channels)).permute(2, 0, 1).contiguous()
    )


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture, turned as its EXIF orientation says; its pixels are not read.

    Raises:
        DataError: The file is damaged, or not a picture.
    """
    try:
        with Image.open(path) as opened:
            turned = opened.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return (opened.width, opened.height) if turned else (opened.height, opened.width)
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
