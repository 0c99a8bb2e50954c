"""The rules of ATen operators, by family; importing this package registers them all."""

from __future__ import annotations

from edgesynth.graph.rules import contractions, layers, pieces, pointwise, reductions, shapes

__all__ = ["contractions", "layers", "pieces", "pointwise", "reductions", "shapes"]
