"""Precision against recall, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgesynth.report.plots.canvas import GENERATED, PROTOTYPE, Figure, axes
from edgesynth.runs.details import CurvePoints

__all__ = ["recall_curves"]

_SPACE: Final = "\N{NO-BREAK SPACE}"  # a name and its value stay on one line
_WIDTH: Final = 164
_HEIGHT: Final = 148


def recall_curves(
    number: int, name: str, curves: Mapping[str, CurvePoints], values: Mapping[str, str]
) -> Figure:
    """One class: the prototype's curve and, over it and thinner, a network's.

    The axes have no titles, which so small a figure has no room for: what they are stands above all of them.

    Args:
        number: Of the figure on the page.
        name: Of the class.
        curves: By label, the prototype's among them.
        values: The metric of this class by label, for people.
    """
    said = ", ".join(f"{label} {values[label]}" for label in curves if label in values).replace(" ", _SPACE)
    said = said.replace(f",{_SPACE}", ", ")
    spoken = "; ".join(f"{label}: {_spoken(curve)}" for label, curve in curves.items())
    with axes(f"curve-{number}", f"Precision against recall of {name}: {spoken}", _WIDTH, _HEIGHT) as sheet:
        ax = sheet.axes
        for label, curve in curves.items():
            # Where both run together, the thicker one is seen on both sides of the other.
            colour, above, width = (PROTOTYPE, 2, 4.0) if label == "prototype" else (GENERATED, 3, 1.8)
            xs, ys = ([100 * value for value in part] for part in (curve.recall, curve.precision))
            ax.plot(xs, ys, color=colour, zorder=above, linewidth=width, clip_on=False)
        ax.set_xlim(0, 100)
        ax.set_ylim(0, 105)
        ax.set_xticks([0, 50, 100])
        ax.set_yticks([0, 50, 100])
    return Figure(name, said, sheet.svg)


def _spoken(curve: CurvePoints) -> str:
    """The precision at a few recalls."""
    parts = []
    for wanted in (0.25, 0.5, 0.75):
        reached = [p for r, p in zip(curve.recall, curve.precision, strict=True) if r >= wanted]
        parts.append(f"{max(reached):.0%} at {wanted:.0%}" if reached else f"never reaches {wanted:.0%}")
    return ", ".join(parts)
