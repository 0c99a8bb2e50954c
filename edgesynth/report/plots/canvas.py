"""From matplotlib to SVG that lives inside the page: its fonts, its colours, its dark mode."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from edgesynth.report.formatting import human, shorter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

__all__ = [
    "CANDIDATE",
    "GENERATED",
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "PHASES",
    "PROTOTYPE",
    "PROTOTYPE_TEXT",
    "SMALL",
    "TEXT",
    "Figure",
    "axes",
    "plain_ticks",
]

TEXT: Final = 11.5
SMALL: Final = 11.0
"""Sizes of text in pixels: figures are drawn at the size they have on a phone, and none shrinks them."""


# Colours that stand for a variable of the page's style sheet, which may then change them for dark
# mode or print. No plot uses them for anything else.
INK: Final = "#010101"
MUTED: Final = "#020202"
GRID: Final = "#030303"
PAPER: Final = "#040404"
PROTOTYPE: Final = "#050505"
GENERATED: Final = "#060606"
CANDIDATE: Final = "#070707"
PROTOTYPE_TEXT: Final = "#0e0e0e"
PHASES: Final = ("#080808", "#090909", "#0a0a0a", "#0b0b0b", "#0c0c0c", "#0d0d0d")

_DPI: Final = 72.0  # SVG has 72 units an inch, whatever is asked for; so one is a pixel, and a point

_VARIABLES: Final = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    PROTOTYPE: "prototype",
    GENERATED: "generated",
    CANDIDATE: "candidate",
    PROTOTYPE_TEXT: "prototype-text",
    **{colour: f"phase-{i}" for i, colour in enumerate(PHASES)},
}


@dataclass(frozen=True)
class Figure:
    """One figure of the page.

    Attributes:
        title: The heading above it.
        caption: What it shows, and on which data.
        svg: Inline SVG that refers to nothing outside itself.
        keys: Names of colours, when the drawing itself cannot say them: (style variable, name).
    """

    title: str
    caption: str
    svg: str
    keys: tuple[tuple[str, str], ...] = ()


class _Sheet:
    """What a plotting function fills: the axes to draw on, then the text for those who cannot see it."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.svg = ""


@contextmanager
def axes(name: str, label: str, width: float, height: float) -> Iterator[_Sheet]:
    """Open one set of axes in the style of the report; the sheet has its SVG once the block ends.

    Args:
        name: Unique in the page; becomes the prefix of every id in the SVG.
        label: What the figure says, in words, for screen readers.
        width: Of the figure, in pixels of a phone's page; on wider pages it may grow.
        height: Likewise.
    """
    # Imported here since it takes a second, which commands that draw nothing should not pay.
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "text.color": INK,
        "font.family": "DejaVu Sans",
        "font.size": TEXT,
        "axes.edgecolor": GRID,
        "axes.labelcolor": MUTED,
        "axes.labelsize": SMALL,
        "axes.linewidth": 1.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "axes.grid": True,
        "grid.color": GRID,
        "grid.linewidth": 0.75,
        "figure.facecolor": "none",
        "xtick.color": GRID,
        "ytick.color": GRID,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "xtick.major.size": 4.0,
        "ytick.major.size": 0.0,
        "xtick.minor.size": 0.0,
        "ytick.minor.size": 0.0,
        "lines.linewidth": 2.2,
        "lines.solid_capstyle": "round",
    }
    with mpl.rc_context(style):
        figure = Drawing(figsize=(width / _DPI, height / _DPI), dpi=_DPI, layout="constrained")
        sheet = _Sheet(figure.add_subplot())
        yield sheet
        sheet.svg = _render(figure, name, label)


def plain_ticks(axis_of: Axes, *, x: bool = False, y: bool = False) -> None:
    """Label ticks the way the tables write numbers: ``2 M``, not ``2e6``."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for wanted, axis in ((x, axis_of.xaxis), (y, axis_of.yaxis)):
        if wanted:
            axis.set_major_formatter(FuncFormatter(lambda value, _: shorter(human(value, 5))))
            axis.set_minor_formatter(NullFormatter())


def _render(figure: Drawing, name: str, label: str) -> str:
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The browser draws the text, with fonts that have more letters than matplotlib's.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Inside HTML, SVG needs no name spaces, and its size is the page's business.
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| version="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    head, rest = svg.split(">", 1)
    svg = re.sub(r' (?:width|height)="[^"]*"', "", head) + ">" + rest
    # Several figures share a page, and ids must differ.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(
        r"#0(?:10101|20202|30303|40404|50505|60606|70707|80808|90909|[a-e]0[a-e]0[a-e])", _variable, svg
    )
    svg = re.sub(r"'DejaVu Sans'(, *[^;\"]+)?", "var(--sans)", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}" focusable="false"', 1).strip()


def _variable(match: re.Match[str]) -> str:
    return f"var(--{_VARIABLES[match[0]]})"
