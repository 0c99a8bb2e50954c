"""The range of budgets that one generator serves.

A requirement vector says how far each bound is from the taught one (:meth:`Requirements.vector`). Budgets,
what a network may cost and how fast it has to be, are varied; floors and ceilings of quality are not, for
what is good enough does not depend on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.errors import RequirementError
from edgesynth.metrics import SHARES
from edgesynth.synthesis.checks import finite
from edgesynth.synthesis.requirements import Requirements

__all__ = ["WIDEST", "Budgets"]

WIDEST: Final = 1e6
"""The largest factor between budgets that one generator may be taught."""

_TAUGHT: Final = 0.25
_TOGETHER: Final = 0.5


class Budgets:
    """Requirement vectors from ``span`` tighter to ``span`` looser than the taught requirements.

    A quarter of them are the taught requirements, half scale every budget by one factor, and in the rest
    each budget has its own.

    Args:
        requirements: The taught requirements.
        span: Logarithm of the largest factor; 0 for the taught requirements alone.

    Raises:
        InputError: ``span`` is negative, or stands for a factor above :data:`WIDEST`.
    """

    def __init__(self, requirements: Requirements, span: float) -> None:
        self.requirements = requirements
        self.span = finite("span", span, 0.0, math.log(WIDEST))
        # The direction in which each bound loosens.
        self._loose = np.array(
            [0.0 if item.metric in SHARES else 1.0 if item.sense == "<=" else -1.0 for item in requirements]
        )

    def __bool__(self) -> bool:
        """Whether there is more than the taught requirements."""
        return self.span > 0 and bool(self._loose.any())

    def rows(self, count: int) -> NDArray[np.float64]:
        """As many vectors, spread evenly, the same every time: ``[count, R]``."""
        taught, together = int(_TAUGHT * count), int(_TOGETHER * count)
        alone = np.random.default_rng(0).uniform(-1.0, 1.0, (count - taught - together, len(self._loose)))
        shared = np.linspace(-1.0, 1.0, together)[:, None].repeat(len(self._loose), axis=1)
        parts = [np.zeros((taught, len(self._loose))), shared, alone]
        rows: NDArray[np.float64] = self.span * self._loose * np.concatenate(parts)
        return rows

    def marks(self, count: int) -> NDArray[np.float64]:
        """Vectors that scale every budget by one factor, from the tightest to the loosest: ``[count, R]``."""
        marks: NDArray[np.float64] = self.span * np.outer(np.linspace(-1.0, 1.0, count), self._loose)
        return marks

    def place(self, vector: Sequence[float]) -> float:
        """Where a vector ``[R]`` lies in the range, from -1 at the tightest to 1 at the loosest."""
        return float(self.places(np.array([vector]))[0])

    def places(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where each of some vectors ``[n, R]`` lies: ``[n]``, zeros without a range."""
        if not self:
            return np.zeros(len(rows))
        places: NDArray[np.float64] = rows @ self._loose / (self.span * np.abs(self._loose).sum())
        return places

    def tightened(self, rows: NDArray[np.float64], reserve: NDArray[np.float64]) -> NDArray[np.float64]:
        """Vectors ``[n, R]`` with every budget tightened by a reserve ``[n]``, in logarithms."""
        tightened: NDArray[np.float64] = rows - reserve[:, None] * self._loose
        return tightened

    def covers(self, vector: Sequence[float]) -> bool:
        """Whether a requirement vector ``[R]`` lies in the range; bounds on quality lie in any."""
        moved = np.where(self._loose != 0, np.asarray(vector, dtype=np.float64), 0.0)
        return bool((np.abs(moved) <= self.span + 1e-9).all())

    def vector(self, requirements: Requirements) -> tuple[float, ...]:
        """The vector ``[R]`` of requirements in the range.

        Raises:
            RequirementError: They bound something else, or lie outside the range.
        """
        vector = requirements.vector(self.requirements)
        if not self.covers(vector):
            times = math.exp(self.span)
            raise RequirementError(
                f"{requirements.text!r} lies outside what the generator was taught: "
                f"{self.requirements.text}, and budgets up to {times:.3g} times looser or tighter; learn one "
                "with a larger [synthesis] budget_range, or a pair with a larger span"
            )
        return vector

    def draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """One vector at random, ``[R]``."""
        kind = rng.random()
        if kind < _TAUGHT:
            return np.zeros(len(self._loose))
        factors = rng.uniform(-1.0, 1.0, 1 if kind < _TAUGHT + _TOGETHER else len(self._loose))
        return np.asarray(self.span * self._loose * factors)

    @property
    def loosest(self) -> Requirements:
        """The requirements with every budget at its loosest."""
        return self.requirements.moved(self.span * self._loose)
