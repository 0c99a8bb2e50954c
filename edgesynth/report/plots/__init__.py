"""The figures of the report, each a function from records to inline SVG."""

from __future__ import annotations

from edgesynth.report.plots.canvas import Figure
from edgesynth.report.plots.curves import recall_curves
from edgesynth.report.plots.efficiency import efficiency_grid
from edgesynth.report.plots.family import family_strip
from edgesynth.report.plots.history import history_panels
from edgesynth.report.plots.layers import layer_bars
from edgesynth.report.plots.pareto import pareto_plot

__all__ = [
    "Figure",
    "efficiency_grid",
    "family_strip",
    "history_panels",
    "layer_bars",
    "pareto_plot",
    "recall_curves",
]
