"""Quality at equal MACs and equal compute: edgesynth against the usual ways to make a network smaller.

    python benchmarks/compression.py --keep runs/compression
    python benchmarks/compression.py --data mnist-5k --fewer 10 --seeds 2 --methods taylor edgesynth
    python benchmarks/compression.py --data fashion-mnist --fewer 10 20 --seeds 2 --untuned

Everybody starts from the same prototype, trained for E epochs (``--epochs``), and is allowed as much again:
E epochs' worth of the prototype's own training. Both are counted in multiply-accumulates of convolutions and
matrix products, as torch executes them, forward and backward. Whatever a method computes from the moment it
is given the prototype until it hands over its last network is counted, and nothing is free: the teacher's
answers, importance scores, validation of candidates, probes, batch-norm statistics. Only the scores on test
data are left out. A smaller network thus trains longer: what a method does not spend elsewhere goes into
steps of one cosine schedule of ``edgesynth.tasks.fit``, with the task's own augmentation and distillation for
every peer. A teacher may answer every pass or, as in a synthesis, the first six, and labels alone the rest.

Seed 0 is never reported. On it the validation data choose, for each method and target: for peers the
learning rate (0.05, 0.1, 0.2) and how often the teacher answers; for edgesynth the step of its widths (2,
4) and the share of the budget that trains the reported network alone (50 %, 35 %). This choosing is not
counted for anyone. With ``--untuned`` nobody chooses: the first value of each is taken, which is a fifth of
the computing. Seeds 1, 2, ... are reported: each its own prototype, the splits being the same.
Everybody hands over one network; edgesynth's is that of the first unseen seed. A cell (data, seed, method,
target) that is finished is a small file in ``--keep`` and is not computed again; an interrupted one begins
anew. Cells belong to the sources of ``edgesynth/tasks/training`` they were computed with, those of
edgesynth also to ``edgesynth/synthesis``. Two commands with other ``--methods`` may share the folder.

The bar: edgesynth ahead of the best peer by 0.5 points at 10 times fewer MACs and by 1 point at 20 times,
nowhere more than 0.3 points behind. The exit status is 1 where it is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from _budget import Meter, forward_macs, step_macs
from _cells import OURS, Cell, table, verdicts
from _ours import Synthesis
from _peers import PEERS, Case, Peer
from torch import nn

import edgesynth.synthesis
import edgesynth.tasks.training
from edgesynth.errors import EdgesynthError, MissingDependencyError
from edgesynth.progress import NullProgress
from edgesynth.synthesis.prototypes import train_prototype
from edgesynth.tasks import Task, TrainingPlan, load_task
from edgesynth.zoo import build

DATA = ("fashion-mnist", "mnist-5k")
PROTOTYPES = ("resnet20", "mobilenetv2")
METHODS: dict[str, Peer | Synthesis] = {**PEERS, OURS: Synthesis()}
TRAIN_SIZE = {"fashion-mnist": 10_000}
TUNING_SEED = 0


@dataclass(frozen=True)
class Bench:
    """What a command measures, and where it keeps it.

    Attributes:
        data: Name of the data set.
        prototype: Name of the prototype.
        epochs: Of the prototype's training, and of the budget.
        train_size: Training images; ``None`` for all of them.
        folder: Where cells and prototypes are kept.
        measuring: Whether cells that are missing are computed.
    """

    data: str
    prototype: str
    epochs: float
    train_size: int | None
    folder: Path
    measuring: bool = True

    @property
    def name(self) -> str:
        """What the cells of this bench have in common."""
        size = f"-{self.train_size}" if self.train_size else ""
        return f"{self.data}{size}-{self.prototype}-{self.epochs:g}epochs"

    def task(self) -> Task:
        """The data."""
        return load_task(self.data, train_size=self.train_size)

    def trained(self, seed: int, task: Task) -> nn.Module:
        """The prototype of a seed, trained or taken from the folder."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = build(self.prototype, in_channels=task.input_shape[0], classes=len(task.classes))
        folder = self.folder / f"{self.name}-prototype-{seed}"
        train_prototype(module, task, TrainingPlan(epochs=self.epochs, seed=seed), folder, NullProgress())
        return module.eval()

    def cell(self, method: str, fewer: float, seed: int, recipe: dict[str, float]) -> Cell | None:
        """One finished cell, computed now or taken from the folder; ``None`` where it is only looked for.

        Args:
            method: One of :data:`METHODS`.
            fewer: How many times fewer MACs.
            seed: :data:`TUNING_SEED` leaves the test data alone.
            recipe: One value for each stage of the method.
        """
        sources = _sources(edgesynth.tasks.training, *([edgesynth.synthesis] if method == OURS else []))
        chosen = "".join(f"-{name}{value:g}" for name, value in recipe.items())
        path = self.folder / f"{self.name}-{method}-{sources}-{fewer:g}x-seed{seed}{chosen}.json"
        if path.exists():
            return Cell.read(path)
        if not self.measuring:
            return None
        cell = self._measured(method, fewer, seed, recipe)
        cell.write(path)
        told = f"validation {100 * cell.validation:.2f} %"
        told += f", test {100 * cell.test:.2f} %" if cell.test is not None else " (tuning)"
        print(f"{path.stem}: {told}, {cell.seconds / 60:.1f} core-minutes", file=sys.stderr, flush=True)
        return cell

    def _measured(self, method: str, fewer: float, seed: int, recipe: dict[str, float]) -> Cell:
        task = self.task()
        module = self.trained(seed, task)
        example = torch.zeros(1, *task.input_shape)
        full = forward_macs(module, example)
        budget = self.epochs * task.size("train") * step_macs(module, task)
        case = Case(module, task, example, full / fewer, seed)
        begun = time.process_time()
        by_name = METHODS[method]
        meter = Meter()
        with meter:
            if isinstance(by_name, Peer):
                trained = by_name.run(case, recipe, budget, meter)
            else:
                (record,), epochs = by_name.run(case, recipe, budget, meter)
        reports = seed != TUNING_SEED
        if isinstance(by_name, Peer):
            network, epochs = trained.module, trained.epochs
            validation = task.score(network, "validation").metric.value
            test = task.score(network, "test").metric.value if reports else None
            macs = float(forward_macs(network, example))
            parameters = float(sum(p.numel() for p in network.parameters()))
        else:
            validation = record.metrics[task.metric].value
            test = record.test_metrics[task.metric].value if reports else None
            macs, parameters = record.metrics["macs"].value, record.metrics["parameters"].value
        return Cell(
            data=self.data,
            prototype=self.prototype,
            method=method,
            fewer=fewer,
            seed=seed,
            validation=validation,
            test=test,
            macs=macs,
            parameters=parameters,
            full=float(full),
            spent=float(meter.macs),
            budget=budget,
            epochs=epochs,
            recipe=recipe,
            seconds=time.process_time() - begun,
        )


def _sources(*packages: ModuleType) -> str:
    """Eight digits that change with the sources of packages."""
    roots = [Path(str(package.__file__)).parent for package in packages]
    texts = [path.read_bytes() for root in roots for path in sorted(root.glob("*.py"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:8]


def tuned(
    stages: dict[str, tuple[float, ...]], worth: Callable[[dict[str, float]], float]
) -> dict[str, float]:
    """Choose one value after the other, each with the best of those before it.

    Args:
        stages: Values per name; the first of each is where the search starts, and wins ties.
        worth: What a recipe is worth on validation data.
    """
    recipe = {name: values[0] for name, values in stages.items()}
    for name, values in stages.items():
        found = {value: worth({**recipe, name: value}) for value in values}
        recipe[name] = max(values, key=lambda value: found[value])
    return recipe


def cells(bench: Bench, method: str, fewer: float, seeds: int, *, untuned: bool) -> Iterator[Cell]:
    """Tune on seed 0 where that is wanted, then report the others."""

    def worth(recipe: dict[str, float]) -> float:
        cell = bench.cell(method, fewer, TUNING_SEED, recipe)
        return cell.validation if cell is not None else 0.0

    stages = METHODS[method].stages
    recipe = {name: values[0] for name, values in stages.items()} if untuned else tuned(stages, worth)
    for seed in range(1, seeds + 1):
        if (cell := bench.cell(method, fewer, seed, recipe)) is not None:
            yield cell


def collect(
    bench: Bench, methods: list[str], targets: list[float], seeds: int, *, untuned: bool
) -> tuple[list[Cell], dict[str, str]]:
    """All cells of a data set, and why a method has fewer of them than the others."""
    found: list[Cell] = []
    missing: dict[str, str] = {}
    for fewer in targets:
        for method in methods:
            try:
                found.extend(cells(bench, method, fewer, seeds, untuned=untuned))
            except MissingDependencyError as error:
                missing[method] = f"left out, {error}"
            except EdgesynthError as error:
                missing[method] = f"at {fewer:g}x: failed, {error}"
            except Exception as error:  # A peer's own failure is a result, not the end of the others.
                if method == OURS:
                    raise
                traceback.print_exc()
                missing[method] = f"at {fewer:g}x: failed, {type(error).__name__}: {error}"
    return found, missing


def main() -> int:
    """Run the benchmark; exit 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--prototype", choices=PROTOTYPES, default=PROTOTYPES[0])
    parser.add_argument(
        "--seeds", type=int, default=5, help="how many are reported, beside the one that tunes"
    )
    parser.add_argument("--fewer", type=float, nargs="+", default=[2.0, 5.0, 10.0, 20.0])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--keep", type=Path, help="keep finished cells here, and go on from them")
    parser.add_argument("--epochs", type=float, default=10.0, help="of the prototype, and of the budget")
    parser.add_argument("--train-size", type=int, help="fewer training images, for a quick look")
    parser.add_argument("--untuned", action="store_true", help="choose nothing on seed 0")
    parser.add_argument("--table", action="store_true", help="show what is kept, compute nothing")
    options = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory() as scratch:
        for data in options.data:
            size = options.train_size or TRAIN_SIZE.get(data)
            folder = options.keep or Path(scratch)
            bench = Bench(data, options.prototype, options.epochs, size, folder, not options.table)
            try:
                found, missing = collect(
                    bench, options.methods, options.fewer, options.seeds, untuned=options.untuned
                )
            except MissingDependencyError as error:
                print(f"\n{data}: left out, {error}")
                continue
            missed |= OURS in missing
            print(f"\n{bench.name}: test accuracy, mean and standard deviation over seeds")
            titles = {name: method.title for name, method in METHODS.items()}
            print(table(found, titles, missing))
            for verdict in verdicts(found):
                state = "met" if verdict.met else "MISSED" if verdict.honest else "MISSED, over its budget"
                print(
                    f"{verdict.fewer:g}x: edgesynth {verdict.gap:+.2f} points from {titles[verdict.best]}; "
                    f"bar: at least {verdict.needed:+.1f}; {state}"
                )
                missed |= not verdict.met
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
