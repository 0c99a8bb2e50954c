"""What is drawn as long as little is known: networks of about the prototype's proportions.

Of networks that cost the same there are many more with a bottleneck somewhere than without. A generator that
keeps its family wide, and is told little, would come to draw those; hence the measure that ``H`` is taken
against in :mod:`~edgesynth.synthesis.teaching`::

    log p_0(N)  =  - sum_d (log w_d - mean log w)^2 / (2 s^2)  +  sum_b c [b present]  +  constant

with the share ``w_d`` of its prototype's units that a dimension keeps. How small a network is makes no
difference, only how evenly it shrank; so one measure serves every budget. What cannot shrink that far is
expected at its own end, and a width that nobody hears, because its block is gone, is left out.

It is worth as much as one observation of every dimension, and less beside more of them::

    D / (D + n) log p_0(N)
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgesynth.space import Space, Switch, Width
from edgesynth.synthesis.encoding import Array, Indices

__all__ = ["Proportions", "Unheard"]

_SPREAD: Final = 0.3
"""``s``: two widths of a network differ in their shares by a factor of 1.5, give or take."""

_PRESENT: Final = 1.4
"""``c``: four of five blocks are there."""


@runtime_checkable
class Unheard(Protocol):
    """Who knows which choices of an architecture make no difference."""

    def unheard(self, choices: Indices, /) -> NDArray[np.bool_]:
        """Which of value indices ``[n, D]`` make none: ``[n, D]``."""
        ...


class Proportions:
    """``log p_0``, up to a constant.

    Args:
        space: The dimensions; choices other than widths and switches make no difference.
        knows: Anything; what is :class:`Unheard` is asked which widths count.
    """

    def __init__(self, space: Space, knows: object = None) -> None:
        dimensions = tuple(space)
        self._knows = knows if isinstance(knows, Unheard) else None
        self._dimensions = len(dimensions)
        self._switches = [index for index, each in enumerate(dimensions) if isinstance(each, Switch)]
        widths = {
            index: np.log(np.array(each.values) / each.maximum)
            for index, each in enumerate(dimensions)
            if isinstance(each, Width) and len(each.values) > 1
        }
        self._widths = list(widths)
        self._least = np.array([shares[0] for shares in widths.values()])
        self._shares = np.zeros((len(widths), max(space.cardinalities)))
        for row, shares in enumerate(widths.values()):
            self._shares[row, : len(shares)] = shares

    def __call__(self, indices: Indices, told: int = 0) -> Array:
        """The logarithms ``[n]`` of value indices ``[n, D]``, beside so many observations."""
        log_p: Array = _PRESENT * indices[:, self._switches].sum(1).astype(np.float64)
        if self._widths:
            log_p -= self._unevenness(indices) / (2 * _SPREAD**2)
        return self._dimensions / (self._dimensions + told) * log_p

    def _unevenness(self, indices: Indices) -> Array:
        """How far shares are from their mean, in squared logarithms, ``[n]``."""
        shares = self._shares[np.arange(len(self._widths)), indices[:, self._widths]]
        heard = np.ones(shares.shape, dtype=bool)
        if self._knows is not None:
            heard = ~self._knows.unheard(indices)[:, self._widths]
        # What is as small as it can be may be so for want of smaller choices, and says nothing of the others.
        telling = heard & (shares > self._least)
        mean = (shares * telling).sum(1) / np.maximum(telling.sum(1), 1)
        mean = np.where(telling.any(1), mean, -np.inf)[:, None]
        squares: Array = ((shares - np.maximum(mean, self._least)) ** 2 * heard).sum(1)
        return squares
