"""The rules of ATen operators, by family; importing this package registers them all."""

from __future__ import annotations

from edgesynth.graph.rules import contractions, layers, pointwise, reductions, shapes

__all__ = ["contractions", "layers", "pointwise", "reductions", "shapes"]
