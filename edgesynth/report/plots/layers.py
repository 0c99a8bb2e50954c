"""Where the work is: cost per layer of the prototype and of one network, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgesynth.report import formatting
from edgesynth.runs.records import LayerRecord

__all__ = ["LayerBar", "LayerBars", "LayerPair", "layer_bars", "pair_layers"]

_MOST: Final = 60  # more bars than this cannot be told apart


@dataclass(frozen=True)
class LayerPair:
    """One layer in both networks; ``None`` where it does not exist."""

    name: str
    prototype: LayerRecord | None
    network: LayerRecord | None


@dataclass(frozen=True)
class LayerBar:
    """One layer as a row of two bars.

    Attributes:
        name: Of the layer.
        before: The prototype's MACs, as a share of the longest bar in percent.
        after: The network's, likewise.
        macs: Both for people.
        change: How many times fewer, or that the layer is gone.
    """

    name: str
    before: float
    after: float
    macs: tuple[str, str]
    change: str


@dataclass(frozen=True)
class LayerBars:
    """The rows, and what must be said of them.

    Attributes:
        caption: What is shown, and what is not.
        rows: In the order of the prototype.
    """

    caption: str
    rows: tuple[LayerBar, ...]


def pair_layers(prototype: Sequence[LayerRecord], network: Sequence[LayerRecord]) -> list[LayerPair]:
    """Match layers by name, in the prototype's order; those only in the network come last."""
    ours = {layer.name: layer for layer in network}
    theirs = {layer.name: layer for layer in prototype}
    return [LayerPair(name, theirs.get(name), ours.get(name)) for name in dict.fromkeys((*theirs, *ours))]


def layer_bars(pairs: Sequence[LayerPair]) -> LayerBars | None:
    """MACs per layer, prototype above network; nothing when no layer has any.

    Args:
        pairs: Layers of both networks.
    """
    rows = [(pair, _macs(pair.prototype), _macs(pair.network)) for pair in pairs]
    rows = [row for row in rows if row[1] or row[2]]
    if not rows:
        return None
    left_out = len(rows) - _MOST
    if left_out > 0:
        largest = sorted(rows, key=lambda row: -max(row[1], row[2]))[:_MOST]
        rows = [row for row in rows if row in largest]
    longest = max(max(row[1], row[2]) for row in rows)
    bars = tuple(
        LayerBar(
            pair.name,
            100.0 * before / longest,
            100.0 * after / longest,
            (formatting.human(before), formatting.human(after)),
            _change(pair, before, after),
        )
        for pair, before, after in rows
    )
    rest = f" The {left_out} smallest layers are in the table below only." if left_out > 0 else ""
    return LayerBars(f"MACs of one inference, computed from the graph.{rest}", bars)


def _change(pair: LayerPair, before: int, after: int) -> str:
    if pair.network is None:
        return "removed"
    return formatting.factor(before / after) if 0 < after < before else ""


def _macs(layer: LayerRecord | None) -> int:
    return layer.macs if layer else 0
