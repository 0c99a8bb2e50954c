"""Pasting pictures of objects on a ground, with the mask and the boxes that follow from it exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from edgesynth.errors import DataError, InputError

__all__ = ["Composition", "Ground", "Scenes", "Sprite", "compose_scenes"]

Ground = Callable[[np.random.Generator, int], NDArray[np.float32]]
"""Draws what lies behind the objects: of a given side, ``[side, side, 3]`` in [0, 255]."""

_LEVELS = (160, 80, 40)
_ATTEMPTS = 6
_LEAST_PIXELS = 20


@dataclass(frozen=True, eq=False)
class Sprite:
    """The picture of one object.

    Attributes:
        name: Tells it from every other.
        label: Index of its class, from 0.
        levels: The picture at falling sizes, colours multiplied by their coverage (mode ``RGBa``).
    """

    name: str
    label: int
    levels: tuple[Image.Image, ...]

    @classmethod
    def of(cls, name: str, label: int, picture: Image.Image) -> Sprite:
        """Cut the transparent margin off and keep the picture at the sizes that scenes need.

        Args:
            name: Tells it from every other.
            label: Index of its class, from 0.
            picture: Any mode that has transparency.

        Raises:
            DataError: Nothing of the picture is opaque.
        """
        picture = picture.convert("RGBA")
        extent = picture.getchannel("A").point(lambda alpha: 255 if alpha >= 128 else 0).getbbox()
        if extent is None:
            raise DataError(f"the picture {name} is transparent throughout; leave it out")
        cut = picture.crop(extent).convert("RGBa")
        longest = max(cut.size)
        levels = []
        for side in _LEVELS:
            factor = min(1.0, side / longest)
            size = (max(1, round(cut.width * factor)), max(1, round(cut.height * factor)))
            levels.append(cut.resize(size, Image.Resampling.BOX))
        return cls(name, label, tuple(levels))


@dataclass(frozen=True)
class Composition:
    """How scenes are put together.

    Attributes:
        side: Of a scene, in pixels.
        objects: Least and largest number of objects.
        size: Least and largest longer side of an object, as a share of the scene's.
        turn: Largest rotation either way, in degrees.
        tint: Largest relative change of an object's brightness; a third of it by colour.
        noise: Largest standard deviation of the noise over everything, in levels of 255.
        visible: Share of its own pixels that an object keeps, whatever hides it or cuts it off.
    """

    side: int
    objects: tuple[int, int] = (1, 4)
    size: tuple[float, float] = (0.22, 0.55)
    turn: float = 25.0
    tint: float = 0.25
    noise: float = 5.0
    visible: float = 0.45

    def __post_init__(self) -> None:
        """Refuse scenes too small to show anything."""
        if self.side < 32:
            raise InputError(f"scenes have a side of at least 32 pixels, got {self.side}")


@dataclass(frozen=True, eq=False)
class Scenes:
    """Composed pictures with the truth about each.

    Attributes:
        images: uint8 ``[scenes, 3, side, side]``.
        masks: Classes counted from 1, and 0 where no object is, uint8 ``[scenes, side, side]``.
        boxes: Around the visible part of every object: left, top, right, bottom in pixels, float32
            ``[objects, 4]`` per scene.
        labels: The class of every object, from 0, int64 ``[objects]`` per scene.
    """

    images: Tensor
    masks: Tensor
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]


def compose_scenes(
    sprites: Sequence[Sprite], ground: Ground, composition: Composition, count: int, seed: int
) -> Scenes:
    """Compose ``count`` scenes; each depends on ``seed`` and its own number alone.

    A pixel belongs to the topmost object that covers at least half of it.

    Args:
        sprites: What may be seen; every class is drawn equally often, and every sprite of a class.
        ground: What lies behind.
        composition: How scenes are put together.
        count: How many.
        seed: Decides everything.
    """
    by_class: dict[int, list[Sprite]] = {}
    for sprite in sprites:
        by_class.setdefault(sprite.label, []).append(sprite)
    shelves = [by_class[label] for label in sorted(by_class)]
    side = composition.side
    images = np.empty((count, side, side, 3), dtype=np.uint8)
    masks = np.empty((count, side, side), dtype=np.uint8)
    boxes, labels = [], []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        canvas = _Canvas(ground(rng, side))
        wanted = int(rng.integers(composition.objects[0], composition.objects[1] + 1))
        for _ in range(wanted):
            shelf = shelves[int(rng.integers(len(shelves)))]
            canvas.add(shelf[int(rng.integers(len(shelf)))], composition, rng)
        images[index], masks[index] = canvas.picture(composition.noise, rng), canvas.mask()
        found = canvas.boxes()
        boxes.append(torch.tensor(found, dtype=torch.float32).reshape(-1, 4))
        labels.append(torch.tensor([sprite.label for sprite in canvas.sprites], dtype=torch.int64))
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return Scenes(pictures, torch.from_numpy(masks), tuple(boxes), tuple(labels))


class _Canvas:
    """One scene while it is made."""

    def __init__(self, ground: NDArray[np.float32]) -> None:
        self.pixels = ground
        self.owner = np.full(ground.shape[:2], -1, dtype=np.int64)
        self.sprites: list[Sprite] = []
        self._whole: list[int] = []

    def add(self, sprite: Sprite, composition: Composition, rng: np.random.Generator) -> None:
        """Paste a sprite where enough of it and of all others stays visible; after some tries, give up."""
        side = len(self.owner)
        size = side * float(rng.uniform(*composition.size))
        angle = math.radians(float(rng.uniform(-composition.turn, composition.turn)))
        mirrored = bool(rng.random() < 0.5)
        gain = 1 + composition.tint * (rng.uniform(-1, 1) + rng.uniform(-1, 1, 3) / 3)
        for attempt in range(_ATTEMPTS):
            # The first object of a scene always finds a place: the middle.
            middle = not self.sprites and attempt == _ATTEMPTS - 1
            centre = np.array([0.5, 0.5]) if middle else rng.uniform(0.12, 0.88, 2)
            if self._paste(sprite, composition.visible, size, angle, mirrored, centre * side, gain):
                return

    def _paste(
        self,
        sprite: Sprite,
        visible: float,
        size: float,
        angle: float,
        mirrored: bool,
        centre: NDArray[np.float64],
        gain: NDArray[np.float64],
    ) -> bool:
        side = len(self.owner)
        # A level that is not magnified, if there is one, shows the object without aliasing.
        level = next((each for each in reversed(sprite.levels) if max(each.size) >= size), sprite.levels[0])
        step = max(level.size) / size
        reach = math.hypot(*level.size) / step / 2 + 1
        left, top = (math.floor(place - reach) for place in centre)
        extent = math.ceil(2 * reach) + 1
        cosine, sine = math.cos(angle) * step, math.sin(angle) * step
        x, y = centre[0] - left, centre[1] - top
        flip = -1 if mirrored else 1
        # From places of the window to places of the level, both from their top left corners.
        across = (flip * cosine, flip * sine, level.width / 2 - flip * (cosine * x + sine * y))
        down = (-sine, cosine, level.height / 2 - (cosine * y - sine * x))
        drawn = level.transform(
            (extent, extent), Image.Transform.AFFINE, (*across, *down), Image.Resampling.BILINEAR
        )
        window = np.asarray(drawn)
        whole = int((window[..., 3] >= 128).sum())
        first, last = (max(0, -top), max(0, -left)), (min(extent, side - top), min(extent, side - left))
        window = window[first[0] : last[0], first[1] : last[1]].astype(np.float32)
        here = (
            slice(first[0] + top, last[0] + top),
            slice(first[1] + left, last[1] + left),
        )
        covers = window[..., 3] >= 128
        if int(covers.sum()) < max(_LEAST_PIXELS, visible * whole):
            return False
        owner = self.owner.copy()
        owner[here][covers] = len(self.sprites)
        kept = np.bincount(owner.ravel() + 1, minlength=len(self.sprites) + 2)[1:-1]
        if any(left < visible * pixels for left, pixels in zip(kept, self._whole, strict=True)):
            return False
        alpha = window[..., 3:] / 255
        colour = np.minimum(window[..., :3] * gain.astype(np.float32), window[..., 3:])
        self.pixels[here] = self.pixels[here] * (1 - alpha) + colour
        self.owner = owner
        self.sprites.append(sprite)
        self._whole.append(whole)
        return True

    def picture(self, noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The scene with noise over it, ``[side, side, 3]``."""
        strength = np.float32(rng.uniform(0, noise))
        grain = rng.standard_normal(self.pixels.shape, dtype=np.float32)
        return np.rint(self.pixels + strength * grain).clip(0, 255).astype(np.uint8)

    def mask(self) -> NDArray[np.uint8]:
        """Classes from 1, 0 where no object is."""
        table = np.array([0, *(sprite.label + 1 for sprite in self.sprites)], dtype=np.uint8)
        return table[self.owner + 1]

    def boxes(self) -> list[tuple[int, int, int, int]]:
        """Around the visible part of every sprite."""
        found = []
        for index in range(len(self.sprites)):
            there: NDArray[Any] = self.owner == index
            rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
            found.append((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
        return found
