"""Precision against recall, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgesynth.report.plots.canvas import GENERATED, PROTOTYPE, Figure, axes
from edgesynth.runs.details import CurvePoints

__all__ = ["recall_curves"]

_WIDTH: Final = 3.0
_HEIGHT: Final = 2.3


def recall_curves(
    number: int, name: str, curves: Mapping[str, CurvePoints], values: Mapping[str, str]
) -> Figure:
    """One class: the prototype's curve and a network's.

    Args:
        number: Of the figure on the page.
        name: Of the class.
        curves: By label, the prototype's among them.
        values: The metric of this class by label, for people.
    """
    said = ", ".join(f"{label} {values[label]}" for label in curves if label in values)
    spoken = "; ".join(f"{label}: {_spoken(curve)}" for label, curve in curves.items())
    with axes(f"curve-{number}", f"Precision against recall of {name}: {spoken}", _WIDTH, _HEIGHT) as sheet:
        ax = sheet.axes
        for label, curve in curves.items():
            colour, above = (PROTOTYPE, 2) if label == "prototype" else (GENERATED, 3)
            xs, ys = ([100 * value for value in part] for part in (curve.recall, curve.precision))
            ax.plot(xs, ys, color=colour, zorder=above, clip_on=False)
        ax.set_xlim(0, 100)
        ax.set_ylim(0, 105)
        ax.set_xticks([0, 50, 100])
        ax.set_yticks([0, 50, 100])
        ax.set_xlabel("recall in %")
        ax.set_ylabel("precision in %")
    return Figure(name, said, sheet.svg)


def _spoken(curve: CurvePoints) -> str:
    """The precision at a few recalls."""
    parts = []
    for wanted in (0.25, 0.5, 0.75):
        reached = [p for r, p in zip(curve.recall, curve.precision, strict=True) if r >= wanted]
        parts.append(f"{max(reached):.0%} at {wanted:.0%}" if reached else f"never reaches {wanted:.0%}")
    return ", ".join(parts)
