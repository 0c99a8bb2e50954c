"""Photographs of objects with transparent surroundings, from the stamps of a drawing program.

Tux Paint's stamps are pictures to be pasted. Of Debian's package ``tuxpaint-stamps-default`` five kinds are
taken that have enough photographs; drawings, SVG files, mirror images of other files, and pictures that show
parts of an object are left out. The pictures come under the GPL-2 and stay where they are: nothing of them is
part of this package.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from edgesynth.errors import DataError
from edgesynth.tasks.datasets.synthetic.composition import Sprite
from edgesynth.tasks.protocol import Split

__all__ = ["KINDS", "STAMPS", "divide_cutouts", "find_cutouts"]

STAMPS: Final = Path("/usr/share/tuxpaint/stamps")
"""Where Debian's package puts them."""

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "bird": ("animals/birds",),
    "mammal": ("animals/mammals", "animals/marsupials"),
    "produce": ("food/fruit", "food/vegetables"),
    "flower": ("plants/flowers",),
    "vehicle": ("vehicles", "military/vehicles"),
}
"""The classes, in order, and the folders of each."""

_DRAWN = frozenset(
    {"echidna", "hedgehog", "edward_bear", "balloon360", "walnutBoat", "7spoke256", "wheel_tractor"}
)
_PARTIAL = frozenset({"sedan_police", "sedan_police_mirror", "dumper_mirror", "bradley_mirror"})
_LEFT_OUT = _DRAWN | _PARTIAL
_LEAST = {"train": 3, "validation": 1, "test": 1}
_SHARES = {"validation": 0.15, "test": 0.25}


@functools.lru_cache(maxsize=2)
def find_cutouts(folder: Path = STAMPS) -> tuple[Sprite, ...]:
    """Every usable picture below a folder of stamps, in a fixed order; read once a process.

    Raises:
        DataError: The folder is missing, a picture is damaged, or a class has fewer than five pictures.
    """
    if not folder.is_dir():
        raise DataError(
            f"no stamps in {folder}; install them (Debian: apt install tuxpaint-stamps-default) or give "
            "the folder that has animals, food, plants and vehicles in it"
        )
    found = []
    for label, (kind, places) in enumerate(KINDS.items()):
        paths = sorted(path for place in places for path in (folder / place).rglob("*.png"))
        usable = [path for path in paths if _is_photograph(path.relative_to(folder))]
        if len(usable) < sum(_LEAST.values()):
            raise DataError(
                f"{folder} has {len(usable)} pictures of the class {kind!r} in {', '.join(places)}, need "
                f"{sum(_LEAST.values())}; is this tuxpaint-stamps-default?"
            )
        for path in usable:
            try:
                with Image.open(path) as opened:
                    found.append(Sprite.of(str(path.relative_to(folder)), label, opened))
            except (OSError, SyntaxError, ValueError) as error:
                raise DataError(f"cannot read picture {path}: {error}") from error
    return tuple(found)


def divide_cutouts(sprites: Sequence[Sprite]) -> dict[Split, list[Sprite]]:
    """About 60 % to train on, 15 % to validate and 25 % to test, by class.

    Pictures whose names begin with the same word, like ``rabbit.png`` and ``rabbit-2.png``, may show the same
    animal and stay together; flowers are numbered and do not. A hash of that word decides, so that a picture
    stays in its split when others come or go as far as the shares allow.
    """
    parts: dict[Split, list[Sprite]] = {"train": [], "validation": [], "test": []}
    for label in sorted({sprite.label for sprite in sprites}):
        members = [sprite for sprite in sprites if sprite.label == label]
        families: dict[str, list[Sprite]] = {}
        for sprite in members:
            families.setdefault(_family(sprite.name), []).append(sprite)
        order = sorted(families, key=lambda name: hashlib.sha256(name.encode()).digest())
        wanted = {split: max(_LEAST[split], round(share * len(members))) for split, share in _SHARES.items()}
        for name in order:
            taken: Split = "train"
            for split in ("validation", "test"):
                if wanted[split] > 0:
                    taken = "validation" if split == "validation" else "test"
                    wanted[split] -= len(families[name])
                    break
            parts[taken] += families[name]
    return parts


def _is_photograph(path: Path) -> bool:
    return not {"cartoon", "plastic", "toys"} & set(path.parts) and path.stem not in _LEFT_OUT


def _family(name: str) -> str:
    """What pictures of possibly the same object have in common."""
    path = Path(name)
    if "flowers" in path.parts:
        return path.stem
    return re.split(r"[-_\d]", path.stem.lower())[0] or path.stem
