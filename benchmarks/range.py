"""One generator for a range of budgets: is it feasible, varied and good at each of them?

    python benchmarks/range.py                                  # three problems, five seeds: minutes
    python benchmarks/range.py --problem macs --seeds 1

A pair is taught with ``span``, and its generator is then asked for networks under budgets across the range,
100 fresh seeds each, with no search and no repair. The table says, per budget: the share of draws whose
noise-free values hold every bound; the share of distinct ones; the mean performance of the feasible ones,
relative to the best feasible network at that budget (known exactly on ``cells`` and ``aligned``, by long
local search on ``macs``).

Below it stands the hypervolume over the range, between performance and the logarithm of the smallest factor
at which a network is inside the bounds: of ten draws at each budget, and of everything NSGA-II (Optuna; both
objectives, population 20) evaluated in as many evaluations as the pair and those draws together. The
reference point is the loosest budget and the performance of an ordinary network.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from _problems import PROBLEMS, Problem, optimum
from _searchers import REDRAWS, inside, suggested

from edgesynth.errors import MissingDependencyError
from edgesynth.space import Architecture
from edgesynth.synthesis.pair import GeneratorInquisitor
from edgesynth.synthesis.performance import as_performance
from edgesynth.synthesis.requirements import Requirements

BUDGETS = 6
DRAWS = 100
COUNTED = 10
"""Draws at each budget that the hypervolume counts."""


@dataclass(frozen=True)
class Range:
    """A problem whose budgets may be so many times tighter or looser.

    Attributes:
        problem: The problem at the middle of the range.
        widest: The largest factor.
    """

    problem: Problem
    widest: float

    @property
    def span(self) -> float:
        """Logarithm of the largest factor."""
        return math.log(self.widest)

    def at(self, shift: float) -> Problem:
        """The problem with every budget ``exp(shift)`` times as loose."""
        bounds = self.problem.requirements
        moved = bounds.moved([shift] * len(bounds))
        known = self.problem.best_within
        best = None if known is None else known(moved)
        return replace(self.problem, name=f"{self.problem.name} {shift:+.3f}", requirements=moved, best=best)

    def standing(self, architecture: Architecture) -> tuple[float, float]:
        """The least shift at which an architecture is feasible, and its performance."""
        metrics = self.problem.all_metrics(architecture)
        needed = max(math.log(metrics[item.metric] / item.bound) for item in self.problem.requirements)
        return needed, self.problem.performance(metrics)


def macs() -> Problem:
    """The widths of ``widths`` for accuracy alone, under a ceiling on its exact MACs."""
    problem = PROBLEMS["widths"]()
    assert problem.computed is not None
    most = problem.computed(problem.space.largest())["macs"]
    # In the middle of 2 to 20 times fewer than the largest network has.
    bounds = Requirements({"macs": f"<= {most / math.sqrt(40)!r}"})
    return replace(
        problem, name="macs", requirements=bounds, performance=as_performance(lambda m: m["accuracy"])
    )


def loosened(problem: Problem, factor: float) -> Problem:
    """The problem with looser budgets, so that its own are the tightest of a range, not the middle."""
    return replace(Range(problem, factor).at(math.log(factor)), name=problem.name)


RANGES: dict[str, Callable[[], Range]] = {
    "macs": lambda: Range(macs(), math.sqrt(10)),
    "cells": lambda: Range(PROBLEMS["cells"](), 1.5),
    "aligned": lambda: Range(loosened(PROBLEMS["aligned"](), 1.25), 1.25),
}
"""Every range by name; fixed costs of a device leave measured budgets less room than MACs have."""


def taught(ranged: Range, seed: int, evaluations: int) -> GeneratorInquisitor:
    """A pair that was taught the whole range."""
    problem = ranged.problem
    pair = GeneratorInquisitor(
        problem.space, problem.requirements, problem.performance, seed, problem.computed, span=ranged.span
    )
    rng = np.random.default_rng([seed, 97])
    for _ in range(evaluations // 10):
        for drawn in pair.ask(10):
            metrics = problem.truth(drawn)
            metrics["accuracy"] += problem.noise * float(rng.standard_normal())
            pair.tell(drawn, metrics)
    for _ in range(5):
        pair.update()
    return pair


def nsga2(ranged: Range, seed: int, evaluations: int) -> list[Architecture]:
    """What NSGA-II evaluates on the way to the whole front."""
    try:
        import optuna
    except ImportError as error:
        raise MissingDependencyError("the peer needs: pip install 'edgesynth[optuna]'") from error
    optuna.logging.set_verbosity(logging.ERROR)
    sampler = optuna.samplers.NSGAIISampler(population_size=20, seed=seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    loosest, seen = ranged.at(ranged.span), []
    for _ in range(evaluations):
        for left in reversed(range(REDRAWS)):
            trial = study.ask()
            drawn = suggested(ranged.problem, trial)
            if not left or inside(loosest, drawn):
                break
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        needed, performance = ranged.standing(drawn)
        trial.set_constraint("range", needed - ranged.span)
        study.tell(trial, [performance, needed])
        seen.append(drawn)
    return seen


def hypervolume(ranged: Range, drawn: Sequence[Architecture], reference: float) -> float:
    """Of performance above the reference, over the logarithm of the budget's factor."""
    points = sorted(ranged.standing(architecture) for architecture in drawn)
    total, best, reached = 0.0, reference, -ranged.span
    for needed, performance in [*points, (ranged.span, reference)]:
        place = min(max(needed, -ranged.span), ranged.span)
        total += (best - reference) * (place - reached)
        reached = place
        if needed <= ranged.span:
            best = max(best, performance)
    return total


def main() -> None:
    """Print one table per problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--problem", nargs="+", choices=list(RANGES), default=list(RANGES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=200)
    options = parser.parse_args()
    for ranged in (RANGES[name]() for name in options.problem):
        shifts = np.linspace(-ranged.span, ranged.span, BUDGETS)
        problems = [ranged.at(float(shift)) for shift in shifts]
        known = [optimum(problem) for problem in problems]
        reference = optimum(ranged.at(-ranged.span))[1]
        table = np.zeros((options.seeds, BUDGETS, 3))
        volumes, seconds = np.full((options.seeds, 2), math.nan), 0.0
        for seed in range(options.seeds):
            begun = time.process_time()
            pair = taught(ranged, seed, options.evaluations)
            seconds += time.process_time() - begun
            counted: list[Architecture] = []
            for i, problem in enumerate(problems):
                drawn = [pair.generate(10**6 + s, requirements=problem.requirements) for s in range(DRAWS)]
                standing = [problem.standing(problem.all_metrics(a)) for a in drawn]
                good = [u for short, u in standing if short == 0]
                distinct = len({problem.space.key(a) for a in drawn})
                mean = float(np.mean(good)) / known[i][0] if good else math.nan
                table[seed, i] = len(good) / DRAWS, distinct / DRAWS, mean
                counted += drawn[:COUNTED]
            volumes[seed, 0] = hypervolume(ranged, counted, reference)
            try:
                peer = nsga2(ranged, seed, options.evaluations + len(counted))
                volumes[seed, 1] = hypervolume(ranged, peer, reference)
            except MissingDependencyError as error:
                print(f"NSGA-II left out: {error}")
        print(f"\n{ranged.problem.name}: {ranged.problem.space}, {ranged.problem.requirements.text}")
        print(f"  budgets from {ranged.widest:.2f} times tighter to {ranged.widest:.2f} times looser")
        print("  factor   feasible networks   feasible draws   distinct   of the best performance")
        for i, shift in enumerate(shifts):
            fit, spread = table[:, i].mean(0), table[:, i].std(0)
            print(
                f"  {math.exp(shift):>6.2f} {known[i][2]:>19.2%} {fit[0]:>9.1%} +-{spread[0]:.1%}"
                f" {fit[1]:>9.1%} {fit[2]:>14.2%} +-{spread[2]:.2%}"
            )
        ratio = volumes[:, 0] / volumes[:, 1]
        print(
            f"  hypervolume: generator {volumes[:, 0].mean():.4f} +-{volumes[:, 0].std():.4f}, NSGA-II "
            f"{volumes[:, 1].mean():.4f} +-{volumes[:, 1].std():.4f}; ratio {ratio.mean():.3f} "
            f"+-{ratio.std():.3f}; {seconds / options.seeds:.1f} s to teach",
            flush=True,
        )


if __name__ == "__main__":
    main()
