"""Composed scenes: photographs of objects, cut out, on photographs of something else.

Every picture in them is real, the scene is not, and everything made of it says *composed*. Masks and boxes
are exact, because the program that pasted the objects knows them. No object and no background of the test split
occurs in training.
"""

from __future__ import annotations

import functools
from pathlib import Path

from edgesynth.errors import DataError
from edgesynth.tasks.backgrounds import find_backgrounds, photographic
from edgesynth.tasks.composition import Composition, Scenes, compose_scenes
from edgesynth.tasks.cutouts import STAMPS, divide_cutouts, find_cutouts
from edgesynth.tasks.protocol import Split

__all__ = ["scenes"]

_SEEDS: dict[Split, int] = {"train": 10, "validation": 11, "test": 12}


@functools.lru_cache(maxsize=6)
def scenes(split: Split, count: int, side: int, folder: Path = STAMPS) -> Scenes:
    """Scenes of one to four objects; each depends on its split and number and on the pictures installed.

    Args:
        split: Which objects and backgrounds.
        count: How many scenes.
        side: Of a scene, in pixels.
        folder: Where the stamps are.

    Raises:
        DataError: The stamps are missing, or ``count`` is not between 2 and 100,000.
        MissingDependencyError: No package with photographs is installed.
    """
    if not 2 <= count <= 100_000:
        raise DataError(f"the number of scenes must lie between 2 and 100,000, got {count}")
    sprites = divide_cutouts(find_cutouts(folder))[split]
    ground = photographic(tuple(find_backgrounds(split).values()))
    return compose_scenes(sprites, ground, Composition(side), count, _SEEDS[split])
