"""Constrained problems with known optima that searchers are compared on; every figure in them is synthetic.

===========  ====  ===========================================================================================
problem      dims  what it is
===========  ====  ===========================================================================================
cells        6     a table of 15,625 cell networks: six slots of five operators, correlated accuracy, latency
                   and energy with interactions, two device ceilings (in the manner of NAS-Bench-201 with
                   HW-NAS-Bench); optimum by enumeration
cells_tight  6     the same table with ceilings that one network in eight holds
aligned      8     widths of a chain of layers whose latency and energy step with channel alignment; optimum
                   by dynamic programming
widths       10    eight widths and two removable blocks under NetScore with exact MACs and parameters, a
                   stepping latency, an accuracy floor; optimum by long local search
mixed        20    widths, blocks and operators, exact MACs and parameters, noisy accuracy, an energy ceiling
                   and an accuracy floor; optimum by long local search on the noise-free functions
ladder       44    widths, operators and blocks in a chain, noisy accuracy, latency and energy ceilings;
                   optimum by dynamic programming
tower        60    as ladder, deeper and wider
===========  ====  ===========================================================================================
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from edgesynth.space import Architecture, Choice, Space, Switch, Width
from edgesynth.synthesis.performance import NetScore, Performance, as_performance
from edgesynth.synthesis.requirements import Requirements


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
        best: The optimum, where it is known without a search.
        best_within: The optimum under other bounds on the same metrics, where it is known without a search.
    """

    name: str
    space: Space
    requirements: Requirements
    performance: Performance
    truth: Callable[[Architecture], dict[str, float]]
    computed: Callable[[Architecture], dict[str, float]] | None = None
    noise: float = 0.0
    best: float | None = None
    best_within: Callable[[Requirements], float] | None = None

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


def cells(latency_ms: float = 4.0, energy_mj: float = 22.0, name: str = "cells") -> Problem:
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

    requirements = Requirements({"latency_ms": f"<= {latency_ms}", "energy_mj": f"<= {energy_mj}"})
    return Problem(name, space, requirements, as_performance(lambda m: m["accuracy"]), truth)


def cells_tight() -> Problem:
    """The same cells with little room."""
    return cells(2.75, 15.5, "cells_tight")


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


@dataclass(frozen=True)
class _Chain:
    """A chain of dimensions whose costs couple neighbours, so that its optimum is exactly known.

    Attributes:
        space: The dimensions in order.
        loss: Per dimension, the accuracy lost by a pair of value indices ``[before, here]``.
        time: The same for latency, in whole ticks.
        work: The same for energy, in whole ticks.
    """

    space: Space
    loss: tuple[np.ndarray, ...]
    time: tuple[np.ndarray, ...]
    work: tuple[np.ndarray, ...]

    def sums(self, architecture: Architecture) -> tuple[float, int, int]:
        """Loss, time and work of an architecture."""
        index = self.space.encode(architecture)
        pairs = list(zip([0, *index[:-1]], index, strict=True))
        tables = (self.loss, self.time, self.work)
        loss, time, work = (sum(t[a, b] for t, (a, b) in zip(table, pairs, strict=True)) for table in tables)
        return float(loss), int(time), int(work)

    def least_loss(self, most_time: int, most_work: int) -> float:
        """The least loss within both budgets, by dynamic programming over what is spent."""
        best = np.full((1, most_time + 1, most_work + 1), np.inf)
        best[0, 0, 0] = 0.0
        for loss, time, work in zip(self.loss, self.time, self.work, strict=True):
            following = np.full((loss.shape[1], most_time + 1, most_work + 1), np.inf)
            for before in range(len(best)):
                for here in range(loss.shape[1]):
                    t, w = int(time[before, here]), int(work[before, here])
                    if t <= most_time and w <= most_work:
                        kept = best[before, : most_time + 1 - t, : most_work + 1 - w] + loss[before, here]
                        np.minimum(following[here, t:, w:], kept, out=following[here, t:, w:])
            best = following
        return float(best.min())


def _chain(widths: int, kernels: int, blocks: int, step: int, seed: int) -> _Chain:
    """Widths with channel steps, operators and removable blocks, spread along a network."""
    rng = np.random.default_rng(seed)
    kinds = ["width"] * widths + ["kernel"] * kernels + ["block"] * blocks
    order = [kinds[i] for i in rng.permutation(len(kinds))]
    dimensions: list[Width | Choice | Switch] = []
    tables: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    before = 1
    for i, kind in enumerate(order):
        depth = i / len(order)
        if kind == "width":
            dimensions.append(Width(f"w{i}", 8, 64, 8))
            channels = np.arange(8, 65, 8)
            need = 14 + 30 * depth + 8 * rng.random()
            loss = rng.uniform(0.5, 1.5) * np.exp(-1.6 * channels / need)
            # Kernels work on whole tiles of channels: the steps of a device.
            time = np.ceil(channels / step) * rng.uniform(1.0, 2.2)
            work = channels / 8 * rng.uniform(0.6, 1.6)
        elif kind == "kernel":
            dimensions.append(Choice(f"k{i}", ["3x3", "5x5", "dw3x3", "dw5x5"]))
            loss = np.array([0.25, 0.0, 0.55, 0.4]) * rng.uniform(0.5, 1.5) + 0.1 * rng.random(4)
            time = np.array([3.0, 7.0, 1.6, 2.2]) * rng.uniform(0.8, 1.3)
            work = np.array([4.0, 9.0, 1.0, 1.5]) * rng.uniform(0.8, 1.3)
        else:
            dimensions.append(Switch(f"b{i}"))
            loss = np.array([rng.uniform(0.2, 0.8), 0.0])
            time = np.array([0.0, rng.uniform(2.0, 6.0)])
            work = np.array([0.0, rng.uniform(2.0, 5.0)])
        count = len(loss)
        coupling = 0.15 * np.abs(rng.standard_normal((before, count)))
        tables.append(
            (
                loss[None, :] + coupling,
                np.round(time[None, :] + rng.uniform(0, 0.6, (before, count))).astype(int),
                np.round(work[None, :] + rng.uniform(0, 0.6, (before, count))).astype(int),
            )
        )
        before = count
    loss, time, work = zip(*tables, strict=True)
    return _Chain(Space(dimensions), loss, time, work)


def _chained(name: str, chain: _Chain, share: float, noise: float) -> Problem:
    """Accuracy to maximise under ceilings at a share of what a network of middling size takes."""
    middle = [chain.sums(chain.space.sample(seed)) for seed in range(200)]
    time, work = (int(share * float(np.median([sums[i] for sums in middle]))) for i in (1, 2))
    scale = 0.25 / float(np.median([sums[0] for sums in middle]))

    def accuracy(loss: float) -> float:
        return 0.96 * math.exp(-scale * loss)

    def truth(a: Architecture) -> dict[str, float]:
        loss, ticks, units = chain.sums(a)
        return {"accuracy": accuracy(loss), "latency_ms": 0.8 + 0.02 * ticks, "energy_mj": 3.0 + 0.1 * units}

    def best_within(requirements: Requirements) -> float:
        most = {item.metric: item.bound for item in requirements}
        ticks, units = (most["latency_ms"] - 0.8) / 0.02, (most["energy_mj"] - 3.0) / 0.1
        return accuracy(chain.least_loss(int(ticks), int(units)))

    bounds = {"latency_ms": f"<= {0.8 + 0.02 * time + 1e-6}", "energy_mj": f"<= {3.0 + 0.1 * work + 1e-6}"}
    best = accuracy(chain.least_loss(time, work))
    score = as_performance(lambda m: m["accuracy"])
    return Problem(
        name, chain.space, Requirements(bounds), score, truth, None, noise, best=best, best_within=best_within
    )


def aligned() -> Problem:
    """Eight widths whose costs step with alignment."""
    return _chained("aligned", _chain(8, 0, 0, 16, seed=1), 0.75, 0.0)


def ladder() -> Problem:
    """Forty-four dimensions: widths, operators and blocks."""
    return _chained("ladder", _chain(24, 12, 8, 16, seed=2), 0.8, 0.002)


def tower() -> Problem:
    """Sixty dimensions."""
    return _chained("tower", _chain(36, 12, 12, 32, seed=3), 0.8, 0.002)


@cache
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
    best = best if problem.best is None else problem.best
    return best, float(np.mean(first)), share


PROBLEMS: dict[str, Callable[[], Problem]] = {
    make.__name__: make for make in (cells, cells_tight, aligned, widths, mixed, ladder, tower)
}
"""Every problem by name, the small ones first."""
