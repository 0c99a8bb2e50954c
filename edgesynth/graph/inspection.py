"""What may change in a network, what may not, and why: the data behind ``edgesynth inspect``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgesynth.graph.cost import Cost
from edgesynth.graph.couplings import Couplings
from edgesynth.graph.dimensions import Dimensions
from edgesynth.graph.labels import Labels

__all__ = ["FreeRow", "FrozenRow", "InspectionReport", "inspect"]


@dataclass(frozen=True)
class FreeRow:
    """One dimension that may change.

    Attributes:
        dimension: Its name in the space.
        units: How many units it has.
        minimum: The smallest width.
        step: Widths are multiples of it.
        channels_per_unit: Channels one unit holds.
        layers: Layers it runs through.
    """

    dimension: str
    units: int
    minimum: int
    step: int
    channels_per_unit: int
    layers: tuple[str, ...]


@dataclass(frozen=True)
class FrozenRow:
    """Output channels of one layer that may not change.

    Attributes:
        layer: Qualified name of the layer.
        channels: How many of its output channels are frozen.
        of: How many it has.
        reason: Why, in words.
        operator: The operator at fault.
        line: Where the user's code says so, ``file:line: source``; empty if unknown.
        module: The module whose code that is, name and class; empty in the network itself.
    """

    layer: str
    channels: int
    of: int
    reason: str
    operator: str
    line: str
    module: str = ""


@dataclass(frozen=True)
class InspectionReport:
    """What may change in a network, and what may not.

    Attributes:
        name: The prototype's name.
        free: Dimensions that may change.
        blocks: Name and layers of every removable residual block.
        frozen: Layers whose output channels may not change, with the reason.
        macs: MACs of the whole network for one sample.
        covered_share: Share of the MACs in layers that at least one free dimension runs through.
    """

    name: str
    free: tuple[FreeRow, ...]
    blocks: tuple[tuple[str, tuple[str, ...]], ...]
    frozen: tuple[FrozenRow, ...]
    macs: int
    covered_share: float

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return asdict(self)


def inspect(name: str, couplings: Couplings, cost: Cost) -> InspectionReport:
    """Collect the report of one traced network, given its cost with nothing dropped."""
    dimensions, blocks = couplings.dimensions, couplings.blocks
    free = tuple(
        FreeRow(d.name, d.units, d.minimum, d.step, d.channels_per_unit, d.layers) for d in dimensions.all
    )
    covered = {layer for dimension in dimensions.all for layer in dimension.layers}
    macs = sum(layer.macs for layer in cost.layers if layer.name.partition("#")[0] in covered)
    return InspectionReport(
        name,
        free,
        tuple((block.name, block.layers) for block in blocks),
        tuple(_frozen(couplings.labels, dimensions)),
        cost.macs,
        macs / cost.macs if cost.macs else 0.0,
    )


def _frozen(labels: Labels, dimensions: Dimensions) -> list[FrozenRow]:
    rows: list[FrozenRow] = []
    for layer, axes in labels.produced.items():
        fixed = np.flatnonzero(dimensions.dimension_of[axes[0]] < 0)
        if not fixed.size:
            continue
        reason = labels.atoms.reason(int(axes[0][fixed[0]]))
        if reason is None:
            text = f"all {len(axes[0])} channels are tied together"
            rows.append(FrozenRow(layer, len(fixed), len(axes[0]), text, "", ""))
        else:
            why = (reason.text, reason.operator, reason.line, reason.module)
            rows.append(FrozenRow(layer, len(fixed), len(axes[0]), *why))
    return rows
