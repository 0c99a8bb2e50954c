"""How the generator changed from cycle to cycle, as small multiples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgesynth.metrics import METRICS, SHARES, Metric, Provenance
from edgesynth.report import formatting
from edgesynth.report.plots.canvas import (
    GENERATED,
    MUTED,
    PAPER,
    PHASES,
    PROTOTYPE,
    PROTOTYPE_TEXT,
    SMALL,
    TEXT,
    Figure,
    axes,
    plain_ticks,
)
from edgesynth.runs.records import CycleRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["history_panels"]

_WIDTH, _HEIGHT = 320, 205


@dataclass(frozen=True)
class _Panel:
    name: str
    title: str
    caption: str
    value: Callable[[CycleRecord], float | None]
    show: Callable[[float], str]
    reference: float | None = None
    percent: bool = False
    whole: bool = False  # the axis spans 0 to 100 %


def history_panels(
    cycles: Sequence[CycleRecord],
    quality: str,
    prototype: Mapping[str, Metric],
    provenance: Mapping[str, Provenance],
) -> list[Figure]:
    """One panel per figure of the cycle records; none when no cycle has ended.

    Args:
        cycles: By number.
        quality: The task's metric, which ``CycleRecord.quality`` holds.
        prototype: The prototype's metrics, drawn as a dashed line.
        provenance: How the values behind each metric were obtained; said where they are not exact.
    """
    if not cycles:
        return []
    drawn = [_line(panel, cycles) for panel in _panels(quality, prototype, provenance)]
    figures = [figure for figure in drawn if figure]
    if any(record.seconds for record in cycles):
        figures.append(_phases(cycles))
    return figures


def _panels(
    quality: str, prototype: Mapping[str, Metric], provenance: Mapping[str, Provenance]
) -> list[_Panel]:
    def mean(name: str, unit: str = "") -> str:
        return ", ".join(part for part in (f"mean{unit}", str(provenance.get(name, ""))) if part)

    def of_prototype(name: str) -> float | None:
        return prototype[name].value if name in prototype else None

    def shown(name: str) -> Callable[[float], str]:
        return lambda value: formatting.figure(name, value)

    def share(value: float) -> str:
        return f"{100 * value:.0f}\N{NARROW NO-BREAK SPACE}%"

    label = METRICS[quality].label
    return [
        _Panel(
            quality,
            formatting.titled(label),
            "mean in %, measured on validation data"
            if quality in SHARES
            else "mean, measured on validation data",
            lambda r: r.quality,
            shown(quality),
            of_prototype(quality),
            percent=quality in SHARES,
        ),
        _Panel("macs", "MACs", "mean, computed", lambda r: r.macs, shown("macs"), of_prototype("macs")),
        _Panel(
            "netscore",
            "NetScore",
            "mean, computed",
            lambda r: r.netscore,
            shown("netscore"),
            of_prototype("netscore"),
        ),
        _Panel(
            "feasible",
            "Feasible fraction",
            "in % of fresh seeds, before rejection; computed",
            lambda r: r.feasible_fraction,
            share,
            percent=True,
            whole=True,
        ),
        _Panel(
            "distinct",
            "Distinct fraction",
            "architectures in % of fresh seeds; computed",
            lambda r: r.distinct_fraction,
            share,
            percent=True,
            whole=True,
        ),
        _Panel(
            "distance",
            "Diversity",
            "mean pairwise distance, 0 to 1; computed",
            lambda r: r.mean_distance,
            lambda value: f"{value:.2f}",
        ),
        _Panel(
            "latency",
            "Latency (median)",
            mean("latency_ms", " in ms"),
            lambda r: r.latency_ms,
            shown("latency_ms"),
            of_prototype("latency_ms"),
        ),
        _Panel(
            "energy",
            "Inferences per joule",
            mean("inferences_per_joule"),
            lambda r: r.inferences_per_joule,
            shown("inferences_per_joule"),
            of_prototype("inferences_per_joule"),
        ),
    ]


def _line(panel: _Panel, cycles: Sequence[CycleRecord]) -> Figure | None:
    found = [(record.cycle, panel.value(record)) for record in cycles]
    points = [(cycle, value) for cycle, value in found if value is not None and math.isfinite(value)]
    if not points:
        return None
    scale = 100.0 if panel.percent else 1.0
    label = f"{panel.title} per cycle: " + ", ".join(f"{c}: {panel.show(v)}" for c, v in points)
    with axes(f"history-{panel.name}", label, _WIDTH, _HEIGHT) as sheet:
        ax = sheet.axes
        xs, ys = [c for c, _ in points], [scale * v for _, v in points]
        if panel.reference is not None and math.isfinite(panel.reference):
            ax.axhline(
                scale * panel.reference, color=PROTOTYPE, linewidth=1.4, linestyle=(0, (4, 3)), zorder=2
            )
            ax.annotate(
                f"prototype {panel.show(panel.reference)}",
                (0.0, scale * panel.reference),
                xycoords=("axes fraction", "data"),
                xytext=(2, 3),
                textcoords="offset points",
                fontsize=SMALL,
                color=PROTOTYPE_TEXT,
            )
            if panel.name == "macs" and min(ys) > 0 and panel.reference / min(ys) > 4:
                ax.set_yscale("log")
        ax.plot(xs, ys, color=GENERATED, zorder=3, clip_on=False)
        ax.scatter(xs[-1:], ys[-1:], s=52, color=GENERATED, edgecolors=PAPER, zorder=4, clip_on=False)
        undone = {record.cycle for record in cycles if not record.stands}
        hollow = [(x, y) for x, y in zip(xs, ys, strict=True) if x in undone]
        ax.scatter(
            [x for x, _ in hollow], [y for _, y in hollow], s=36, color=PAPER, edgecolors=GENERATED, zorder=4
        )
        if len(xs) > 1:
            ax.annotate(
                panel.show(points[-1][1]),
                (xs[-1], ys[-1]),
                xytext=(2, -17 if ys[-1] < ys[-2] else 8),
                textcoords="offset points",
                ha="right",
                fontsize=TEXT,
                color=GENERATED,
            )
        if panel.whole:
            ax.set_ylim(-3, 108)
            ax.set_yticks([0, 50, 100])
        else:
            ax.margins(y=0.3)
        _cycle_axis(ax, cycles)
        if not panel.whole:
            _few_ticks(ax)
    return Figure(panel.title, panel.caption, sheet.svg)


def _phases(cycles: Sequence[CycleRecord]) -> Figure:
    names = list(dict.fromkeys(name for record in cycles for name in record.seconds))
    totals = {name: sum(record.seconds.get(name, 0.0) for record in cycles) for name in names}
    label = "Seconds per phase over all cycles: " + ", ".join(
        f"{name} {formatting.duration(seconds)}" for name, seconds in totals.items()
    )
    with axes("history-phases", label, _WIDTH, _HEIGHT) as sheet:
        ax = sheet.axes
        bottom = [0.0] * len(cycles)
        for i, name in enumerate(names):
            heights = [record.seconds.get(name, 0.0) for record in cycles]
            ax.bar(
                [record.cycle for record in cycles],
                heights,
                bottom=bottom,
                width=0.72,
                color=PHASES[i % len(PHASES)],
                edgecolor=PAPER,
                linewidth=0.6,
                zorder=3,
            )
            bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
        _cycle_axis(ax, cycles)
        _few_ticks(ax)
        ax.grid(visible=False, axis="x")
    keys = tuple((f"phase-{i % len(PHASES)}", name) for i, name in enumerate(names))
    return Figure("Seconds per phase", "wall time of each cycle in s, measured", sheet.svg, keys)


def _cycle_axis(ax: Axes, cycles: Sequence[CycleRecord]) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.set_xlim(cycles[0].cycle - 0.5, cycles[-1].cycle + 0.5)
    ax.set_xlabel("cycle", color=MUTED)


def _few_ticks(ax: Axes) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    if ax.get_yscale() == "log":
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    plain_ticks(ax, y=True)
