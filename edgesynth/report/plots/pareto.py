"""Quality against cost: every evaluated network, and the front among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from edgesynth.metrics import METRICS, SHARES, Metric, Provenance
from edgesynth.report.formatting import bound, parse_requirement, titled
from edgesynth.report.plots.canvas import (
    CANDIDATE,
    GENERATED,
    INK,
    MUTED,
    PAPER,
    PROTOTYPE,
    PROTOTYPE_TEXT,
    SMALL,
    TEXT,
    Figure,
    axes,
    plain_ticks,
)
from edgesynth.report.summary import weakest
from edgesynth.runs.records import NetworkRecord, Role

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["pareto_plot"]

_Box: TypeAlias = tuple[float, float, float, float]  # left, bottom, right, top in pixels

_STYLE: Final[Mapping[Role, Mapping[str, Any]]] = {
    # Shape and fill carry the meaning as well as colour does.
    "candidate": {"marker": "o", "s": 26, "facecolors": "none", "edgecolors": CANDIDATE, "linewidths": 1.2},
    "prototype": {"marker": "D", "s": 86, "facecolors": PROTOTYPE, "edgecolors": PAPER, "linewidths": 1.1},
    "generated": {"marker": "o", "s": 78, "facecolors": GENERATED, "edgecolors": PAPER, "linewidths": 1.1},
}


@dataclass(frozen=True)
class _Point:
    record: NetworkRecord
    cost: Metric
    quality: Metric

    @property
    def xy(self) -> tuple[float, float]:
        scale = 100.0 if self.quality.name in SHARES else 1.0
        return self.cost.value, scale * self.quality.value


def pareto_plot(records: Sequence[NetworkRecord], quality: str, cost: str) -> Figure | None:
    """Draw quality on validation data over one cost, or nothing if no network has both.

    Args:
        records: Every network of the run.
        quality: The task's metric.
        cost: ``macs``, ``latency_ms``, ``inferences_per_joule`` or any other metric.
    """
    points = [
        _Point(record, record.metrics[cost], record.metrics[quality])
        for record in records
        if cost in record.metrics and quality in record.metrics and _finite(record, cost, quality)
    ]
    if not points:
        return None
    kind = METRICS[cost]
    front = _front(points, higher_is_better=kind.better == "higher")
    provenance = weakest(point.cost.provenance for point in points)
    aside = "" if provenance is Provenance.COMPUTED else f", {provenance}"
    unit = f" in {kind.unit}" if kind.unit and kind.unit != "1/J" else ""
    label = _describe(points, quality, kind.label)
    with axes(f"pareto-{cost.replace('_', '-')}", label, 334, 290) as sheet:
        ax = sheet.axes
        _scale(ax, [point.xy[0] for point in points])
        _bounds(ax, records, quality, cost)
        ax.plot(
            *zip(*(point.xy for point in front), strict=True),
            color=MUTED,
            linewidth=1.2,
            linestyle=(0, (1, 2)),
            drawstyle="steps-post",  # what lies between two networks is as good as the worse of them
            zorder=2,
        )
        for zorder, (role, style) in enumerate(_STYLE.items(), start=3):
            chosen = [point for point in points if point.record.role == role]
            for predicted in (False, True):
                group = [p for p in chosen if (p.cost.provenance is Provenance.PREDICTED) == predicted]
                if group:
                    look = (
                        {"marker": "x", "s": 26, "color": CANDIDATE, "linewidths": 1.2}
                        if predicted
                        else style
                    )
                    ax.scatter(*zip(*(p.xy for p in group), strict=True), zorder=zorder, **look)
            if role != "candidate":
                _error_bars(ax, chosen)
        ax.set_xlabel(f"{kind.label}{unit}{aside}")
        ax.set_ylabel(f"{METRICS[quality].label} in %, validation data")
        ax.margins(x=0.08, y=0.1)
        _label(ax, points)
    return Figure(
        title=f"{titled(METRICS[quality].label)} against {kind.label}",
        caption=f"{len(points)} networks; up and to the {'right' if kind.better == 'higher' else 'left'} is "
        "better. Dotted: the best trade-offs found.",
        svg=sheet.svg,
    )


def _finite(record: NetworkRecord, *names: str) -> bool:
    return all(math.isfinite(record.metrics[name].value) for name in names)


def _front(points: Sequence[_Point], *, higher_is_better: bool) -> list[_Point]:
    """The points that no other point beats in both, by cost."""
    front: list[_Point] = []
    best = -math.inf
    for point in sorted(points, key=lambda p: (-p.xy[0] if higher_is_better else p.xy[0], -p.xy[1])):
        if point.xy[1] > best:
            front.append(point)
            best = point.xy[1]
    return front


def _scale(ax: Axes, costs: Sequence[float]) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    low, high = min(costs), max(costs)
    if low > 0 and high / low > 4:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    plain_ticks(ax, x=True)


def _bounds(ax: Axes, records: Sequence[NetworkRecord], quality: str, cost: str) -> None:
    """Draw the requirements on either axis."""
    line: dict[str, Any] = {"color": INK, "linewidth": 1.1, "linestyle": (0, (4, 3)), "zorder": 1.5}
    words: dict[str, Any] = {"textcoords": "offset points", "fontsize": SMALL, "color": MUTED}
    for text in dict.fromkeys(text for record in records for text in record.verdicts):
        name, _, value = parse_requirement(text) or ("", "", 0.0)
        if name == quality:
            level = value * (100.0 if name in SHARES else 1.0)
            ax.axhline(level, **line)
            place = (1.0, level)
            ax.annotate(
                bound(text), place, xycoords=("axes fraction", "data"), xytext=(0, 3), ha="right", **words
            )
        elif name == cost:
            ax.axvline(value, **line)
            place = (value, 0.0)
            ax.annotate(bound(text), place, xycoords=("data", "axes fraction"), xytext=(3, 4), **words)


def _error_bars(ax: Axes, points: Sequence[_Point]) -> None:
    for point in points:
        x, _ = point.xy
        scale = 100.0 if point.quality.name in SHARES else 1.0
        colour = PROTOTYPE if point.record.role == "prototype" else GENERATED
        if point.quality.interval:
            low, high = (scale * end for end in point.quality.interval)
            ax.vlines(x, low, high, color=colour, linewidth=1.2, zorder=2.5, alpha=0.35)


def _label(ax: Axes, points: Sequence[_Point]) -> None:
    """Name prototype and generated networks where there is room, the best ones first."""
    named = [p for p in points if p.record.role != "candidate"]
    named.sort(key=lambda p: (p.record.role != "prototype", -p.xy[1]))
    ax.figure.canvas.draw()  # the layout must be final before distances on the page mean anything
    dots: list[tuple[float, float]] = [tuple(ax.transData.transform(point.xy)) for point in points]
    left, right = ax.bbox.x0, ax.bbox.x1
    taken: list[_Box] = []
    for point in named:
        role, seed = point.record.role, point.record.seed
        text = "prototype" if role == "prototype" else f"seed {seed}"
        x, y = ax.transData.transform(point.xy)
        width, height = 6.6 * len(text), 13.0
        for dx, dy, align in ((8, -4, "left"), (-8, -4, "right"), (0, 9, "center"), (0, -17, "center")):
            start = x + dx - {"left": 0.0, "right": width, "center": width / 2}[align]
            box = (start, y + dy - 1, start + width, y + dy - 1 + height)
            hits = any(_inside(box, dot) for dot in dots) or any(_overlap(box, other) for other in taken)
            if not hits and box[0] >= left and box[2] <= right + 4:
                taken.append(box)
                ax.annotate(
                    text,
                    point.xy,
                    xytext=(dx, dy),
                    textcoords="offset points",
                    ha=align,
                    fontsize=TEXT,
                    color=PROTOTYPE_TEXT if role == "prototype" else GENERATED,
                    zorder=9,
                )
                break


def _inside(box: _Box, dot: tuple[float, float]) -> bool:
    return box[0] - 2 < dot[0] < box[2] + 2 and box[1] - 2 < dot[1] < box[3] + 2


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _describe(points: Sequence[_Point], quality: str, cost: str) -> str:
    parts = []
    for role in ("prototype", "generated", "candidate"):
        group = [point.xy for point in points if point.record.role == role]
        if group:
            xs, ys = zip(*group, strict=True)
            parts.append(
                f"{len(group)} {role}: {cost} {min(xs):.4g} to {max(xs):.4g}, "
                f"{quality} {min(ys):.4g} to {max(ys):.4g}"
            )
    return f"Scatter plot of {quality} over {cost}. " + "; ".join(parts) + "."
