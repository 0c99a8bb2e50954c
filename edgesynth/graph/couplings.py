"""Everything known about one network once it is traced: what cost, surgery and gates all read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from edgesynth.graph.blocks import ResidualBlock, find_blocks
from edgesynth.graph.dimensions import Dimensions, find_dimensions, freeze_layers
from edgesynth.graph.labels import Labels
from edgesynth.graph.layers import Layers, find_layers
from edgesynth.graph.propagation import propagate
from edgesynth.graph.trace import Trace

__all__ = ["Couplings", "couple"]


@dataclass(frozen=True)
class Couplings:
    """One traced network and what may change in it.

    Attributes:
        module: The full-size module.
        trace: Its graph of operators.
        layers: The layers that these operators are.
        labels: The atoms of every axis of every value.
        dimensions: What may be narrowed.
        blocks: What may be left out.
    """

    module: nn.Module
    trace: Trace
    layers: Layers
    labels: Labels
    dimensions: Dimensions
    blocks: tuple[ResidualBlock, ...]


def couple(module: nn.Module, trace: Trace, freeze: Sequence[str], align: int) -> Couplings:
    """Find what may change in a traced network.

    Args:
        module: The module that was traced.
        trace: Its trace.
        freeze: Glob patterns of layers whose output channels must not change.
        align: Largest step between widths.

    Raises:
        InputError: A freeze pattern matches no layer.
    """
    labels = propagate(trace)
    freeze_layers(labels, freeze)
    dimensions = find_dimensions(trace, labels, align)
    blocks = find_blocks(trace, labels, [dimension.name for dimension in dimensions.all])
    return Couplings(module, trace, find_layers(trace, module), labels, dimensions, blocks)
