"""A class for a whole sample, as reports show it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from edgesynth.tasks.protocol import Answer

__all__ = ["ClassAnswer"]


@dataclass(frozen=True)
class ClassAnswer:
    """One class for a whole sample.

    Attributes:
        label: Its name.
        confidence: Its probability, 0 to 1; ``None`` for a truth.
    """

    label: str
    confidence: float | None = None

    def drawn_on(self, image: Tensor) -> Tensor:
        """The image as it is: a class has no place in it."""
        return image

    def caption(self, truth: Answer) -> str:
        """The class, how sure the network is, and whether it is right."""
        if self.confidence is None:
            return self.label
        right = isinstance(truth, ClassAnswer) and truth.label == self.label
        return f"{self.label} {self.confidence:.0%} {'✓' if right else '✗'}"
