"""What is drawn as long as nothing is known: networks of about the prototype's proportions.

Of networks that cost the same there are many more with a bottleneck somewhere than without. A generator that
keeps its family wide, and is told little, would come to draw those; hence the measure that ``H`` is taken
against in :mod:`~edgesynth.synthesis.teaching`::

    log p_0(N)  =  - sum_d (log w_d - mean log w)^2 / (2 s^2)  +  sum_b c [b present]  +  constant

with the share ``w_d`` of its prototype's units that a dimension keeps. How small a network is makes no
difference, only how evenly it shrank; so one measure serves every budget.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from edgesynth.space import Space, Switch, Width
from edgesynth.synthesis.encoding import Array, Indices

__all__ = ["Proportions"]

_SPREAD: Final = 0.3
"""``s``: two widths of a network differ in their shares by a factor of 1.5, give or take."""

_PRESENT: Final = 1.4
"""``c``: four of five blocks are there."""


class Proportions:
    """``log p_0``, up to a constant.

    Args:
        space: The dimensions; choices other than widths and switches make no difference.
    """

    def __init__(self, space: Space) -> None:
        dimensions = tuple(space)
        self._widths = [index for index, each in enumerate(dimensions) if isinstance(each, Width)]
        self._switches = [index for index, each in enumerate(dimensions) if isinstance(each, Switch)]
        self._shares = np.zeros((len(self._widths), max(space.cardinalities)))
        for row, index in enumerate(self._widths):
            values = np.array(dimensions[index].values, dtype=np.float64)
            self._shares[row, : len(values)] = np.log(values / values.max())

    def __call__(self, indices: Indices) -> Array:
        """The logarithms ``[n]`` of value indices ``[n, D]``."""
        log_p: Array = _PRESENT * indices[:, self._switches].sum(1).astype(np.float64)
        if self._widths:
            shares = self._shares[np.arange(len(self._widths)), indices[:, self._widths]]
            log_p -= ((shares - shares.mean(1, keepdims=True)) ** 2).sum(1) / (2 * _SPREAD**2)
        return log_p
