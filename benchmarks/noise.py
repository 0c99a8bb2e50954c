"""What noisy observations beside better ones do to a pair's predictions, told with intervals and without.

    python benchmarks/noise.py                # ten seeds: about a minute

Of a space of eight widths a pair is told the latency of 60 networks: a sum over the widths with an
interaction and, in some rows, a peculiarity of every single width that no smooth model has, or the fourth
power of that sum, so that latencies differ a hundredfold; in others, what is predicted is a performance
function of the latency that is known by its values alone. Every other observation is the noisier one. The
figure is the root mean square of the error in the logarithm of predictions of 100 other networks, noise-free,
mean and standard deviation over seeds: where observations are Metrics with their 95 % intervals, where the
same values are told as plain numbers, and where the noisier half is not told.

Bar: with intervals, telling the noisier half costs nothing: at most 1.1 times the error of leaving it out.
The exit status is 1 where a row misses it.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgesynth.metrics import Metric, Provenance
from edgesynth.space import Architecture, Space, Width
from edgesynth.synthesis.pair import GeneratorInquisitor
from edgesynth.synthesis.performance import as_performance

TOLD, ASKED = 60, 100
WIDTHS, WIDEST = 8, 16
SPACE = Space([Width(f"w{i}", 1, WIDEST, 1) for i in range(WIDTHS)])
BAR = 1.1


@dataclass(frozen=True)
class Case:
    """How noisy what is told is.

    Attributes:
        better: Relative standard deviation of every other observation.
        noisier: That of the rest.
        peculiar: Relative standard deviation of what no smooth model has.
        power: Of the smooth sum, that latency is.
        blind: Whether a performance function is predicted that has no form for tensors: minus the logarithm
            of latency.
    """

    better: float
    noisier: float
    peculiar: float = 0.0
    power: int = 1
    blind: bool = False

    @property
    def title(self) -> str:
        """What the table calls it."""
        own = f", {self.peculiar:.0%} peculiar" if self.peculiar else ", wide" if self.power > 1 else ""
        return f"{self.better:.1%} and {self.noisier:.0%}{own}{', blind' if self.blind else ''}"


CASES = (
    Case(0.0, 0.1),
    Case(0.0, 0.3),
    Case(0.01, 0.1),
    Case(0.05, 0.05),
    Case(0.002, 0.03, 0.03),
    Case(0.002, 0.01, 0.03),
    Case(0.15, 0.15, power=4),
    Case(0.02, 0.3, power=4),
    Case(0.0, 0.3, blind=True),
    Case(0.02, 0.3, power=4, blind=True),
)
WAYS = ("intervals", "plain", "better half")


def problem(rng: np.random.Generator, case: Case) -> Callable[[Architecture], float]:
    """The latency of every network of the space, in milliseconds."""
    slopes, own = rng.uniform(0.2, 1.0, WIDTHS), rng.standard_normal((WIDTHS, WIDEST + 1))

    def latency_ms(architecture: Architecture) -> float:
        chosen = np.array([int(architecture[f"w{i}"]) for i in range(WIDTHS)])
        share = chosen / WIDEST
        smooth = 1.0 + 3.0 * slopes @ share / slopes.sum() + 1.5 * share[0] * share[1]
        peculiar = case.peculiar * own[np.arange(WIDTHS), chosen].sum() / np.sqrt(WIDTHS)
        return float(smooth**case.power * np.exp(peculiar))

    return latency_ms


def _blind(metrics: Mapping[str, float]) -> float:
    """It takes no tensors."""
    return -math.log(metrics["latency_ms"])


def error(case: Case, way: str, seed: int) -> float:
    """Root mean square error in the logarithm of the predictions of one pair."""
    rng = np.random.default_rng(seed)
    latency_ms = problem(rng, case)
    score = as_performance(_blind if case.blind else lambda metrics: -metrics["latency_ms"])
    pair = GeneratorInquisitor(SPACE, {"latency_ms": "<= 3"}, score, seed=seed)
    for turn in range(TOLD):
        architecture = SPACE.sample(1000 * seed + turn)
        true, deviation = latency_ms(architecture), (case.better, case.noisier)[turn % 2]
        seen, half = true * np.exp(deviation * rng.standard_normal()), 1.96 * deviation
        if way == "better half" and turn % 2:
            continue
        told = Metric(
            "latency_ms", seen, Provenance.SIMULATED, 5, (seen * np.exp(-half), seen * np.exp(half))
        )
        pair.tell(architecture, {"latency_ms": seen if way == "plain" else told})
    others = [SPACE.sample(10**6 + 1000 * seed + turn) for turn in range(ASKED)]
    wanted = np.array([latency_ms(other) for other in others])
    predictions = pair.predict(others)
    predicted = np.exp(-predictions["performance"][0]) if case.blind else predictions["latency_ms"][0]
    return float(np.sqrt(np.mean(np.log(predicted / wanted) ** 2)))


def main() -> int:
    """Print the table; exit 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    print(f"{'noise of either half':<28}" + "".join(f"{f'told: {way}':>24}" for way in WAYS))
    missed = False
    for case in CASES:
        errors = {way: np.array([error(case, way, seed) for seed in seeds]) for way in WAYS}
        cells = (
            f"{found.mean():.2%} +-{found.std(ddof=min(1, len(found) - 1)):.2%}" for found in errors.values()
        )
        bad = errors["intervals"].mean() > BAR * errors["better half"].mean()
        missed |= bad
        row = "".join(f"{cell:>24}" for cell in cells)
        print(f"{case.title:<28}{row}{'  MISSED' if bad else ''}", flush=True)
    print(f"bar: with intervals at most {BAR} times the error of the better half alone")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
