"""A synthesis small enough for tests: a real data set, a real network, budgets of seconds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesynth.graph import Prototype
from edgesynth.progress import Phase
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.settings import SynthesisSettings
from edgesynth.tasks import Batch, ClassificationTask, Score, Split, TrainingPlan, load_task

SETTINGS = SynthesisSettings(
    cycles=3,
    epochs=3,
    networks=2,
    polish_epochs=0.5,
    seeds_per_cycle=3,
    asked_per_cycle=2,
    probes_per_cycle=1,
    batch_size=64,
    validation_limit=100,
    calibration_samples=128,
)
PLAN = TrainingPlan(epochs=5, batch_size=32, learning_rate=0.1)
BOUND = 100_000
REQUIREMENTS = Requirements({"accuracy": ">= 0.3", "macs": f"<= {BOUND}"})


class SmallNet(nn.Module):
    """A stem, one residual block that may be left out, a strided convolution, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.inner = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.inner_norm = nn.BatchNorm2d(16)
        self.outer = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.outer_norm = nn.BatchNorm2d(16)
        self.last = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.last_norm = nn.BatchNorm2d(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[batch, 1, h, w]`` to logits ``[batch, 10]``."""
        x = F.relu(self.norm(self.stem(x)))
        y = F.relu(self.inner_norm(self.inner(x)))
        x = F.relu(x + self.outer_norm(self.outer(y)))
        x = F.relu(self.last_norm(self.last(x)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


@cache
def digits_task() -> ClassificationTask:
    """600 real handwritten digits to train on, 300 + 300 to judge by."""
    return load_task("digits", train_size=600)


def untrained() -> SmallNet:
    """The same initial weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallNet()


def traced(module: nn.Module) -> Prototype:
    """The prototype of a module that takes a digit."""
    return Prototype(module, torch.zeros(1, 1, 8, 8), align=4)


class ReadLog:
    """A task that tells who read which split; everything else is the task's own.

    Attributes:
        reads: ``(what the log was told is going on, split)`` in order.
        now: What is going on.
    """

    def __init__(self, task: ClassificationTask) -> None:
        self.task = task
        self.reads: list[tuple[str, Split]] = []
        self.now = "before"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def batches(self, split: Split, **options: Any) -> Iterator[Batch]:
        self.reads.append((self.now, split))
        return self.task.batches(split, **options)

    def score(self, module: nn.Module, split: Split, **options: Any) -> Score:
        self.reads.append((self.now, split))
        return self.task.score(module, split, **options)

    def read(self, split: Split) -> set[str]:
        """During what the split was read."""
        return {now for now, which in self.reads if which == split}


class _Step:
    def __init__(self, owner: Watch) -> None:
        self.owner = owner

    def advance(self, steps: float = 1, **figures: float) -> None:
        self.owner.step()

    def __enter__(self) -> _Step:
        return self

    def __exit__(self, *reason: object) -> None:
        return None


class Watch:
    """Progress that names the phase, and can act in the middle of one.

    Attributes:
        phases: Phases begun so far, in order.
        notes: Lines said so far.
    """

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []
        self.steps = 0

    def phase(self, name: str, total: float | None = None) -> Phase:
        self.phases.append(name)
        self.steps = 0
        self.began(name)
        return _Step(self)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def began(self, name: str) -> None:
        """What a subclass does when a phase begins."""

    def step(self) -> None:
        """What a subclass does at every step of a phase."""
        self.steps += 1
