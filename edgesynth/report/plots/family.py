"""The generated family: one row per dimension, one column per network, fuller is wider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgesynth.errors import ArchitectureError
from edgesynth.runs.records import NetworkRecord
from edgesynth.space import Architecture, Space, Value

__all__ = ["FamilyGrid", "family_grid"]


@dataclass(frozen=True)
class FamilyGrid:
    """What each network chose.

    Attributes:
        seeds: Of the networks.
        rows: Per dimension its name, and per network the share of the range that is kept, in percent, and
            the choice for people.
        kept: The mean of those shares, 0 to 1.
    """

    seeds: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[float, str], ...]], ...]
    kept: float


def family_grid(records: Sequence[NetworkRecord], space: Space) -> FamilyGrid | None:
    """What each network chose in each dimension; nothing when no architecture fits the space.

    Args:
        records: Generated networks.
        space: The space their architectures are of.
    """
    fitting = [record for record in records if _fits(space, record.architecture)]
    if not fitting or not len(space):
        return None
    most = np.maximum(1, np.array(space.cardinalities) - 1)
    share = np.stack([space.encode(record.architecture) for record in fitting]) / most
    rows = tuple(
        (
            dimension.name,
            tuple(
                (100.0 * float(share[at, place]), _short(record.architecture[dimension.name]))
                for at, record in enumerate(fitting)
            ),
        )
        for place, dimension in enumerate(space)
    )
    return FamilyGrid(tuple(str(record.seed) for record in fitting), rows, float(share.mean()))


def _fits(space: Space, architecture: Architecture) -> bool:
    try:
        space.encode(architecture)
    except ArchitectureError:
        return False
    return True


def _short(value: Value) -> str:
    if isinstance(value, bool):
        return "in" if value else "out"
    return str(value)
