"""A network as a graph: trace, coupled dimensions, cost, and surgery.

``Prototype(module, example_input)`` is the door to all of it.
"""

from __future__ import annotations

from edgesynth.graph.blocks import ResidualBlock
from edgesynth.graph.cost import Cost, LayerCost
from edgesynth.graph.dimensions import CoupledDimension, ParameterAxis
from edgesynth.graph.gated import GatedNetwork, MaskedNetwork
from edgesynth.graph.inspection import FreeRow, FrozenRow, InspectionReport
from edgesynth.graph.labels import register_rule
from edgesynth.graph.prototype import Prototype
from edgesynth.graph.recipe import Recipe, load, save_network, versions
from edgesynth.graph.surgery import SlicePlan

__all__ = [
    "Cost",
    "CoupledDimension",
    "FreeRow",
    "FrozenRow",
    "GatedNetwork",
    "InspectionReport",
    "LayerCost",
    "MaskedNetwork",
    "ParameterAxis",
    "Prototype",
    "Recipe",
    "ResidualBlock",
    "SlicePlan",
    "load",
    "register_rule",
    "save_network",
    "versions",
]
