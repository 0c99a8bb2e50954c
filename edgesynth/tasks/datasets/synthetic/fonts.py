"""Digits drawn from the fonts of this machine."""

from __future__ import annotations

import importlib.util
import re
import string
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

__all__ = ["MASK_SIDE", "FontFamily", "find_families", "system_font_folders"]

MASK_SIDE = 48
_DIGIT_HEIGHT = 32
_MISSING = "\U0010ffff"
# Symbol fonts put pictures where digits belong: their "digits" correlate with nobody's.
_LEAST_LIKENESS = 0.3


@dataclass(frozen=True)
class FontFamily:
    """Fonts of one design.

    Attributes:
        name: The first word of the family name, in lower case and without a number, so that "DejaVu Sans" and
            "DejaVu Serif" are never on two sides of a split.
        masks: Coverage of each digit in each font, uint8 ``[fonts, 10, MASK_SIDE, MASK_SIDE]``.
    """

    name: str
    masks: Tensor


def system_font_folders() -> tuple[Path, ...]:
    """Where fonts usually lie, the ones that come with matplotlib included."""
    home = Path.home()
    folders = [
        Path("/usr/share/fonts"),
        Path("/usr/local/share/fonts"),
        home / ".local/share/fonts",
        home / ".fonts",
        Path("/Library/Fonts"),
        Path("C:/Windows/Fonts"),
    ]
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin is not None:
        folders.append(Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf")
    return tuple(folder for folder in folders if folder.is_dir())


def find_families(folders: Iterable[Path]) -> tuple[FontFamily, ...]:
    """Every family below ``folders`` that can draw the ten digits, sorted by name.

    Left out are files that cannot be read as a font, fonts without digits, and symbol fonts.
    """
    drawn: dict[tuple[str, str], Tensor] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.[ot]tf")):
            found = _draw(path)
            if found is not None:
                drawn.setdefault(*found)
    families: defaultdict[str, list[Tensor]] = defaultdict(list)
    for (family, _), masks in sorted(drawn.items()):
        families[_design(family)].append(masks)
    return tuple(
        FontFamily(name, torch.stack(fonts)) for name, fonts in sorted(_alike(families).items()) if fonts
    )


def _design(family: str) -> str:
    if re.fullmatch(r"cm[a-z]+\d+", family):
        return "computer modern"
    return family.split(maxsplit=1)[0].lower().rstrip(string.digits)


def _draw(path: Path) -> tuple[tuple[str, str], Tensor] | None:
    """The names of a font and its digits ``[10, side, side]``; ``None`` when it has none."""
    try:
        font = ImageFont.truetype(path, _DIGIT_HEIGHT)
        family, style = font.getname()
        missing = _mask(font, _MISSING)
        masks = [_mask(font, digit) for digit in string.digits]
    except (OSError, ValueError):
        return None
    distinct = {mask.tobytes() for mask in masks if mask is not None}
    absent = missing is not None and missing.tobytes() in distinct
    if not family or absent or len(distinct) < len(string.digits):
        return None
    return (family, style or ""), torch.stack([torch.from_numpy(mask) for mask in masks if mask is not None])


def _mask(font: ImageFont.FreeTypeFont, text: str) -> np.ndarray | None:
    left, top, right, bottom = font.getbbox(text)
    if right <= left or bottom <= top:
        return None
    scale = min(_DIGIT_HEIGHT / (bottom - top), 1.25 * _DIGIT_HEIGHT / (right - left))
    sized = font.font_variant(size=max(1, round(font.size * scale)))
    left, top, right, bottom = sized.getbbox(text)
    picture = Image.new("L", (MASK_SIDE, MASK_SIDE))
    at = ((MASK_SIDE - right - left) / 2, (MASK_SIDE - bottom - top) / 2)
    ImageDraw.Draw(picture).text(at, text, fill=255, font=sized)
    return np.array(picture)


def _alike(families: Mapping[str, list[Tensor]]) -> dict[str, list[Tensor]]:
    """Keep the fonts whose digits resemble the mean of all families."""
    if not families:
        return {}
    each = torch.stack([torch.stack(fonts).float().mean(0) for fonts in families.values()])
    consensus = each.mean(0)

    def likeness(masks: Tensor) -> float:
        pairs = zip(masks.float(), consensus, strict=True)
        return (
            sum(float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1]) for a, b in pairs) / 10
        )

    return {
        name: [masks for masks in fonts if likeness(masks) >= _LEAST_LIKENESS]
        for name, fonts in families.items()
    }
