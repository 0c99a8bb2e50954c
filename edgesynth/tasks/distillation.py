"""Learning from what a teacher says, where answers are distributions over classes."""

from __future__ import annotations

from dataclasses import dataclass

from edgesynth.errors import InputError

__all__ = ["Distillation"]


@dataclass(frozen=True)
class Distillation:
    """How much a student listens to its teacher.

    Attributes:
        weight: Share of the teacher's term in the loss, 0 to 1; 0 is plain cross-entropy.
        temperature: Softens both distributions before they are compared.
    """

    weight: float = 0.7
    temperature: float = 3.0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 0 <= self.weight <= 1 or self.temperature <= 0:
            raise InputError(
                f"distillation needs a weight in [0, 1] and a positive temperature, "
                f"got {self.weight} and {self.temperature}"
            )
