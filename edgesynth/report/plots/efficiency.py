"""Which layers waste MACs and which are bottlenecks, cycle by cycle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgesynth.runs.records import CycleRecord

__all__ = ["EfficiencyGrid", "Mark", "efficiency_grid"]

_MOST: Final = 40
_FULL: Final = 3.0  # eight times too many or too few


@dataclass(frozen=True)
class Mark:
    """One vertex in one cycle.

    Attributes:
        size: Diameter as a share of the largest, 0 to 1.
        full: Whether it is a bottleneck, a disc; otherwise it is waste, a ring.
        text: The efficiency for people.
    """

    size: float
    full: bool
    text: str


@dataclass(frozen=True)
class EfficiencyGrid:
    """Rows of marks.

    Attributes:
        caption: How to read them, and what is left out.
        cycles: Numbers of the cycles.
        rows: Per vertex its name, and a mark per cycle; ``None`` where it was not probed.
    """

    caption: str
    cycles: tuple[int, ...]
    rows: tuple[tuple[str, tuple[Mark | None, ...]], ...]


def efficiency_grid(cycles: Sequence[CycleRecord]) -> EfficiencyGrid | None:
    """The information efficiency of every vertex in every cycle; nothing when none was probed.

    The area of a mark grows with the factor by which the share of the response and the share of MACs differ.

    Args:
        cycles: By number.
    """
    names = list(dict.fromkeys(name for record in cycles for name in record.efficiency))
    if not names:
        return None
    last = next(record for record in reversed(cycles) if record.efficiency)
    left_out = len(names) - _MOST
    if left_out > 0:
        uneven = sorted(names, key=lambda name: -abs(_factor(last.efficiency.get(name, 1.0))))[:_MOST]
        names = [name for name in names if name in uneven]
    rest = f" The {left_out} most even vertices are left out." if left_out > 0 else ""
    return EfficiencyGrid(
        "Share of the output's response when half of a vertex is dropped, over its share of MACs; measured "
        "on validation inputs. Disc: a bottleneck, says more than it costs. Ring: costs more than it says. "
        f"The larger, the further from even; the largest stand for a factor of 8 or more.{rest}",
        tuple(record.cycle for record in cycles),
        tuple((name, tuple(_mark(record.efficiency.get(name)) for record in cycles)) for name in names),
    )


def _mark(efficiency: float | None) -> Mark | None:
    if efficiency is None:
        return None
    factor = _factor(efficiency)
    return Mark(math.sqrt(min(1.0, abs(factor) / _FULL)), factor > 0, f"{efficiency:.2f}")


def _factor(efficiency: float) -> float:
    """The efficiency in doublings; 0 is even."""
    return math.log2(efficiency) if efficiency > 0 else -_FULL
