"""When the pair learns: how often the inquisitor is fitted anew, and the generator taught."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

__all__ = ["CATCH_UP", "LESSON", "Pace"]

LESSON: Final = 20
"""Steps of a lesson given while asking."""

CATCH_UP: Final = 160
"""Steps of the lesson before generating, after so few while asking."""

_FIT_AGAIN: Final = 1.15
"""By what factor evaluations grow until the inquisitor's hyperparameters are fitted anew."""

_TEACH_AGAIN: Final = 2.0
"""By what factor evaluations grow until asking teaches the generator anew."""


@dataclass
class Pace:
    """At how many evaluations each kind of learning happened last.

    Attributes:
        fitted: The inquisitor's hyperparameters.
        taught: Any lesson of the generator.
        caught_up: One that was not cut short for the sake of asking.
    """

    fitted: int = 0
    taught: int = 0
    caught_up: int = 0

    def fit(self, evaluations: int) -> int:
        """For how many steps to fit hyperparameters now; 0 if there is little new."""
        if evaluations < _FIT_AGAIN * self.fitted + 1:
            return 0
        first, self.fitted = self.fitted == 0, evaluations
        return 40 if first else 15

    def teach(self, evaluations: int) -> bool:
        """Whether to give a lesson while asking now."""
        due = evaluations >= _TEACH_AGAIN * self.taught + 1
        self.taught = evaluations if due else self.taught
        return due

    def catch_up(self, evaluations: int) -> None:
        """A whole lesson is given now."""
        self.taught = self.caught_up = evaluations

    def to_json(self) -> dict[str, int]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Pace:
        """Read what :meth:`to_json` gave; earlier states had whole lessons only."""
        taught = int(data["taught"])
        return cls(int(data["fitted"]), taught, int(data.get("caught_up", taught)))
