"""Picture files as tensors of one size."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from edgesynth.errors import DataError, InputError, printable

__all__ = [
    "IMAGE_SUFFIXES",
    "LETTERBOX",
    "Corrupt",
    "ImageFormat",
    "exchanged",
    "fitted",
    "in_parallel",
    "opened",
    "read_image",
    "read_images",
    "read_measured",
]

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
"""Which files of a folder are taken for pictures, in lower case."""

LETTERBOX = 114
"""The grey around a letterboxed picture."""

_LONGEST: Final = 8192
"""The most pixels a side can have; a batch of such pictures fills a memory already."""

_COLOURS: Final = ("rgb", "grey")

_QUARTER_TURNS: Final = (5, 6, 7, 8)
"""Orientations of EXIF by which a picture is turned by a quarter."""

_FITTED: Final = {"crop": "cropped", "stretch": "stretched", "letterbox": "letterboxed"}

_MOST_THREADS: Final = 8
"""Decoding is what takes the time, and threads share it."""

_SIXTEEN_BITS: Final = frozenset({"PPM", "PNG"})
"""Formats whose whole numbers of more than 8 bits are 16 bits, once decoded."""

_OPENING: Final = threading.Lock()

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Corrupt(DataError):
    """A file that cannot be used; it may be left out instead.

    Attributes:
        path: The file.
        reason: What is wrong with it, where its name is told already; the message when not given.
    """

    def __init__(self, path: Path, message: str, reason: str | None = None) -> None:
        super().__init__(path, message)
        self.path = path
        self.reason = printable(reason or message)

    def __str__(self) -> str:
        """The message, on one line."""
        return printable(self.args[1])


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
        """Refuse sizes no picture can have, and words that mean nothing."""
        sides = (self.height, self.width)
        if not all(isinstance(side, Integral) for side in sides):
            raise InputError(f"image size must be whole numbers of pixels, got {sides!r}")
        if not 1 <= min(sides) <= max(sides) <= _LONGEST:
            raise InputError(
                f"image size must be at least 1x1 and at most {_LONGEST}x{_LONGEST}, got "
                f"{self.height}x{self.width}"
            )
        for what, word, known in (("colour", self.colour, _COLOURS), ("fit", self.fit, _FITTED)):
            if word not in known:
                raise InputError(f"{what} must be {' or '.join(map(repr, known))}, got {word!r}")

    @classmethod
    def of(
        cls,
        size: int | tuple[int, int],
        colour: Literal["rgb", "grey"],
        fit: Literal["crop", "stretch", "letterbox"],
    ) -> ImageFormat:
        """Of a height and a width, or of one number for a square."""
        sides = size if isinstance(size, tuple | list) else (size, size)
        if len(sides) != 2:
            raise InputError(f"size must be one number of pixels, or height and width, got {size!r}")
        return cls(*sides, colour, fit)

    @property
    def channels(self) -> int:
        """1 or 3."""
        return 1 if self.colour == "grey" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width

    @property
    def size_bytes(self) -> int:
        """Of one picture in memory."""
        return math.prod(self.shape)

    @property
    def described(self) -> str:
        """What becomes of pictures, for descriptions: ``cropped to 48x64``."""
        return f"{_FITTED[self.fit]} to {self.height}x{self.width}"

    def to_json(self) -> dict[str, Any]:
        """What a program must do with a picture before it is normalised, as bundles tell it."""
        told = {"height": self.height, "width": self.width, "channels": "L" if self.channels == 1 else "RGB"}
        grey = {"fill": LETTERBOX} if self.fit == "letterbox" else {}
        return {**told, "fit": self.fit, "resampling": "bilinear", **grey}

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

    Of 16 bits of grey the upper 8 are kept: 65,535 is white, whatever the brightest pixel is. Signed, 32-bit
    and fractional pixels, of which nothing says what is white, are refused.

    Returns:
        uint8 ``[channels, height, width]``.

    Raises:
        Corrupt: The file is damaged, has more pixels than Pillow trusts (``PIL.Image.MAX_IMAGE_PIXELS``) or
            such as are refused, or is not a picture.
    """
    return read_measured(path, form)[0]


def read_measured(path: Path, form: ImageFormat) -> tuple[Tensor, tuple[int, int]]:
    """As :func:`read_image`, with the height and width that the picture has in its file."""
    with opened(path) as source:
        _check_depth(source)
        picture = _opaque(ImageOps.exif_transpose(source))
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
    if form.fit == "letterbox":
        left, top, across, down = form.placed(picture.height, picture.width)
        whole = Image.new(picture.mode, size, LETTERBOX if form.channels == 1 else (LETTERBOX,) * 3)
        whole.paste(picture.resize((across, down), method), (left, top))
        return whole
    return picture if picture.size == size else picture.resize(size, method)


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """What a function that mostly decodes gives for every item, in their order."""
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


def read_images(paths: Sequence[Path], form: ImageFormat) -> Tensor:
    """Read pictures, uint8 ``[pictures, channels, height, width]``.

    Raises:
        Corrupt: A file cannot be read.
    """
    return torch.stack(in_parallel(lambda path: read_image(path, form), paths))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture, and tell what cannot be read inside the block as :class:`Corrupt`.

    Raises:
        Corrupt: The file is damaged, too large to be trusted, or not a picture.
    """
    try:
        with _trusted(path) as picture:
            yield picture
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        raise Corrupt(path, f"cannot read picture {path}: {error}", _reason(error)) from error


def _reason(error: Exception) -> str:
    """What is wrong with a picture, without its name."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture, or damaged"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def exchanged(path: Path) -> bool:
    """Whether a picture's EXIF orientation exchanges its height and width.

    Raises:
        Corrupt: It cannot be read.
    """
    with opened(path) as picture:
        return picture.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS


def _trusted(path: Path) -> Image.Image:
    """Open a picture unless Pillow takes it for a bomb: it warns of those, and refuses twice as large ones.

    Raises:
        ValueError: It does.
    """
    # Filters of warnings are those of all threads.
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(path)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ValueError(
                f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels, too many to be trusted; scale it down"
            ) from error


def _check_depth(picture: Image.Image) -> None:
    """Refuse pixels of which nothing says what is white.

    Raises:
        ValueError: They are such.
    """
    if picture.mode == "F":
        raise ValueError("it holds fractions; save it with 8 or 16 bits a channel")
    # Pillow has one mode for whole numbers that need more than 16 bits; PGM it brings to 16 bits.
    if picture.mode == "I" and picture.format not in _SIXTEEN_BITS:
        raise ValueError("it holds 32-bit or signed integers; save it with 8 or 16 bits a channel, unsigned")


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
