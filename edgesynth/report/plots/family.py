"""The generated family: one row per network, one column per dimension, darker is wider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from edgesynth.errors import ArchitectureError
from edgesynth.report.plots.canvas import GENERATED, INK, MUTED, PAPER, Figure, axes
from edgesynth.runs.records import NetworkRecord
from edgesynth.space import Architecture, Space, Value

if TYPE_CHECKING:
    from matplotlib.patches import Rectangle

__all__ = ["family_strip"]

_NUMBERS_UP_TO: Final = 26  # columns; more leave no room for numbers


def family_strip(records: Sequence[NetworkRecord], space: Space) -> Figure | None:
    """Draw what each network chose in each dimension; nothing when no architecture fits the space.

    Args:
        records: Generated networks.
        space: The space their architectures are of.
    """
    rows = [record for record in records if _fits(space, record.architecture)]
    if not rows:
        return None
    most = np.maximum(1, np.array(space.cardinalities) - 1)
    shade = np.stack([space.encode(record.architecture) for record in rows]) / most
    label = (
        f"Heat strip of {len(rows)} generated networks over {len(space)} dimensions; "
        f"mean share of the range kept: {shade.mean():.2f}."
    )
    # Long names need height, many rows need more.
    longest = max(len(name) for name in space.names)
    height = 0.5 + 0.26 * len(rows) + 0.055 * min(longest, 28)
    with axes("family", label, 7.6, height) as sheet:
        ax = sheet.axes
        for y, record in enumerate(rows):
            for x, dimension in enumerate(space):
                ax.add_patch(_cell(x, y, float(shade[y, x])))
                if len(space) <= _NUMBERS_UP_TO:
                    ax.text(
                        x,
                        y,
                        _short(record.architecture[dimension.name]),
                        ha="center",
                        va="center",
                        fontsize=6.5,
                        color=PAPER if shade[y, x] > 0.55 else INK,
                    )
        ax.set_xlim(-0.5, len(space) - 0.5)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_yticks(range(len(rows)), [f"seed {record.seed}" for record in rows])
        ax.set_xticks(range(len(space)), [_tail(name) for name in space.names], rotation=90, fontsize=6.5)
        ax.tick_params(length=0)
        ax.grid(visible=False)
        for spine in ax.spines.values():
            spine.set_visible(False)
        ax.xaxis.label.set_color(MUTED)
    return Figure(
        "What each seed chose",
        "One column per free dimension of the prototype: the channels kept, or whether a block stays. "
        "The fuller the colour, the more of the range is kept.",
        sheet.svg,
    )


def _fits(space: Space, architecture: Architecture) -> bool:
    try:
        space.encode(architecture)
    except ArchitectureError:
        return False
    return True


def _cell(x: int, y: int, share: float) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (x - 0.47, y - 0.44), 0.94, 0.88, facecolor=GENERATED, edgecolor="none", alpha=0.08 + 0.92 * share
    )


def _short(value: Value) -> str:
    if isinstance(value, bool):
        return "in" if value else "out"
    return str(value)[:6]


def _tail(name: str) -> str:
    return name if len(name) <= 28 else f"…{name[-27:]}"
