"""How a synthesis is run: budgets and seeds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from edgesynth.errors import InputError

__all__ = ["SynthesisSettings"]


@dataclass(frozen=True)
class SynthesisSettings:
    """Budgets of one synthesis; the defaults suit a CIFAR-size prototype on two CPU cores.

    Attributes:
        cycles: How often the pair goes round.
        epochs: Passes over the training data that train the shared weights, over all cycles.
        warmup: Share of those epochs that trains a wide family, before the first update of the generator.
        networks: How many networks from unseen seeds are reported at the end.
        polish_epochs: Passes over the training data spent on each reported network alone.
        seeds_per_cycle: The most fresh seeds whose networks are evaluated in a cycle.
        asked_per_cycle: The most architectures the pair asks to have trained and evaluated besides.
        probes_per_cycle: Networks per cycle whose vertices are stimulated.
        batch_size: Samples a training step.
        learning_rate: Peak learning rate of the shared weights; by default one that suits the prototype.
        validation_limit: The most validation samples of an evaluation inside cycles, ``None`` for all.
            Fewer are read, and then fewer networks evaluated, where evaluating would take more than about an
            eighth of a cycle.
        calibration_samples: Training samples that re-estimate batch-norm statistics of a network that is
            handed over; inside cycles an eighth of them do.
        diversity: Strength of the term that keeps the generator's networks different.
        budget_range: How many times looser or tighter the budgets may be that the generator serves
            besides; 1 learns the required ones only. Bounds on quality stay as they are.
        performance: Name of U.
        seed: Everything random follows from it.
    """

    cycles: int = 8
    epochs: float = 20.0
    warmup: float = 0.3
    networks: int = 5
    polish_epochs: float = 1.0
    seeds_per_cycle: int = 8
    asked_per_cycle: int = 8
    probes_per_cycle: int = 2
    batch_size: int = 64
    learning_rate: float | None = None
    validation_limit: int | None = 2000
    calibration_samples: int = 1024
    diversity: float = 0.1
    budget_range: float = 1.0
    performance: str = "netscore"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse budgets that cannot be spent."""
        at_least_one = ("cycles", "networks", "seeds_per_cycle", "asked_per_cycle", "batch_size")
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("epochs", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be above 0, got {value}")
        if not 1 <= self.budget_range < math.inf:
            raise InputError(f"budget_range is a factor of at least 1, got {self.budget_range}")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup is a share in [0, 1), got {self.warmup}")
        for name in ("polish_epochs", "diversity", "probes_per_cycle"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative, got {getattr(self, name)}")

    def to_json(self) -> dict[str, Any]:
        """The JSON form that a run's manifest keeps."""
        return asdict(self)
