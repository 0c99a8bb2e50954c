"""The figures of the report, each a function from records to inline SVG or to the rows of a table."""

from __future__ import annotations

from edgesynth.report.plots.canvas import Figure
from edgesynth.report.plots.curves import recall_curves
from edgesynth.report.plots.efficiency import EfficiencyGrid, efficiency_grid
from edgesynth.report.plots.family import FamilyGrid, family_grid
from edgesynth.report.plots.history import history_panels
from edgesynth.report.plots.layers import LayerBars, layer_bars
from edgesynth.report.plots.pareto import pareto_plot

__all__ = [
    "EfficiencyGrid",
    "FamilyGrid",
    "Figure",
    "LayerBars",
    "efficiency_grid",
    "family_grid",
    "history_panels",
    "layer_bars",
    "pareto_plot",
    "recall_curves",
]
