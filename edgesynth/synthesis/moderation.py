"""What every budget of a range needs of its own: reserve keeps its draws inside, heat keeps them apart.

Of one budget the generator learns where its wall is; of many it learns where they are about. And where few
networks are feasible, at the tight end, it would come to draw the same ones again and again, while those of
the other budgets differ.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.synthesis.budgets import Budgets
from edgesynth.synthesis.encoding import Array, Indices, distinct

__all__ = ["Moderation"]

_NEIGHBOURS: Final = 16
"""Members of similar budgets that are moderated together."""
_OUTSIDE: Final = 0.015
_BEYOND: Final = 0.06
"""Where more draws than this are outside, there is no room for heat."""
_ROOM: Final = 0.75
_GAIN: Final = 0.1
_MOST_RESERVE: Final = 0.3
_MEMORY: Final = 4
"""Draws of each member by which it is told whether neighbours repeat one another."""
_APART: Final = 0.85
_HOTTER: Final = 1.08
_COOLER: Final = 0.96
_HOTTEST: Final = 4.0


class Moderation:
    """Moves both after every draw, for neighbouring budgets together.

    A reserve follows the share of draws outside, by stochastic approximation (H. Robbins and S. Monro, 1951)
    with a constant gain. Heat rises by a fixed factor where draws repeat, and falls by one where they do not.

    Attributes:
        reserve: How much tighter than its own budget each member lives, in logarithms, ``[n]``: as much as
            leaves a small share of draws outside; where that leaves no room for members, it shrinks.
        heat: How many times higher its temperature is, ``[n]``: enough for draws to differ, as long as they
            are inside.

    Args:
        reserve: Where it starts; never changed in place.
        heat: Likewise.
        bounds: The budget of each member, ``[n, R]``.
        budgets: The range; ``None`` where there is only one.
    """

    def __init__(self, reserve: Array, heat: Array, bounds: Array, budgets: Budgets | None) -> None:
        self.reserve, self.heat = reserve, heat
        self._bounds = bounds
        self._budgets = budgets or None
        places = budgets.places(bounds) if budgets else np.zeros(len(bounds))
        self._order = np.argsort(places, kind="stable")
        self._group = np.argsort(self._order) // _NEIGHBOURS
        self._drawn: list[Indices] = []
        self._outside: list[Array] = []

    @property
    def bounds(self) -> Array:
        """What each member has to hold, its budget less its reserve: ``[n, R]``."""
        return self._budgets.tightened(self._bounds, self.reserve) if self._budgets else self._bounds

    def review(self, drawn: Indices, outside: Array, settled: NDArray[np.bool_]) -> None:
        """Take one draw of each member into account.

        Args:
            drawn: A draw from the policy, at temperature 1, under each member's budget, ``[n, D]``.
            outside: 1 where that lies outside of it, else 0: ``[n]``.
            settled: Which members are inside their tightened budget, ``[n]``.
        """
        share, room = (part[self._order].reshape(-1, _NEIGHBOURS).mean(1) for part in (outside, settled))
        move = np.where(room > _ROOM, share - _OUTSIDE, -2 * _OUTSIDE)[self._group]
        most = _MOST_RESERVE * self._budgets.span if self._budgets else 0.0
        self.reserve = np.clip(self.reserve + _GAIN * move, 0.0, most)
        self._drawn = [*self._drawn[1 - _MEMORY :], drawn]
        self._outside = [*self._outside[1 - _MEMORY :], share]
        if len(self._drawn) == _MEMORY:
            groups = np.split(np.stack(self._drawn, axis=1)[self._order], len(drawn) // _NEIGHBOURS)
            varied = np.array([distinct(group.reshape(-1, drawn.shape[1])) for group in groups])
            repeats = varied < _APART * _MEMORY * _NEIGHBOURS
            inside = np.mean(self._outside, axis=0) <= _BEYOND
            turn = np.where(repeats & inside, _HOTTER, _COOLER)[self._group]
            self.heat = np.clip(self.heat * turn, 1.0, _HOTTEST)
