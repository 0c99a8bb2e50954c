"""What each part of the method is worth: the same synthesis with one part taken out.

    python benchmarks/ablations.py                          # 5 seeds, about a minute and a half for each line
    python benchmarks/ablations.py --only no-probing --seeds 2

A ResNet-20 is trained on 3,000 Fashion-MNIST images; then generators are learned for at most a tenth of its
MACs, everything alike but for one part, on the same seeds and the same number of passes over the training
data. The loss of test accuracy is the mean over five networks from unseen seeds. Differences are taken seed
by seed; a part pays if its interval (95 %, Student's t) lies above zero.

    zero-update      the generator stays what the prototype and the bounds made of it
    random-update    it moves as far as the inquisitor says, in a random direction
    no-probing       the inquisitor hears no responses, and knows architectures alone
    l1-channels      a width keeps the channels of largest weights instead of those of largest impact
    no-succession    an update stands whether or not its networks are better
    no-sharing       shared weights are never trained; each reported network gets its part of the passes
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy.stats import t as student

import edgesynth as es
from edgesynth.cli.progress import open_progress
from edgesynth.graph import Prototype
from edgesynth.runs import write_atomic
from edgesynth.synthesis import Polish
from edgesynth.synthesis.elastic import ElasticTrainer
from edgesynth.synthesis.prototypes import train_prototype
from edgesynth.tasks import Task, TrainingPlan, load_task
from edgesynth.zoo import build

FIRST = 5
SAMPLES = 3_000
EPOCHS = 8.0
FEWER = 10.0
SETTINGS = es.SynthesisSettings(
    cycles=6,
    epochs=2 * EPOCHS,
    networks=5,
    polish_epochs=EPOCHS / 5,
    calibration_samples=512,
    performance="quality",
)
DRAWS = 100


class ZeroUpdate(es.GeneratorInquisitor):
    """The generator is never moved."""

    def _teach(self, steps: int) -> Mapping[str, Any]:
        return {"steps": 0}


class RandomUpdate(es.GeneratorInquisitor):
    """The generator moves as far as it would, anywhere."""

    def _teach(self, steps: int) -> Mapping[str, Any]:
        before = self.policy.theta
        record = super()._teach(steps)
        far = np.linalg.norm(self.policy.theta - before)
        draw = torch.Generator().manual_seed(self.seed + self.cycles)
        direction = torch.randn(before.shape, generator=draw, dtype=torch.float64).numpy()
        self.policy.theta = before + far * direction / np.linalg.norm(direction)
        return record


def by_magnitude(prototype: Prototype, task: Task, seed: int) -> None:
    """Rank units by the L1 norm of the weights that produce them (H. Li et al., arXiv 1608.08710)."""
    state = prototype.module.state_dict()
    for dimension in prototype.dimensions:
        total = torch.zeros(dimension.units)
        for axis in dimension.axes:
            weight = state[axis.state]
            # The producers' filters; with one axis it is a bias or a statistic, with axis 1 a reader.
            if weight.ndim > 1 and axis.axis == 0 and weight.shape[0] == dimension.units:
                total += weight.abs().flatten(1).sum(1)
        prototype.set_ranking(dimension.name, torch.argsort(total, descending=True, stable=True))


def no_training(
    self: ElasticTrainer, architectures: Sequence[object], until_step: int, phase: object
) -> float:
    """Let the passes go by; the weights stay the prototype's own."""
    self.step = until_step
    return 0.0


@dataclass(frozen=True)
class Variant:
    """The method with one part taken out.

    Attributes:
        replaced: What stands in for what, by qualified name.
        settings: How it is run.
    """

    replaced: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    settings: es.SynthesisSettings = SETTINGS


_CYCLE = "edgesynth.synthesis.cycle"
VARIANTS = {
    "full": Variant(),
    "zero-update": Variant({f"{_CYCLE}.GeneratorInquisitor": ZeroUpdate}),
    "random-update": Variant({f"{_CYCLE}.GeneratorInquisitor": RandomUpdate}),
    "no-probing": Variant(settings=replace(SETTINGS, probes_per_cycle=0)),
    "l1-channels": Variant({f"{_CYCLE}.rank_channels": by_magnitude}),
    "no-succession": Variant({f"{_CYCLE}.superiority": lambda *_: 1.0}),
    "no-sharing": Variant(
        {"edgesynth.synthesis.elastic.ElasticTrainer.train": no_training},
        replace(SETTINGS, polish_epochs=(EPOCHS + 2 * EPOCHS) / 5),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """One variant on one seed.

    Attributes:
        loss_points: Loss of test accuracy against the prototype, mean of the reported networks.
        feasible: Share of unseen seeds that were feasible as drawn.
        distinct: Share of distinct architectures among a hundred draws.
    """

    loss_points: float
    feasible: float
    distinct: float


def measure(name: str, seed: int, folder: Path) -> Outcome:
    """Run one variant, or take what an earlier call found."""
    kept = folder / f"{name}-{seed}.json"
    if kept.exists():
        return Outcome(**json.loads(kept.read_text()))
    variant = VARIANTS[name]
    task = load_task("fashion-mnist", train_size=SAMPLES)
    torch.manual_seed(seed)
    module = build("resnet20", in_channels=task.input_shape[0], classes=len(task.classes))
    run_dir = folder / f"{name}-{seed}"
    shared = folder / f"prototype-{seed}"
    train_prototype(module, task, TrainingPlan(epochs=EPOCHS, seed=seed), shared, open_progress())
    prototype = es.Prototype(module, torch.zeros(1, *task.input_shape), align=4)
    whole = task.score(module, "validation").metric.value
    full = prototype.cost().macs
    requirements = es.Requirements({"macs": f"<= {full / FEWER}", "accuracy": f">= {whole - 0.06}"})
    with ExitStack() as stack:
        for target, stand_in in variant.replaced.items():
            stack.enter_context(patch(target, stand_in))
        result = es.synthesize(
            prototype,
            task,
            requirements,
            run_dir=run_dir,
            settings=replace(variant.settings, seed=seed),
            progress=open_progress(),
        )
    generator = result.generator
    # A variant that yields no feasible network still has networks, and they are what it is judged by.
    networks = [record.test_metrics[task.metric].value for record in result.networks]
    missing = variant.settings.networks - len(networks)
    polish = Polish(variant.settings.polish_epochs, batch_size=variant.settings.batch_size)
    for drawn in range(missing):
        network = generator.tested(generator.generate(5000 + drawn, polish=polish))
        networks.append(network.test_metrics[task.metric].value)
    tried = 1 + max((record.seed or 0 for record in result.networks), default=DRAWS - 1)
    keys = {prototype.space.key(generator.architecture(s)) for s in range(1000, 1000 + DRAWS)}
    outcome = Outcome(
        100 * (result.prototype_record.test_metrics[task.metric].value - statistics.mean(networks)),
        len(result.networks) / tried,
        len(keys) / DRAWS,
    )
    write_atomic(kept, json.dumps(asdict(outcome)).encode())
    return outcome


def show(found: Mapping[str, Sequence[Outcome]]) -> None:
    """Print one line per variant."""
    seeds = len(found["full"])
    print(f"\nResNet-20, {SAMPLES} Fashion-MNIST images, at most 1/{FEWER:.0f} of its MACs, n={seeds} seeds")
    print("variant         loss in points   taken out costs (95 % interval)   feasible  distinct")
    for name, outcomes in found.items():
        losses = [outcome.loss_points for outcome in outcomes]
        spread = statistics.stdev(losses) if len(losses) > 1 else math.nan
        cost = ""
        if name != "full":
            gaps = [
                mine.loss_points - full.loss_points
                for mine, full in zip(outcomes, found["full"], strict=True)
            ]
            half = math.nan
            if len(gaps) > 1:
                half = (
                    float(student.ppf(0.975, len(gaps) - 1)) * statistics.stdev(gaps) / math.sqrt(len(gaps))
                )
            mean = statistics.mean(gaps)
            verdict = "pays" if mean - half > 0 else "costs" if mean + half < 0 else "not told apart"
            cost = f"{mean:+5.2f} ({mean - half:+.2f} .. {mean + half:+.2f}) {verdict}"
        feasible, distinct = (
            statistics.mean(getattr(outcome, share) for outcome in outcomes)
            for share in ("feasible", "distinct")
        )
        print(
            f"{name:14s}  {statistics.mean(losses):+5.2f} +- {spread:4.2f}    {cost:34s}"
            f"{feasible:8.0%}  {distinct:8.0%}"
        )


def main() -> int:
    """Run every variant on every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[name for name in VARIANTS if name != "full"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=FIRST, help="the first seed")
    parser.add_argument("--keep", type=Path, help="keep the runs here, and go on from them")
    options = parser.parse_args()
    names = ["full", *(options.only or [name for name in VARIANTS if name != "full"])]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        found: dict[str, list[Outcome]] = {name: [] for name in names}
        for seed in range(options.first, options.first + options.seeds):
            for name in names:
                found[name].append(measure(name, seed, folder))
    show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
