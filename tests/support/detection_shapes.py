"""A detection task small enough for tests: coloured shapes on a noisy ground, made by code."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from edgesynth.tasks import BoxedTensorSamples, DetectionTask

CLASSES = ("square", "disc", "cross")
_COLOURS = torch.tensor([[220, 60, 50], [50, 90, 220], [60, 190, 80]])


def shapes(count: int, *, seed: int, side: int = 64, most: int = 3) -> BoxedTensorSamples:
    """Images with no to ``most`` shapes of 12 to 28 pixels; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    images = torch.randint(90, 150, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    boxes: list[Tensor] = []
    labels: list[Tensor] = []
    for image in images:
        placed: list[list[int]] = []
        kinds: list[int] = []
        for _ in range(draw(0, most + 1)):
            size, kind = draw(12, 29), draw(0, len(CLASSES))
            left, top = draw(0, side - size), draw(0, side - size)
            box = [left, top, left + size, top + size]
            if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in placed):
                continue
            across, down = (x - left + 0.5) / size - 0.5, (y - top + 0.5) / size - 0.5
            inside = (across.abs() < 0.5) & (down.abs() < 0.5)
            if kind == 1:
                inside &= across**2 + down**2 < 0.25
            elif kind == 2:
                inside &= (across.abs() < 0.15) | (down.abs() < 0.15)
            # Any colour may stand on any shape.
            colour = _COLOURS[draw(0, len(_COLOURS))].to(torch.uint8)
            image[:] = torch.where(inside, colour[:, None, None], image)
            placed.append(box)
            kinds.append(kind)
        boxes.append(torch.tensor(placed, dtype=torch.float32).reshape(-1, 4))
        labels.append(torch.tensor(kinds, dtype=torch.int64))
    return BoxedTensorSamples(images, boxes, labels)


@cache
def _splits(train: int, held: int, side: int) -> tuple[BoxedTensorSamples, ...]:
    return tuple(
        shapes(count, seed=seed, side=side) for seed, count in enumerate((train, held, held), start=1)
    )


def shapes_task(train: int = 64, held: int = 24, *, side: int = 64, **options: Any) -> DetectionTask:
    """Generated shapes; takes milliseconds to make."""
    parts = _splits(train, held, side)
    return DetectionTask(
        "shapes", train=parts[0], validation=parts[1], test=parts[2], classes=CLASSES, **options
    )
