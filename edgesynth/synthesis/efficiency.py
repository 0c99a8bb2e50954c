"""Information efficiency: where a network spends its MACs, against where its answer depends on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from torch import nn

from edgesynth.graph import CoupledDimension, Prototype
from edgesynth.space import Architecture

__all__ = ["information_efficiency"]

STIMULUS = "drop"
"""Its response says how much of the answer rests on a vertex: what is lost with half of its units."""

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def information_efficiency(
    prototype: Prototype, probed: Iterable[tuple[Architecture, Mapping[str, float]]]
) -> dict[str, float]:
    """The share of the response over the share of MACs, by vertex, averaged over networks.

    1 is a vertex that costs what it says. Above 1 it says more than it costs: a bottleneck, which more
    width would relieve. Below 1 it costs more than it says: MACs are wasted there.

    Args:
        prototype: What the networks were cut from.
        probed: Networks, and their responses by ``vertex.stimulus``.

    Returns:
        By name of the coupled dimension, in the network's order; a dimension whose producers no network
        has is left out.
    """
    producers = {dimension.name: _producers(prototype, dimension) for dimension in prototype.dimensions}
    found: dict[str, list[float]] = {name: [] for name in producers}
    for architecture, responses in probed:
        spent = {layer.name: layer.macs for layer in prototype.cost(architecture).layers}
        macs = {name: sum(spent.get(layer, 0) for layer in layers) for name, layers in producers.items()}
        said = {name: responses.get(f"{name}.{STIMULUS}", 0.0) for name in producers}
        all_macs, all_said = sum(macs.values()), sum(said.values())
        for name in producers:
            if macs[name] > 0 and all_said > 0:
                found[name].append((said[name] / all_said) / (macs[name] / all_macs))
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def _producers(prototype: Prototype, dimension: CoupledDimension) -> list[str]:
    """The layers whose outputs the dimension's units are."""
    produced = []
    for layer in dimension.layers:
        module = prototype.module.get_submodule(layer)
        out_axis = 1 if isinstance(module, _TRANSPOSED) else 0
        if any(axis.state == f"{layer}.weight" and axis.axis == out_axis for axis in dimension.axes):
            produced.append(layer)
    return produced
