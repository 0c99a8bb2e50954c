"""How few evaluations the generator-inquisitor pair needs, on three constrained synthetic problems.

    python benchmarks/pair.py [--seeds 5] [--problem cells] [--evaluations 200]

``cells``   a table of 15,625 cell networks: six slots of five operators, correlated accuracy, latency and
            energy with interactions, two tight device ceilings (in the manner of NAS-Bench-201 with
            HW-NAS-Bench); nothing is computed for free; optimum known by enumeration.
``widths``  eight widths and two removable blocks, NetScore, exact MACs and parameters, a latency that
            steps with channel alignment; optimum by long local search.
``mixed``   twenty mixed dimensions, noisy accuracy (0.3 points), an energy ceiling and an accuracy floor;
            optimum of the noise-free functions by long local search.

Every figure is synthetic. Normalised regret is ``(U* - U) / (U* - ordinary feasible U)`` of the best
network found whose noise-free values hold every requirement, 1 where there is none, at most 1. The peers
are uniform random search and regularised evolution (E. Real et al., AAAI 2019; population 20, sample 5,
infeasible networks ranked below feasible ones by violation), with the same computed metrics given.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edgesynth.space import Architecture, Choice, Space, Switch, Width
from edgesynth.synthesis.pair import GeneratorInquisitor
from edgesynth.synthesis.performance import NetScore, Performance, as_performance
from edgesynth.synthesis.requirements import Requirements

MARKS = (50, 100, 200)


@dataclass(frozen=True)
class Problem:
    """A constrained problem with a known optimum.

    Attributes:
        name: Its name in the table.
        space: The dimensions.
        requirements: The bounds.
        performance: The performance function.
        truth: Noise-free metrics of an architecture that have to be paid for.
        computed: Exact metrics that are free, if any.
        noise: Standard deviation of the accuracy a searcher sees.
    """

    name: str
    space: Space
    requirements: Requirements
    performance: Performance
    truth: Callable[[Architecture], dict[str, float]]
    computed: Callable[[Architecture], dict[str, float]] | None = None
    noise: float = 0.0

    def all_metrics(self, architecture: Architecture) -> dict[str, float]:
        """Noise-free metrics, paid for and free."""
        return self.truth(architecture) | (self.computed(architecture) if self.computed else {})

    def standing(self, metrics: Mapping[str, float]) -> tuple[float, float]:
        """Total relative violation, and performance."""
        short = sum(max(0.0, -item.margin(metrics[item.metric])) for item in self.requirements)
        return short, self.performance(metrics)


def wobble(*parts: object) -> float:
    """A fixed pseudo-random number in -1..1 for these parts: what no smooth model can know."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:6]) / 2**47 - 1.0


def cells() -> Problem:
    """Six operator slots on the edges of a four-node cell."""
    operators = ["none", "skip", "conv1x1", "conv3x3", "pool3x3"]
    edges = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    space = Space([Choice(f"op{i}", operators) for i in range(6)])
    power = {"none": 0.0, "skip": 0.12, "conv1x1": 0.62, "conv3x3": 1.0, "pool3x3": 0.06}
    passes = {"none": 0.0, "skip": 1.0, "conv1x1": 0.9, "conv3x3": 0.9, "pool3x3": 0.7}
    time_ms = {"none": 0.0, "skip": 0.08, "conv1x1": 1.1, "conv3x3": 1.55, "pool3x3": 0.95}
    joule = {"none": 0.0, "skip": 0.3, "conv1x1": 4.0, "conv3x3": 10.5, "pool3x3": 1.6}

    def truth(a: Architecture) -> dict[str, float]:
        ops = [str(a[f"op{i}"]) for i in range(6)]
        reach, depth, learned = [1.0, 0.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4
        for (source, target), op in zip(edges, ops, strict=True):
            flow = reach[source] * passes[op]
            reach[target] = 1.0 - (1.0 - reach[target]) * (1.0 - flow)
            if flow > 0:
                depth[target] = max(depth[target], depth[source] + power[op])
                learned[target] += 0.55 * learned[source] + power[op]
        alive = [True, False, False, True]
        alive[1] = ops[0] != "none" and (ops[4] != "none" or (ops[2] != "none" and ops[5] != "none"))
        alive[2] = ops[5] != "none"
        used = [op for (s, t), op in zip(edges, ops, strict=True) if reach[s] > 0 and alive[s] and alive[t]]
        if reach[3] == 0.0:
            accuracy = 0.10
        else:
            shortcut = 0.010 if "skip" in (ops[3], ops[1]) and depth[3] > 1.2 else 0.0
            pools = 0.006 * ops.count("pool3x3")
            deep = 0.012 * max(0.0, depth[3] - 2.4)
            accuracy = (
                0.945 - 0.36 * math.exp(-1.15 * learned[3] * (0.5 + 0.5 * reach[3])) + shortcut - pools - deep
            )
            pairs = [
                ("p", ops[0], ops[5]),
                ("q", ops[1], ops[3]),
                ("r", ops[2], ops[4]),
                ("t", ops[0], ops[2]),
            ]
            accuracy += 0.004 * wobble("a", *ops) + 0.008 * sum(wobble(*pair) for pair in pairs)
        latency = (
            1.3
            + sum(time_ms[op] for op in used)
            + 0.25 * max(depth[1:])
            + 0.15 * wobble("l", *ops)
            + 0.2 * wobble("m", ops[3], ops[5])
        )
        energy = (
            9.0
            + sum(joule[op] for op in used) * (1 + 0.04 * len(used))
            + 1.0 * wobble("e", *ops)
            + 1.5 * wobble("f", ops[0], ops[4])
        )
        return {"accuracy": accuracy, "latency_ms": latency, "energy_mj": energy}

    requirements = Requirements({"latency_ms": "<= 4.0", "energy_mj": "<= 22"})
    return Problem("cells", space, requirements, as_performance(lambda m: m["accuracy"]), truth)


def widths() -> Problem:
    """A chain of eight convolutions and two removable blocks under NetScore."""
    space = Space([Width(f"w{i}", 4, 64, 4) for i in range(8)] + [Switch("b0"), Switch("b1")])
    side = [32, 32, 32, 16, 16, 16, 8, 8]

    def computed(a: Architecture) -> dict[str, float]:
        w = [3] + [int(a[f"w{i}"]) for i in range(8)]
        convs = [9 * w[i] * w[i + 1] for i in range(8)]
        macs = [c * s * s for c, s in zip(convs, side, strict=True)]
        for k, i in enumerate((2, 5)):
            if a[f"b{k}"]:
                convs.append(9 * w[i] * w[i])
                macs.append(convs[-1] * side[i] ** 2)
        return {"macs": float(sum(macs)), "parameters": float(sum(convs) + 10 * w[8])}

    def truth(a: Architecture) -> dict[str, float]:
        w = [int(a[f"w{i}"]) for i in range(8)]
        need = [10, 14, 14, 26, 30, 30, 52, 60]
        loss = sum(0.05 * math.exp(-2.2 * x / n) for x, n in zip(w, need, strict=True))
        loss += 0.03 * math.exp(-min(w[3], w[4]) / 10) + 0.02 * math.exp(-min(w[6], w[7]) / 16)
        accuracy = 0.955 - loss - 0.012 * (not a["b0"]) - 0.009 * (not a["b1"]) + 0.001 * wobble("w", *w)
        padded = [3] + [16 * math.ceil(x / 16) for x in w]
        work = sum(9 * padded[i] * padded[i + 1] * side[i] ** 2 for i in range(8))
        latency = 0.9 + work / 9e6 + 0.25 * bool(a["b0"]) + 0.2 * bool(a["b1"])
        return {"accuracy": accuracy, "latency_ms": latency}

    bounds = {"accuracy": ">= 0.82", "macs": "<= 6M", "latency_ms": "<= 2.6"}
    return Problem("widths", space, Requirements(bounds), NetScore(), truth, computed)


def mixed() -> Problem:
    """Twelve widths, four blocks and four operator slots, with noise."""
    kernels = ["3x3", "5x5", "dw3x3", "dw5x5"]
    space = Space(
        [Width(f"w{i}", 8, 96, 8) for i in range(12)]
        + [Switch(f"b{i}") for i in range(4)]
        + [Choice(f"k{i}", kernels) for i in range(4)]
    )
    side = [32, 32, 32, 16, 16, 16, 16, 8, 8, 8, 4, 4]
    taps = {"3x3": 1.0, "5x5": 25 / 9, "dw3x3": 0.16, "dw5x5": 0.24}
    gain = {"3x3": 0.0, "5x5": 0.006, "dw3x3": -0.009, "dw5x5": -0.005}

    def computed(a: Architecture) -> dict[str, float]:
        w = [3] + [int(a[f"w{i}"]) for i in range(12)]
        convs = [9 * w[i] * w[i + 1] * taps[str(a[f"k{i // 3}"])] for i in range(12)]
        convs += [9 * w[3 * i + 3] ** 2 * bool(a[f"b{i}"]) for i in range(4)]
        sides = [*side, side[2], side[5], side[8], side[11]]
        macs = sum(c * s * s for c, s in zip(convs, sides, strict=True))
        return {"macs": macs, "parameters": sum(convs) + 10 * w[12]}

    def truth(a: Architecture) -> dict[str, float]:
        w = [int(a[f"w{i}"]) for i in range(12)]
        loss = sum(0.028 * math.exp(-2.0 * x / (12 + 4 * i)) for i, x in enumerate(w))
        loss += sum(0.006 * abs(math.log(w[i] / w[i + 1])) ** 2 for i in range(0, 11, 2))
        accuracy = 0.95 - loss + sum(0.006 * bool(a[f"b{i}"]) for i in range(4))
        accuracy += sum(gain[str(a[f"k{i}"])] * (1.4 - 0.2 * i) for i in range(4))
        cost = computed(a)
        wide = sum(str(a[f"k{i}"]).startswith("dw") for i in range(4))
        energy = 6.0 + cost["macs"] / 2.2e6 + 1.4 * wide + 0.8 * sum(bool(a[f"b{i}"]) for i in range(4))
        return {"accuracy": accuracy, "energy_mj": energy}

    bounds = {"accuracy": ">= 0.88", "energy_mj": "<= 20"}
    return Problem("mixed", space, Requirements(bounds), NetScore(), truth, computed, noise=0.003)


def optimum(problem: Problem) -> tuple[float, float, float]:
    """The best feasible performance, an ordinary feasible one, and the feasible share of the space.

    The ordinary one is the median of a space that can be enumerated; in others it is the mean of the
    first feasible network that each of twelve local searches meets.
    """
    space, rng = problem.space, np.random.default_rng(0)
    counts = np.array(space.cardinalities)

    def at(indices: np.ndarray) -> tuple[float, float]:
        return problem.standing(problem.all_metrics(space.decode(indices)))

    if space.size <= 20_000:
        found = [at(np.array(i)) for i in np.ndindex(*counts)]
    else:
        found = [at(rng.integers(0, counts)) for _ in range(4000)]
    feasible = sorted(u for short, u in found if short == 0)
    share = len(feasible) / len(found)
    if space.size <= 20_000:
        return feasible[-1], feasible[len(feasible) // 2], share
    best, first = -math.inf, []
    for _ in range(12):
        here = rng.integers(0, counts)
        score, met = at(here), False
        for _ in range(4000):
            there = here.copy()
            for d in rng.choice(len(counts), int(rng.integers(1, 4)), replace=False):
                there[d] = rng.integers(0, counts[d])
            new = at(there)
            if (-new[0], new[1]) >= (-score[0], score[1]):
                here, score = there, new
            if score[0] == 0 and not met:
                first.append(score[1])
                met = True
        best = max(best, score[1])
    return best, float(np.mean(first)), share


def random_search(problem: Problem, seed: int) -> Iterator[tuple[Architecture, dict[str, float] | None]]:
    """Uniform draws; those the computed bounds rule out are drawn again, at most 2000 times."""
    rng = np.random.default_rng(seed)
    while True:
        for _ in range(2000):
            drawn = problem.space.sample(int(rng.integers(2**62)))
            if inside(problem, drawn):
                break
        yield drawn, None


def evolution(problem: Problem, seed: int) -> Iterator[tuple[Architecture, dict[str, float] | None]]:
    """Regularised evolution: the oldest dies, the best of a sample is mutated in one dimension."""
    rng = np.random.default_rng(seed)
    population: deque[tuple[tuple[float, float], Architecture]] = deque()
    start = random_search(problem, seed)
    while True:
        if len(population) < 20:
            drawn, _ = next(start)
        else:
            parents = [population[i] for i in rng.choice(20, 5, replace=False)]
            parent = max(parents, key=lambda item: item[0])[1]
            for _ in range(200):
                drawn = dict(parent)
                name = problem.space.names[int(rng.integers(len(problem.space)))]
                drawn[name] = problem.space.sample(int(rng.integers(2**62)))[name]
                if drawn != parent and inside(problem, drawn):
                    break
        seen: dict[str, float] = {}
        yield drawn, seen
        short, score = problem.standing(seen)
        population.append(((-short, score), drawn))
        if len(population) > 20:
            population.popleft()


def pair(problem: Problem, seed: int) -> Iterator[tuple[Architecture, dict[str, float] | None]]:
    """The pair, one evaluation at a time."""
    searcher = GeneratorInquisitor(
        problem.space, problem.requirements, problem.performance, seed, problem.computed
    )
    while True:
        drawn = searcher.ask(1)[0]
        seen: dict[str, float] = {}
        yield drawn, seen
        searcher.tell(drawn, {name: seen[name] for name in problem.truth(drawn)})


def inside(problem: Problem, architecture: Architecture) -> bool:
    """Whether the free metrics hold their bounds."""
    if problem.computed is None:
        return True
    free = problem.computed(architecture)
    return all(item.margin(free[item.metric]) >= 0 for item in problem.requirements if item.metric in free)


def trace(
    problem: Problem, searcher: Callable, seed: int, evaluations: int, goal: tuple[float, float]
) -> list[float]:
    """Normalised regret after every evaluation."""
    rng = np.random.default_rng([seed, 99])
    best, out = -math.inf, []
    for step, (drawn, seen) in enumerate(searcher(problem, seed), start=1):
        metrics = problem.all_metrics(drawn)
        short, score = problem.standing(metrics)
        if short == 0:
            best = max(best, score)
        if seen is not None:
            seen.update(metrics)
            seen["accuracy"] += problem.noise * float(rng.standard_normal())
        out.append(min(1.0, (goal[0] - best) / (goal[0] - goal[1])))
        if step == evaluations:
            return out
    raise AssertionError("a searcher never ends")


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
    begun = time.perf_counter()
    for _ in range(5):
        searcher.update()
    seconds = time.perf_counter() - begun
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--problem", choices=["cells", "widths", "mixed"], action="append")
    parser.add_argument("--only", choices=["random", "evolution", "pair", "family"], action="append")
    options = parser.parse_args()
    searchers = {"random": random_search, "evolution": evolution, "pair": pair}
    for make in (cells, widths, mixed):
        if options.problem and make.__name__ not in options.problem:
            continue
        problem = make()
        best, ordinary, share = optimum(problem)
        print(f"\n{problem.name}: {problem.space}, {problem.requirements.text}")
        print(f"  best U {best:.4f}, ordinary feasible U {ordinary:.4f}, feasible share {share:.2%}")
        marks = [mark for mark in MARKS if mark <= options.evaluations]
        print("  normalised regret" + "".join(f"{f'at {mark}':>18}" for mark in marks) + "   seconds")
        for name, searcher in searchers.items():
            if options.only and name not in options.only:
                continue
            begun = time.perf_counter()
            traces = np.array(
                [
                    trace(problem, searcher, s, options.evaluations, (best, ordinary))
                    for s in range(options.seeds)
                ]
            )
            seconds = (time.perf_counter() - begun) / options.seeds
            cells_ = "".join(
                f"{traces[:, m - 1].mean():>10.3f} +-{traces[:, m - 1].std():.3f}" for m in marks
            )
            print(f"  {name:<17}{cells_}{seconds:>10.1f}", flush=True)
        if not options.only or "family" in options.only:
            for s in range(min(3, options.seeds)):
                got = family(problem, s, (best, ordinary), options.evaluations)
                print(
                    f"  generator, seed {s}: {got['feasible']:.0%} feasible, {got['distinct']:.0%} distinct, "
                    f"mean regret {got['mean']:.3f} over 100 fresh seeds; 5 updates {got['seconds']:.1f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
