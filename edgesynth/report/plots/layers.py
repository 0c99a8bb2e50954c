"""Where the work is: cost per layer of the prototype and of one network, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgesynth.report import formatting
from edgesynth.report.plots.canvas import GENERATED, INK, MUTED, PROTOTYPE, Figure, axes, plain_ticks
from edgesynth.runs.records import LayerRecord

__all__ = ["LayerPair", "layer_bars", "pair_layers"]

_MOST: Final = 60  # more bars than this cannot be told apart


@dataclass(frozen=True)
class LayerPair:
    """One layer in both networks; ``None`` where it does not exist."""

    name: str
    prototype: LayerRecord | None
    network: LayerRecord | None


def pair_layers(prototype: Sequence[LayerRecord], network: Sequence[LayerRecord]) -> list[LayerPair]:
    """Match layers by name, in the prototype's order; those only in the network come last."""
    ours = {layer.name: layer for layer in network}
    theirs = {layer.name: layer for layer in prototype}
    return [LayerPair(name, theirs.get(name), ours.get(name)) for name in dict.fromkeys((*theirs, *ours))]


def layer_bars(pairs: Sequence[LayerPair], network: str) -> Figure | None:
    """Draw MACs per layer, prototype above network; nothing when no layer has any.

    Args:
        pairs: Layers of both networks.
        network: What the other network is called.
    """
    rows = [(pair, _macs(pair.prototype), _macs(pair.network)) for pair in pairs]
    rows = [row for row in rows if row[1] or row[2]]
    if not rows:
        return None
    left_out = len(rows) - _MOST
    if left_out > 0:
        largest = sorted(rows, key=lambda row: -max(row[1], row[2]))[:_MOST]
        rows = [row for row in rows if row in largest]
    before, after = sum(row[1] for row in rows), sum(row[2] for row in rows)
    totals = f"prototype {formatting.human(before)}, {network} {formatting.human(after)}"
    label = f"Bars of multiply-accumulates in {len(rows)} layers: {totals}."
    with axes("layers", label, 7.6, 0.62 + 0.21 * len(rows)) as sheet:
        ax = sheet.axes
        places = list(range(len(rows)))
        ax.barh([p - 0.19 for p in places], [row[1] for row in rows], 0.34, color=PROTOTYPE, zorder=3)
        ax.barh([p + 0.19 for p in places], [row[2] for row in rows], 0.34, color=GENERATED, zorder=3)
        for place, (pair, macs, own) in zip(places, rows, strict=True):
            change = (
                "removed" if pair.network is None else formatting.factor(macs / own) if 0 < own < macs else ""
            )
            ax.annotate(
                change,
                (max(macs, own), place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color=INK if pair.network is None else MUTED,
            )
        ax.set_yticks(places, [_shorten(row[0].name) for row in rows])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
        ax.margins(x=0.07)
        ax.set_xlabel("multiply-accumulates per inference")
        plain_ticks(ax, x=True)
    rest = f" The {left_out} smallest layers are in the table only." if left_out > 0 else ""
    return Figure(
        "MACs per layer",
        f"Computed from the graph. Beside the bars: how many times fewer MACs {network} spends there.{rest}",
        sheet.svg,
    )


def _macs(layer: LayerRecord | None) -> int:
    return layer.macs if layer else 0


def _shorten(name: str) -> str:
    return name if len(name) <= 34 else f"…{name[-33:]}"
