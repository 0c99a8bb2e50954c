"""How long and how hard to train, and what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgesynth.errors import InputError

__all__ = ["EpochRecord", "TrainingPlan", "TrainingRecord", "passes"]


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how hard to train.

    Attributes:
        epochs: Passes over the training split; a fraction ends the last pass early.
        batch_size: Samples per step.
        learning_rate: The largest of the schedule.
        momentum: Of Nesterov's SGD.
        weight_decay: L2 penalty of weight matrices and kernels; biases and normalisation have none.
        warmup: Share of all steps in which the rate rises linearly.
        final_rate: Share of ``learning_rate`` at which the cosine ends (I. Loshchilov, F. Hutter, ICLR 2017).
        ema: Decay of an average of the weights that replaces them at the end; ``None`` for none.
        clip_norm: Largest norm of the whole gradient; ``None`` for no limit.
        augment: Whether the task varies its training samples.
        channels_last: Memory format of convolutional networks during training.
        mixed_precision: Use bfloat16 where a CUDA device computes in it; never on the CPU.
        seed: Decides order, augmentation and dropout.
    """

    epochs: float = 10
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.1
    final_rate: float = 0.0
    ema: float | None = None
    clip_norm: float | None = 5.0
    augment: bool = True
    channels_last: bool = True
    mixed_precision: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values no training could use."""
        wrong = [
            (0 < self.epochs < math.inf, "epochs must be positive and finite", self.epochs),
            (self.batch_size >= 1, "batch_size must be at least 1", self.batch_size),
            (self.learning_rate > 0, "learning_rate must be positive", self.learning_rate),
            (0 <= self.momentum < 1, "momentum must lie in [0, 1)", self.momentum),
            (self.weight_decay >= 0, "weight_decay must not be negative", self.weight_decay),
            (0 <= self.warmup < 1, "warmup is a share of all steps in [0, 1)", self.warmup),
            (0 <= self.final_rate <= 1, "final_rate is a share in [0, 1]", self.final_rate),
            (self.ema is None or 0 < self.ema < 1, "ema must lie in (0, 1)", self.ema),
            (self.clip_norm is None or self.clip_norm > 0, "clip_norm must be positive", self.clip_norm),
        ]
        for holds, rule, value in wrong:
            if not holds:
                raise InputError(f"training plan: {rule}, got {value}")

    def steps_per_epoch(self, samples: int) -> int:
        """How many steps a pass over so many samples takes."""
        return -(-samples // self.batch_size)

    def steps(self, samples: int) -> int:
        """How many steps it takes on so many samples, at least one."""
        return max(1, round(self.epochs * self.steps_per_epoch(samples)))

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of ``step`` (from 0) out of ``steps``."""
        rising = self.warmup * steps
        if step + 1 < rising:
            return self.learning_rate * (step + 1) / rising
        share = (step - rising) / max(1.0, steps - rising)
        cosine = (1 + math.cos(math.pi * min(1.0, max(0.0, share)))) / 2
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * cosine)


def passes(usual: float, steps: int, samples: int, batch_size: int) -> float:
    """How many passes over so many samples to make: as usual, or more where they would take fewer steps.

    Args:
        usual: Passes over data of a usual size.
        steps: The fewest that training needs, however few the samples are.
        samples: Training samples.
        batch_size: Samples a step.
    """
    return max(usual, float(math.ceil(steps / max(1, -(-samples // batch_size)))))


@dataclass(frozen=True)
class EpochRecord:
    """One pass over the training split.

    Attributes:
        epoch: From 1.
        steps: Optimizer steps in it.
        loss: Mean training loss, as optimised.
        learning_rate: Of the last step.
        seconds: Wall-clock time, callbacks excluded.
    """

    epoch: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class TrainingRecord:
    """What a call of :func:`fit` did.

    Attributes:
        epochs: One record per pass.
        samples: Training samples read, repeats counted.
    """

    epochs: tuple[EpochRecord, ...]
    samples: int

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return sum(epoch.steps for epoch in self.epochs)

    @property
    def seconds(self) -> float:
        """Wall-clock time of training alone."""
        return sum(epoch.seconds for epoch in self.epochs)

    @property
    def loss(self) -> float:
        """Mean training loss of the last pass."""
        return self.epochs[-1].loss
