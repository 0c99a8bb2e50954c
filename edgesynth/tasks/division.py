"""Dividing one set of samples into disjoint parts, the same way every time."""

from __future__ import annotations

import torch

from edgesynth.errors import DataError
from edgesynth.tasks.samples import LabelledSamples, stratified_order

__all__ = ["divide", "hold_out"]


def divide(samples: LabelledSamples, *sizes: int, seed: int = 0) -> tuple[LabelledSamples, ...]:
    """Disjoint stratified parts of the given sizes.

    The parts are consecutive stretches of one fixed stratified order, so a part that comes first is the same
    whatever sizes follow it.

    Raises:
        DataError: A size is not positive, or together they exceed the samples.
    """
    count = len(samples.labels)
    if any(size < 1 for size in sizes) or sum(sizes) > count:
        raise DataError(
            f"cannot take parts of {', '.join(map(str, sizes))} samples from {count}; ask for fewer"
        )
    order = stratified_order(samples.labels, seed)
    parts = torch.split(order[: sum(sizes)], list(sizes))
    return tuple(samples.subset(part) for part in parts)


def hold_out(
    samples: LabelledSamples, share: float = 0.15, seed: int = 0
) -> tuple[LabelledSamples, LabelledSamples]:
    """Set ``share`` of the samples aside.

    Returns:
        What remains, and what was set aside (at least one sample each).

    Raises:
        DataError: There are fewer than two samples.
    """
    count = len(samples.labels)
    aside = min(max(1, round(share * count)), count - 1)
    held, kept = divide(samples, aside, count - aside, seed=seed)
    return kept, held
