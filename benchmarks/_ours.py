"""edgesynth as one of the methods of ``compression.py``: how a synthesis is fitted into a peer's budget."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from unittest import mock

from _budget import SETTLING, Meter, UncountedTest
from _peers import Case

import edgesynth as es
from edgesynth.errors import EdgesynthError
from edgesynth.runs import NetworkRecord
from edgesynth.synthesis import generator
from edgesynth.synthesis.probing import PROBING
from edgesynth.synthesis.scrutiny import EVALUATING, FEWEST_SAMPLES, Scrutiny
from edgesynth.tasks import TeacherCache

RESERVE = 0.02
"""Share of the budget that is planned for nothing: rounding, and what the plan does not know of."""


@dataclass(frozen=True)
class Look:
    """How closely a synthesis looks at its networks.

    Attributes:
        cycles: How often the pair goes round.
        networks: Networks evaluated per cycle from fresh seeds, and as many again that the pair asks for.
        validation: Validation samples per evaluation.
        calibration: Training samples for the batch-norm statistics of an evaluation.
    """

    cycles: int
    networks: int
    validation: int
    calibration: int


LOOKS = (
    Look(8, 8, 2000, 1024),
    Look(8, 8, 1000, 512),
    Look(6, 6, 1000, 512),
    Look(4, 4, 1000, 512),
    Look(4, 4, 500, 256),
    Look(2, 2, 256, 256),
)
"""From the defaults of :class:`edgesynth.SynthesisSettings` down; the first that is cheap enough is taken."""


@dataclass(frozen=True)
class Sizes:
    """What the price of a synthesis depends on.

    Attributes:
        full: Multiply-accumulates of the prototype.
        bound: The most that a network may have.
        train: Training samples.
        validation: Validation samples.
        stimuli: Stimuli of a probe.
        views: Passes over the training data the teacher answers.
        networks: How many are reported.
    """

    full: float
    bound: float
    train: int
    validation: int
    stimuli: int
    views: int
    networks: int = 1

    PROBE: ClassVar[int] = 8
    RANKING: ClassVar[int] = 1024
    PROBES: ClassVar[int] = 2

    def looking(self, look: Look, epochs: float | None = None) -> float:
        """Multiply-accumulates of everything but training: evaluations, anchors, probes, rankings.

        Args:
            look: How closely networks are looked at.
            epochs: Passes over the training data that train the shared weights, of which a synthesis makes
                evaluations and probes depend; ``None`` for the most they may cost.
        """
        calibration = look.calibration / 8
        most = (min(look.validation, self.validation) + calibration) * self.bound
        least = min(most, (FEWEST_SAMPLES + calibration) * self.bound)
        wanted = es.SynthesisSettings(seeds_per_cycle=look.networks, asked_per_cycle=look.networks)
        probes = self.PROBES * self.PROBE * (self.stimuli + 1) * self.full
        spent = 0.0
        for cycle in range(look.cycles):
            trained = math.inf if epochs is None else self._trained(look, cycle, epochs)
            standing = 2 * look.networks if cycle else 0
            looked = Scrutiny.affordable(
                wanted, trained / (3 * self.bound), int(least / self.bound), standing=standing
            )
            judged = looked.evaluations
            spent += min(judged * most, max(judged * least, EVALUATING * trained))
            spent += min(probes, PROBING * trained) + self.PROBES * look.calibration * self.bound
        once = 3 * min(self.RANKING, self.train) * self.full + self.validation * self.full
        return spent + once + most / self.bound * self.full + most

    def _trained(self, look: Look, cycle: int, epochs: float) -> float:
        """Multiply-accumulates of a cycle's training: the first warms up, the last is as long as three."""
        warmup = es.SynthesisSettings().warmup
        share = (1 - warmup) / (look.cycles + 2) * (3 if cycle + 1 == look.cycles else 1)
        return (share + (0 if cycle else warmup)) * 3 * epochs * self.train * self.bound

    def reporting(self, look: Look) -> float:
        """What the reported networks cost besides their polish."""
        each = 2 * look.calibration + min(SETTLING, self.train) + self.validation + 2
        return self.networks * (each * self.bound + 2 * self.full)

    def polishing(self, epochs: float) -> float:
        """Training every reported network alone; its teacher has answered while weights were shared."""
        return self.networks * epochs * self.train * 3 * self.bound

    def sharing(self, epochs: float) -> float:
        """Training the shared weights, every view answered once; no network has more than the bound."""
        return self.train * (3 * epochs * self.bound + self.views * self.full)


@dataclass(frozen=True)
class Plan:
    """How a budget is spent.

    Attributes:
        look: How closely networks are looked at.
        epochs: Passes over the training data that train the shared weights.
        polish: Passes spent on each reported network alone.
    """

    look: Look
    epochs: float
    polish: float


def plan(budget: float, sizes: Sizes, polish: float) -> Plan:
    """Fit a synthesis into a budget.

    Args:
        budget: Multiply-accumulates in all.
        sizes: What the price depends on.
        polish: Share of the budget for training the reported networks alone.

    Raises:
        EdgesynthError: The budget is too small.
    """
    look = next((each for each in LOOKS if sizes.looking(each) <= 0.2 * budget), LOOKS[-1])
    alone = polish * budget / sizes.polishing(1.0)
    left = (1 - RESERVE) * budget - sizes.reporting(look) - sizes.polishing(alone)

    def cost(epochs: float) -> float:
        return sizes.sharing(epochs) + sizes.looking(look, epochs)

    low, high = 0.0, 1.0
    while cost(high) <= left:
        low, high = high, 2 * high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= left else (low, middle)
    if low < 0.1:
        raise EdgesynthError(f"a budget of {budget:.3g} multiply-accumulates is too small for a synthesis")
    return Plan(look, low, alone)


@dataclass(frozen=True)
class Synthesis:
    """``es.synthesize`` under a bound on MACs, within a budget.

    Attributes:
        title: What the table calls it.
        networks: How many networks share the budget.
    """

    title: str = "edgesynth"
    networks: int = 1

    @property
    def stages(self) -> dict[str, tuple[float, ...]]:
        """What is chosen on validation data: step of the widths, share of the budget for training alone."""
        return {"align": (2, 4), "polish": (0.5, 0.35)}

    def run(
        self, case: Case, recipe: dict[str, float], budget: float, meter: Meter
    ) -> tuple[tuple[NetworkRecord, ...], float]:
        """Learn a generator and draw its networks, watched by the meter.

        Returns:
            The networks with their validation and test metrics, and the passes over the training data that
            the shared weights and then each network alone got.

        Raises:
            EdgesynthError: The budget is too small, or no network was found.
        """
        prototype = es.Prototype(case.module, case.example, align=int(recipe["align"]))
        full = float(prototype.cost().macs)
        sizes = Sizes(
            full=full,
            bound=case.bound,
            train=case.task.size("train"),
            validation=case.task.size("validation"),
            stimuli=3 * (len(prototype.dimensions) + len(prototype.blocks)),
            views=TeacherCache(case.module).views,
            networks=self.networks,
        )
        spent = plan(budget - meter.macs, sizes, recipe["polish"])
        settings = es.SynthesisSettings(
            cycles=spent.look.cycles,
            epochs=spent.epochs,
            networks=self.networks,
            polish_epochs=spent.polish,
            seeds_per_cycle=spent.look.networks,
            asked_per_cycle=spent.look.networks,
            validation_limit=spent.look.validation,
            calibration_samples=spent.look.calibration,
            performance="quality",
            seed=case.seed,
        )
        requirements = es.Requirements({"macs": f"<= {case.bound}"})
        # Nobody reads the files of these networks, and torch's ONNX exporter fails while a meter watches it.
        unwritten = mock.patch.object(generator, "export_onnx", lambda *_args, **_options: None)
        with tempfile.TemporaryDirectory() as folder, unwritten:
            result = es.synthesize(
                prototype,
                UncountedTest(case.task, meter),
                requirements,
                run_dir=Path(folder) / "run",
                settings=settings,
            )
        if result.shortfall:
            raise EdgesynthError(result.shortfall)
        return result.networks, spent.epochs + spent.polish
