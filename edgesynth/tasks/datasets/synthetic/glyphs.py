"""Generated pictures of digits: real fonts on real photographs, in the manner of street numbers.

No part of it was recorded as such, and everything made of it says *generated*. It separates small networks
from large ones better than clean digits do. A test picture never shows a font family or a photograph that
training showed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from edgesynth.errors import DataError
from edgesynth.tasks.classification import Augmentation, ClassificationTask, TensorSamples
from edgesynth.tasks.datasets.synthetic.fonts import MASK_SIDE, FontFamily, find_families, system_font_folders
from edgesynth.tasks.description import DataDescription

__all__ = ["compose", "find_photographs", "glyphs", "render"]

SIDE = 32
SIZES = {"train": 10_000, "validation": 2_000, "test": 4_000}

Thing = TypeVar("Thing")

_CLASSES = tuple(str(digit) for digit in range(10))
_PHOTOGRAPHS = {
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
    "matplotlib": ("mpl-data/sample_data", ("grace_hopper.jpg",)),
    "skimage": (
        "data",
        (
            "astronaut.png",
            "brick.png",
            "camera.png",
            "chelsea.png",
            "clock_motion.png",
            "coffee.png",
            "coins.png",
            "grass.png",
            "gravel.png",
            "hubble_deep_field.jpg",
            "motorcycle_left.png",
            "retina.jpg",
            "rocket.jpg",
        ),
    ),
}
_PHOTOGRAPH_SIDE = 256
# Distance from one digit to the next, in pixels of the mask.
_PITCH = 28
_LEAST_FAMILIES, _LEAST_PHOTOGRAPHS = 6, 5


def glyphs(root: Path | None = None, train_size: int | None = None) -> ClassificationTask:
    """Render 32x32 colour pictures of a digit between parts of its neighbours.

    The same fonts and photographs give the same pictures; another machine's fonts give another data set,
    which is why the description carries a fingerprint of them.

    Args:
        root: Directory of TrueType or OpenType fonts; the fonts of this machine when not given.
        train_size: Training pictures; 10,000 when not given.

    Raises:
        DataError: Fewer than six font families or five photographs are found, or ``train_size`` is out of
            range.
    """
    folders = system_font_folders() if root is None else (root,)
    families = find_families(folders)
    photographs = find_photographs()
    if len(families) < _LEAST_FAMILIES:
        looked = ", ".join(map(str, folders)) or "no folder"
        raise DataError(
            f"found {len(families)} font families with digits in {looked}, need {_LEAST_FAMILIES}; install "
            "more (Debian: apt install fonts-freefont-ttf fonts-open-sans fonts-linuxlibertine fonts-hack) "
            "or give a directory of fonts"
        )
    if len(photographs) < _LEAST_PHOTOGRAPHS:
        raise DataError(
            f"found {len(photographs)} photographs, need {_LEAST_PHOTOGRAPHS}; they come with scikit-image "
            "and scikit-learn: pip install scikit-image scikit-learn"
        )
    return compose(families, photographs, train_size)


def compose(
    families: Sequence[FontFamily], photographs: Mapping[str, Tensor], train_size: int | None = None
) -> ClassificationTask:
    """Divide families and photographs into three groups each, and draw every split from its own.

    Args:
        families: At least six.
        photographs: At least five, uint8 ``[3, h, w]`` by name.
        train_size: Training pictures; 10,000 when not given.

    Raises:
        DataError: ``train_size`` is out of range.
    """
    size = SIZES["train"] if train_size is None else train_size
    if not 2 <= size <= 1_000_000:
        raise DataError(f"train_size must lie between 2 and 1,000,000, got {size}")
    family_parts = _parted([(family.name, family) for family in families], least=(3, 1, 2))
    photograph_parts = _parted(list(photographs.items()), least=(3, 1, 1))
    sizes = {**SIZES, "train": size}
    train, validation, test = (
        render(fonts, photos, sizes[split], seed=seed)
        for seed, (split, fonts, photos) in enumerate(zip(SIZES, family_parts, photograph_parts, strict=True))
    )
    counts = "/".join(str(len(part)) for part in family_parts)
    return ClassificationTask(
        "glyphs",
        train=train,
        validation=validation,
        test=test,
        classes=_CLASSES,
        augmentation=Augmentation(shift=2, border="reflect"),
        label_smoothing=0.1,
        description=DataDescription(
            "glyphs",
            "generated",
            f"digits of {len(families)} font families on {len(photographs)} photographs of scikit-learn, "
            f"scikit-image and matplotlib, fingerprint {_fingerprint(families, photographs)}",
            "as the fonts and photographs; made here, not distributed",
            sizes,
            f"split by font family ({counts}) and by photograph",
        ),
    )


def find_photographs() -> dict[str, Tensor]:
    """Photographs of installed packages by name: uint8 ``[3, h, w]``, the shorter side 256."""
    found = {}
    for package, (folder, files) in _PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for file in files:
            path = Path(spec.origin).parent / folder / file
            if path.is_file():
                with Image.open(path) as opened:
                    scale = _PHOTOGRAPH_SIDE / min(opened.size)
                    size = (max(1, round(opened.width * scale)), max(1, round(opened.height * scale)))
                    pixels = np.array(opened.convert("RGB").resize(size, Image.Resampling.LANCZOS))
                found[file] = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    return found


def render(
    families: Sequence[FontFamily], photographs: Sequence[Tensor], count: int, seed: int
) -> TensorSamples:
    """Draw ``count`` pictures with equally many of each digit: uint8 ``[count, 3, 32, 32]``."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(_CLASSES)
    pictures = [
        _render_batch(families, photographs, part, generator)
        for part in torch.tensor_split(labels, -(-count // 1000))
    ]
    return TensorSamples(torch.cat(pictures), labels)


def _render_batch(
    families: Sequence[FontFamily], photographs: Sequence[Tensor], labels: Tensor, generator: torch.Generator
) -> Tensor:
    count = len(labels)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    ground = _backgrounds(photographs, count, generator)
    mean = ground.mean((2, 3), keepdim=True)
    ground = mean + (ground - mean) * uniform(0.3, 1.0, 1, 1, 1)
    # Ink differs from its ground in brightness, on whichever side there is more room.
    brightness = mean.mean(1, keepdim=True)
    step = torch.where(brightness > 0.5, -1.0, 1.0) * uniform(0.2, 0.6, 1, 1, 1)
    tint = uniform(-0.25, 0.25, 3, 1, 1)
    ink = (brightness + step + tint - tint.mean(1, keepdim=True)).clamp(0, 1)
    cover = _digits(families, labels, generator)
    picture = ground + (ink - ground) * cover
    soft = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    picture = torch.lerp(picture, soft, uniform(0, 1, 1, 1, 1))
    noise = torch.randn(picture.shape, generator=generator) * uniform(0, 0.06, 1, 1, 1)
    return ((picture + noise).clamp(0, 1) * 255).round().to(torch.uint8)


def _backgrounds(photographs: Sequence[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Squares of 24 to 64 pixels of random photographs, as ``[count, 3, 32, 32]`` in [0, 1]."""
    chosen = torch.randint(len(photographs), (count,), generator=generator)
    side = 24 + 40 * torch.rand(count, generator=generator)
    corner = torch.rand(count, 2, generator=generator)
    pixels = (torch.arange(SIDE) + 0.5) / SIDE
    grounds = torch.empty(count, 3, SIDE, SIDE)
    for index, photograph in enumerate(photographs):
        picked = torch.nonzero(chosen == index).flatten()
        size = torch.tensor([photograph.shape[2], photograph.shape[1]])
        start = corner[picked] * (size - side[picked, None])
        along = 2 * (start[:, None, :] + pixels[None, :, None] * side[picked, None, None]) / size - 1
        grid = torch.stack(
            (
                along[:, None, :, 0].expand(-1, SIDE, -1),
                along[:, :, None, 1].expand(-1, -1, SIDE),
            ),
            dim=-1,
        )
        source = (photograph.float() / 255).expand(len(picked), -1, -1, -1)
        grounds[picked] = F.grid_sample(source, grid, padding_mode="border", align_corners=False)
    return grounds


def _digits(families: Sequence[FontFamily], labels: Tensor, generator: torch.Generator) -> Tensor:
    """Coverage of a tilted digit and, often, of neighbours at its sides: ``[count, 1, 32, 32]`` in [0, 1]."""
    count = len(labels)
    family = torch.randint(len(families), (count,), generator=generator)
    draw = torch.rand(count, generator=generator)
    digits = torch.stack((labels, *torch.randint(10, (2, count), generator=generator)))
    present = torch.rand(2, count, generator=generator) < 0.6
    strips = torch.zeros(count, 1, MASK_SIDE, MASK_SIDE + 2 * _PITCH)
    for index, fonts in enumerate(families):
        picked = torch.nonzero(family == index).flatten()
        font = (draw[picked] * len(fonts.masks)).long()
        for place, row, shown in ((0, 1, present[0]), (2, 2, present[1]), (1, 0, None)):
            mask = fonts.masks[font, digits[row, picked]].float() / 255
            if shown is not None:
                mask = mask * shown[picked, None, None]
            start = place * _PITCH
            there = strips[picked, 0, :, start : start + MASK_SIDE]
            strips[picked, 0, :, start : start + MASK_SIDE] = torch.maximum(there, mask)
    spread = [torch.rand(count, generator=generator) for _ in range(5)]
    angle = (spread[0] - 0.5) * math.pi / 6
    # The mask's 48 pixels become 26 to 44 of the picture's 32.
    zoom = SIDE / (26 + 18 * spread[1])
    lean = (spread[2] - 0.5) * 0.5
    # Affine coordinates run from -1 to 1 over the whole strip, which is wider than it is high.
    ratio = MASK_SIDE / strips.shape[3]
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    theta = torch.stack(
        (
            torch.stack((cosine * ratio, (sine + lean) * ratio, (spread[3] - 0.5) * 0.25 * ratio), 1),
            torch.stack((-sine, cosine, (spread[4] - 0.5) * 0.25), 1),
        ),
        dim=1,
    )
    grid = F.affine_grid(theta, [count, 1, SIDE, SIDE], align_corners=False)
    return F.grid_sample(strips, grid, align_corners=False)


def _parted(
    named: Sequence[tuple[str, Thing]], least: tuple[int, int, int]
) -> tuple[list[Thing], list[Thing], list[Thing]]:
    """Train, validation, test: by a hash of the names, about 60 %, 15 % and 25 %."""
    order = [thing for _, thing in sorted(named, key=lambda pair: hashlib.sha256(pair[0].encode()).digest())]
    validation = max(least[1], round(0.15 * len(order)))
    test = max(least[2], round(0.25 * len(order)))
    return order[validation + test :], order[:validation], order[validation : validation + test]


def _fingerprint(families: Sequence[FontFamily], photographs: Mapping[str, Tensor]) -> str:
    """Changes whenever a font or a photograph does."""
    digest = hashlib.sha256()
    for family in families:
        digest.update(family.name.encode() + family.masks.numpy().tobytes())
    for name, photograph in sorted(photographs.items()):
        digest.update(name.encode() + photograph.numpy().tobytes())
    return digest.hexdigest()[:12]
