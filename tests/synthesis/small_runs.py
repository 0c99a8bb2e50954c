"""A small real synthesis of every kind of task, of seconds each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import detection_shapes
import shape_scenes
import torch

from edgesynth import zoo
from edgesynth.graph import Prototype
from edgesynth.progress import NullProgress
from edgesynth.synthesis.api import Result, load_generator, synthesize
from edgesynth.synthesis.generator import Generator
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.settings import SynthesisSettings
from edgesynth.tasks import PairedAugmentation, TrainingPlan, fit
from edgesynth.zoo.lraspp import LiteSegmenter

SEGMENTATION = SynthesisSettings(
    cycles=2,
    epochs=6,
    networks=2,
    polish_epochs=1,
    seeds_per_cycle=2,
    asked_per_cycle=2,
    probes_per_cycle=1,
    batch_size=16,
    validation_limit=24,
    calibration_samples=64,
)
DETECTION = SynthesisSettings(
    cycles=1,
    epochs=1,
    networks=1,
    polish_epochs=1.0,
    seeds_per_cycle=2,
    asked_per_cycle=1,
    probes_per_cycle=1,
    batch_size=16,
    validation_limit=16,
    calibration_samples=32,
)
HEADS = {"detectnet": "grid", "centrenet": "centre"}


@dataclass(frozen=True)
class SmallRun:
    """A run that ended; tests only read it.

    Attributes:
        task: What its networks are for.
        prototype: What they were cut from.
        result: What came of it.
        folder: Where it is.
        bound: The most MACs that were allowed.
    """

    task: Any
    prototype: Prototype
    result: Result
    folder: Path
    bound: int

    def generator(self) -> Generator:
        """What it learned, read from its folder."""
        return load_generator(self.folder, self.prototype, self.task)


def synthesize_segmenters(folder: Path) -> SmallRun:
    """A lite segmenter for generated squares and discs."""
    torch.manual_seed(0)
    task = shape_scenes.shapes_task(train=96, augmentation=PairedAugmentation(shift=2, flip=True))
    module = LiteSegmenter(3, 3, 16)
    fit(module, task, TrainingPlan(epochs=10, batch_size=16, learning_rate=0.1))
    prototype = Prototype(module, torch.zeros(1, 3, 32, 32), align=4)
    bound = prototype.cost().macs // 3
    requirements = Requirements({"miou": ">= 0.6", "macs": f"<= {bound}"})
    result = synthesize(
        prototype, task, requirements, run_dir=folder, settings=SEGMENTATION, progress=NullProgress()
    )
    return SmallRun(task, prototype, result, folder, bound)


def synthesize_detectors(folder: Path, name: str) -> SmallRun:
    """A detector of the zoo for generated squares, discs and crosses."""
    torch.manual_seed(0)
    task = detection_shapes.shapes_task(64, 20, head=HEADS[name])
    module = zoo.build(name, in_channels=3, classes=3)
    fit(module, task, TrainingPlan(epochs=4, batch_size=8, learning_rate=0.05, augment=False))
    prototype = Prototype(module, torch.zeros(1, *task.input_shape))
    bound = round(0.6 * prototype.cost().macs)
    requirements = Requirements({"map50": ">= 0.001", "macs": f"<= {bound}"})
    result = synthesize(
        prototype, task, requirements, run_dir=folder, settings=DETECTION, progress=NullProgress()
    )
    return SmallRun(task, prototype, result, folder, bound)
