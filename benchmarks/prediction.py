"""How well the inquisitor predicts latency and energy of networks that nobody has measured.

    python benchmarks/prediction.py [--prototype resnet20] [--told 30] [--unseen 40] [--first 20] [--seeds 10]

Slices of a zoo prototype with random weights are measured; the pair is told thirty and predicts the others.
It knows the cost of each, as in a synthesis. Latency and energy on the simulated TX2 (simulated, several
seeds, the first thirty told), latency on this machine's processor (measured, one seed; ten draws of which
thirty are told, for how well thirty teach differs from draw to draw). The bars: a median error under 5 %,
and intervals of 90 % that hold 85 to 95 % of the unseen values. An interval is the predicted mean and 1.645
of its standard deviations on either side; the unseen value has noise of its own, as every measurement has. A
network whose measurement gave no figure is replaced by another, up to half as many again; the command exits
with 1 when a bar is missed, or when still too few could be measured.
``--target host`` and ``--target simulated`` run one of the two.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

import edgesynth as es
from edgesynth.metrics import wilson_interval
from edgesynth.profiler import MeasurementPlan, profile
from edgesynth.synthesis.evaluation import ComputedCosts
from edgesynth.zoo import build

Z90 = 1.645
ERROR_BAR = 0.05
COVERAGE_BAR = (0.85, 0.95)


@dataclass
class Score:
    """Predictions of one metric against what was found."""

    errors: list[float] = field(default_factory=list)
    inside: list[bool] = field(default_factory=list)
    halves: list[float] = field(default_factory=list)

    def add(self, mean: float, deviation: float, found: float) -> None:
        """One unseen network."""
        self.errors.append(abs(mean / found - 1))
        self.inside.append(abs(mean - found) <= Z90 * deviation)
        self.halves.append(Z90 * deviation / found)


class Target:
    """A device, and the slices of a prototype on it."""

    def __init__(self, prototype: es.Prototype, device: str, link: str, seed: int) -> None:
        self._prototype = prototype
        self._device = es.open_device(device, link=link, seed=seed)
        precision = self._device.profile.default_precision
        self._plan = MeasurementPlan(precision, latency_runs=1000, idle_s=2.0, cool_down_s=2.0)
        self.metrics = ["latency_ms"] + (["energy_mj"] if self._device.has_energy else [])

    def measure(self, architecture: es.Architecture, shape: Sequence[int]) -> dict[str, float]:
        """Metrics of one slice; empty when its measurement was inconclusive."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "slice.onnx"
            es.export_onnx(self._prototype.slice(architecture), torch.randn(*shape), path, opset=13)
            found = profile(path, self._device, self._plan)
        return {name: metric.value for name, metric in found.metrics.items() if name in self.metrics}

    def close(self) -> None:
        """Let go of the device."""
        self._device.close()


def measure_slices(
    prototype: es.Prototype, target: Target, *, count: int, seed: int, shape: Sequence[int]
) -> tuple[list[tuple[es.Architecture, dict[str, float]]], int]:
    """Slices with their metrics; and how many gave no figure, at most half as many."""
    lost = 0
    seen: list[tuple[es.Architecture, dict[str, float]]] = []
    for number in range(int(1.5 * count)):
        if len(seen) == count:
            break
        architecture = prototype.space.sample(1000 * seed + number)
        found = target.measure(architecture, shape)
        lost += not found
        if found:
            seen.append((architecture, found))
    return seen, lost


def predict(
    prototype: es.Prototype,
    metrics: Sequence[str],
    taught: Sequence[tuple[es.Architecture, dict[str, float]]],
    asked: Sequence[tuple[es.Architecture, dict[str, float]]],
    seed: int,
) -> dict[str, Score]:
    """Tell a pair of some slices and score what it predicts of others."""
    requirements = dict.fromkeys(metrics, "<= 1e9")  # all that is told is modelled
    pair = es.GeneratorInquisitor(
        prototype.space,
        requirements,
        lambda found: -found["latency_ms"],
        seed=seed,
        computed=ComputedCosts(prototype),
    )
    for architecture, found in taught:
        pair.tell(architecture, found)
    predicted = pair.predict([architecture for architecture, _ in asked]) if asked else {}
    scores = {name: Score() for name in metrics}
    for index, (_, found) in enumerate(asked):
        for name, score in scores.items():
            mean, deviation = predicted[name]
            score.add(float(mean[index]), float(deviation[index]), found[name])
    return scores


def report(title: str, scores: dict[str, Score], lost: int, wanted: int, draws: int = 1) -> bool:
    """Print a line per metric; whether every bar is met.

    Args:
        title: Of the target.
        scores: By metric.
        lost: Measurements that gave no figure.
        wanted: Predictions; with half as many nothing is said.
        draws: How often every network was predicted, about: it counts once in the interval of a share.
    """
    met = True
    for name, score in scores.items():
        count = len(score.errors)
        if count < wanted / 2:
            print(f"{title:<44}{name:<12}INCONCLUSIVE: {count} of {wanted} unseen, {lost} gave no figure")
            met = False
            continue
        error, share = statistics.median(score.errors), sum(score.inside) / count
        low, high = wilson_interval(round(sum(score.inside) / draws), round(count / draws))
        right = error < ERROR_BAR and COVERAGE_BAR[0] <= share <= COVERAGE_BAR[1]
        met = met and right
        worst = sorted(score.errors)[int(0.9 * count)]
        print(
            f"{title:<44}{name:<12}{error:>8.2%}{worst:>9.2%}{share:>8.0%} ({low:.0%} .. {high:.0%})"
            f"{statistics.median(score.halves):>9.1%}{count // draws:>6}{lost:>6}  "
            f"{'met' if right else 'MISSED'}",
            flush=True,
        )
    return met


def merge(runs: Sequence[dict[str, Score]]) -> dict[str, Score]:
    """All seeds together."""
    total = {name: Score() for name in runs[0]}
    for run in runs:
        for name, score in run.items():
            total[name].errors += score.errors
            total[name].inside += score.inside
            total[name].halves += score.halves
    return total


def main() -> int:
    """Run the targets; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prototype", default="resnet20", help="a name of the zoo")
    parser.add_argument("--told", type=int, default=30)
    parser.add_argument("--unseen", type=int, default=40)
    parser.add_argument(
        "--first", type=int, default=20, help="the first seed; what was chosen saw earlier ones"
    )
    parser.add_argument("--seeds", type=int, default=10, help="of the simulated target")
    parser.add_argument("--draws", type=int, default=10, help="of the host")
    parser.add_argument("--target", choices=("all", "simulated", "host"), default="all")
    options = parser.parse_args()
    torch.manual_seed(0)
    shape = (1, 3, 32, 32)
    module = build(options.prototype, in_channels=3, classes=10).eval()
    prototype = es.Prototype(module, torch.randn(*shape))
    columns = f"{'error':>8}{'p90':>9}{'inside 90 % interval':>24}{'half':>7}{'n':>6}{'lost':>6}"
    print(f"{options.prototype} after {options.told} measurements\n{'target':<44}{'metric':<12}{columns}")
    sizes = {"count": options.told + options.unseen, "shape": shape}
    met = True
    if options.target in ("all", "simulated"):
        runs, lost = [], 0
        for seed in range(options.first, options.first + options.seeds):
            target = Target(prototype, "jetson-tx2", "simulated", seed)
            seen, missing = measure_slices(prototype, target, seed=seed, **sizes)
            target.close()
            runs.append(predict(prototype, target.metrics, seen[: options.told], seen[options.told :], seed))
            lost += missing
            report(f"jetson-tx2 simulated, seed {seed}", runs[-1], missing, options.unseen)
        wanted = options.seeds * options.unseen
        met = report("jetson-tx2 simulated, all seeds", merge(runs), lost, wanted) and met
    if options.target in ("all", "host"):
        target = Target(prototype, "host-cpu", "local", options.first)
        seen, lost = measure_slices(prototype, target, seed=options.first, **sizes)
        target.close()
        runs = []
        for draw in range(options.draws):
            order = random.Random(draw).sample(seen, len(seen))
            runs.append(
                predict(prototype, target.metrics, order[: options.told], order[options.told :], draw)
            )
            report(f"host-cpu, measured, draw {draw}", runs[-1], lost, options.unseen)
        wanted = options.draws * options.unseen
        met = report("host-cpu, measured, all draws", merge(runs), lost, wanted, options.draws) and met
    print(f"bars: median error under {ERROR_BAR:.0%}, 85 to 95 % inside: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
