"""Which layers waste MACs and which are bottlenecks, cycle by cycle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from edgesynth.report.plots.canvas import GENERATED, MUTED, PAPER, PROTOTYPE, Figure, axes
from edgesynth.runs.records import CycleRecord

__all__ = ["efficiency_grid"]

_MOST: Final = 40
_LARGEST: Final = 110.0  # square points
_FULL: Final = 3.0  # eight times too many or too few


def efficiency_grid(cycles: Sequence[CycleRecord]) -> Figure | None:
    """Draw the information efficiency of every vertex in every cycle; nothing when none was probed.

    A disc is a bottleneck, a ring is waste, and their size grows with the factor by which the share of
    the response and the share of MACs differ.

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
    label = f"Information efficiency in cycle {last.cycle}: " + ", ".join(
        f"{name}: {last.efficiency[name]:.2f}" for name in names if name in last.efficiency
    )
    with axes("efficiency", label, 7.6, 0.7 + 0.19 * len(names)) as sheet:
        ax = sheet.axes
        for full in (True, False):
            points = [
                (record.cycle, names.index(name), abs(factor))
                for record in cycles
                for name, value in record.efficiency.items()
                if name in names and (factor := _factor(value)) != 0 and (factor > 0) is full
            ]
            ax.scatter(
                [cycle for cycle, _, _ in points],
                [place for _, place, _ in points],
                s=[_LARGEST * min(1.0, size / _FULL) for _, _, size in points],
                color=GENERATED if full else PAPER,
                edgecolors=GENERATED if full else PROTOTYPE,
                zorder=3,
            )
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_xticks([record.cycle for record in cycles])
        ax.set_xlim(cycles[0].cycle - 0.5, cycles[-1].cycle + 0.5)
        ax.set_xlabel("cycle", color=MUTED)
    rest = f" The {left_out} most even vertices are left out." if left_out > 0 else ""
    return Figure(
        "Information efficiency",
        "Share of the output's response when half of a vertex is dropped, over its share of MACs. Disc: a "
        "bottleneck, says more than it costs. Ring: costs more than it says. The larger, the further from "
        f"even; the largest stand for a factor of 8 or more.{rest}",
        sheet.svg,
    )


def _factor(efficiency: float) -> float:
    """The efficiency in doublings; 0 is even."""
    return math.log2(efficiency) if efficiency > 0 else -_FULL
