"""How few evaluations the generator-inquisitor pair needs, against the usual constrained searchers.

    python benchmarks/search.py                                     # everything: hours
    python benchmarks/search.py --problem cells --searcher pair tpe gp --first 16 --seeds 10 --evaluations 100

What the pair leaves to its maker was chosen while looking at seeds below 16; ``--first 16`` reports others.

The problems are in ``_problems.py``, the peers in ``_searchers.py``: uniform random search, regularised
evolution (E. Real et al., AAAI 2019; population 20, sample 5, infeasible networks ranked below feasible ones
by violation), and Optuna's NSGA-II, TPE and Gaussian-process samplers with constraints.

Normalised regret is ``(U* - U) / (U* - ordinary feasible U)`` of the best network evaluated so far whose
noise-free values hold every requirement, 1 where there is none, at most 1. Seconds are CPU time
of the searcher alone.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import numpy as np
from _problems import PROBLEMS, Problem, optimum
from _searchers import SEARCHERS

from edgesynth.errors import MissingDependencyError
from edgesynth.synthesis.pair import GeneratorInquisitor

MARKS = (50, 100, 200)


def trace(problem: Problem, name: str, seed: int, evaluations: int) -> tuple[list[float], float]:
    """Normalised regret after every evaluation, and the CPU seconds of the searcher."""
    best_known, ordinary, _ = optimum(problem)
    rng = np.random.default_rng([seed, 99])
    best, out, seconds = -math.inf, [], 0.0
    turns = SEARCHERS[name](problem, seed)
    for _ in range(evaluations):
        begun = time.process_time()
        drawn, seen = next(turns)
        seconds += time.process_time() - begun
        metrics = problem.all_metrics(drawn)
        short, score = problem.standing(metrics)
        if short == 0:
            best = max(best, score)
        seen.update(metrics)
        seen["accuracy"] += problem.noise * float(rng.standard_normal())
        out.append(min(1.0, (best_known - best) / (best_known - ordinary)))
    return out, seconds


def family(problem: Problem, seed: int, goal: tuple[float, float], evaluations: int) -> dict[str, float]:
    """What fresh seeds of the learned generator give, with no search and no repair."""
    searcher = GeneratorInquisitor(
        problem.space, problem.requirements, problem.performance, seed, problem.computed
    )
    rng = np.random.default_rng([seed, 98])
    for _ in range(evaluations // 10):
        for drawn in searcher.ask(10):
            metrics = problem.truth(drawn)
            metrics["accuracy"] += problem.noise * float(rng.standard_normal())
            searcher.tell(drawn, metrics)
    begun = time.process_time()
    for _ in range(5):
        searcher.update()
    seconds = time.process_time() - begun
    drawn = [searcher.generate(10**6 + s) for s in range(100)]
    standing = [problem.standing(problem.all_metrics(a)) for a in drawn]
    good = [u for short, u in standing if short == 0]
    return {
        "feasible": len(good) / 100,
        "distinct": len({problem.space.key(a) for a in drawn}) / 100,
        "mean": float(np.mean([(goal[0] - u) / (goal[0] - goal[1]) for u in good])) if good else 1.0,
        "seconds": seconds,
    }


def main() -> None:
    """Print one table per problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--problem", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument(
        "--searcher", nargs="+", choices=[*SEARCHERS, "family"], default=[*SEARCHERS, "family"]
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--evaluations", type=int, default=200)
    options = parser.parse_args()
    marks = [mark for mark in MARKS if mark <= options.evaluations]
    seeds = range(options.first, options.first + options.seeds)
    for problem in (PROBLEMS[name]() for name in options.problem):
        best, ordinary, share = optimum(problem)
        print(f"\n{problem.name}: {problem.space}, {problem.requirements.text}")
        print(f"  best U {best:.4f}, ordinary feasible U {ordinary:.4f}, feasible share {share:.2%}")
        heading = "".join(f"{f'at {mark}':>18}" for mark in marks)
        print(f"  normalised regret{heading}   seconds", flush=True)
        for name in options.searcher:
            if name == "family":
                continue
            try:
                runs = [trace(problem, name, seed, options.evaluations) for seed in seeds]
            except MissingDependencyError as error:
                print(f"  {name:<17}left out: {error}")
                continue
            table = np.array([regrets for regrets, _ in runs])
            spread = table.std(axis=0, ddof=min(1, len(table) - 1))
            figures = "".join(
                f"{table[:, mark - 1].mean():>10.3f} +-{spread[mark - 1]:.3f}" for mark in marks
            )
            seconds = statistics.mean(seconds for _, seconds in runs)
            print(f"  {name:<17}{figures}{seconds:>10.1f}", flush=True)
        if "family" in options.searcher:
            for seed in seeds[:3]:
                got = family(problem, seed, (best, ordinary), options.evaluations)
                print(
                    f"  generator, seed {seed}: {got['feasible']:.0%} feasible, "
                    f"{got['distinct']:.0%} distinct, mean regret {got['mean']:.3f} over 100 fresh seeds; "
                    f"5 updates {got['seconds']:.1f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
