"""Many picture files at once: decoding is what takes the time, and threads share it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import torch
from torch import Tensor

from edgesynth.tasks.images import ImageFormat, read_image

__all__ = ["in_parallel", "read_images"]

_MOST_THREADS: Final = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """What a function that mostly decodes gives for every item, in their order."""
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


def read_images(paths: Sequence[Path], form: ImageFormat) -> Tensor:
    """Read pictures, uint8 ``[pictures, channels, height, width]``.

    Raises:
        DataError: A file cannot be read.
    """
    return torch.stack(in_parallel(lambda path: read_image(path, form), paths))
