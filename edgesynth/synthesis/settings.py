"""How a synthesis is run: budgets and seeds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from edgesynth.errors import InputError
from edgesynth.synthesis.budgets import WIDEST
from edgesynth.synthesis.checks import finite, whole
from edgesynth.synthesis.performance import performance_by_name

__all__ = ["SynthesisSettings"]

_LARGEST_BATCH: Final = 2**16
_EPOCHS: Final = 20.0
_STEPS: Final = 1_000
"""Few passes over few data are too few steps for a family of networks to learn from."""


@dataclass(frozen=True)
class SynthesisSettings:
    """Budgets of one synthesis; the defaults suit a CIFAR-size prototype on two CPU cores.

    Attributes:
        cycles: How often the pair goes round.
        epochs: Passes over the training data that train the shared weights, over all cycles. By default 20,
            or as many as 1,000 steps take.
        warmup: Share of those epochs that trains a wide family, before the first update of the generator.
        networks: How many networks from unseen seeds are reported at the end.
        polish_epochs: Passes over the training data spent on each reported network alone. By default as many
            as train the shared weights, divided among the networks.
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
    epochs: float | None = None
    warmup: float = 0.3
    networks: int = 5
    polish_epochs: float | None = None
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
        whole("batch_size", self.batch_size, 1, _LARGEST_BATCH)
        for name in ("cycles", "networks", "seeds_per_cycle", "asked_per_cycle", "calibration_samples"):
            whole(name, getattr(self, name), 1)
        whole("probes_per_cycle", self.probes_per_cycle, 0)
        whole("seed", self.seed, 0, 2**63 - 1)
        if self.validation_limit is not None:
            whole("validation_limit", self.validation_limit, 1)
        for name in ("epochs", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not finite(name, value) > 0:
                raise InputError(f"{name} must be above 0, got {value}")
        if not 1 <= finite("budget_range", self.budget_range) <= WIDEST:
            raise InputError(f"budget_range is a factor in 1 .. {WIDEST:g}, got {self.budget_range}")
        if not 0 <= finite("warmup", self.warmup) < 1:
            raise InputError(f"warmup is a share in [0, 1), got {self.warmup}")
        finite("diversity", self.diversity, 0)
        if self.polish_epochs is not None:
            finite("polish_epochs", self.polish_epochs, 0)
        performance_by_name(str(self.performance))

    def passes(self, samples: int) -> tuple[float, float]:
        """How often the training data are seen: by the shared weights, and by each reported network alone.

        Args:
            samples: Training samples.
        """
        from edgesynth.tasks.training import passes

        shared = self.epochs
        if shared is None:
            shared = passes(_EPOCHS, _STEPS, samples, self.batch_size)
        alone = self.polish_epochs
        return shared, shared / self.networks if alone is None else alone

    def to_json(self) -> dict[str, Any]:
        """The JSON form that a run's manifest keeps."""
        return asdict(self)
