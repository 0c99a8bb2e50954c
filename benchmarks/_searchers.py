"""Searchers that are compared: each yields one architecture after another and is told what it was worth.

A searcher yields ``(architecture, seen)``; by its next turn ``seen`` holds the metrics of that architecture,
with noise. Metrics that are free to compute are known to every searcher beforehand.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from _problems import Problem

from edgesynth.errors import MissingDependencyError
from edgesynth.space import Architecture, Choice, Switch, Value
from edgesynth.synthesis.pair import GeneratorInquisitor

if TYPE_CHECKING:
    import optuna

__all__ = ["REDRAWS", "SEARCHERS", "Turns", "inside", "suggested"]

Turns: TypeAlias = Iterator[tuple[Architecture, dict[str, float]]]

REDRAWS = 50
"""How often a peer may draw again because a free metric rules its proposal out."""


def random_search(problem: Problem, seed: int) -> Turns:
    """Uniform draws; those the computed bounds rule out are drawn again, at most 2000 times."""
    rng = np.random.default_rng(seed)
    while True:
        for _ in range(2000):
            drawn = problem.space.sample(int(rng.integers(2**62)))
            if inside(problem, drawn):
                break
        yield drawn, {}


def evolution(problem: Problem, seed: int) -> Turns:
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


def pair(problem: Problem, seed: int) -> Turns:
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


def _optuna(make: Callable[..., Any], **options: Any) -> Callable[[Problem, int], Turns]:  # noqa: ANN401
    """A sampler of Optuna under the problem's requirements, as constraints."""

    def search(problem: Problem, seed: int) -> Turns:
        try:
            import optuna
        except ImportError as error:
            raise MissingDependencyError("the peers need: pip install 'edgesynth[optuna]'") from error
        optuna.logging.set_verbosity(logging.ERROR)
        sampler = make(optuna.samplers)(seed=seed, **options)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        while True:
            for left in reversed(range(REDRAWS)):
                trial = study.ask()
                drawn = suggested(problem, trial)
                if not left or inside(problem, drawn):
                    break
                # What is free is told for free; it costs the sampler no evaluation.
                _constrain(problem, trial, problem.computed(drawn))
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            seen: dict[str, float] = {}
            yield drawn, seen
            _constrain(problem, trial, seen)
            study.tell(trial, problem.performance(seen))

    return search


def suggested(problem: Problem, trial: optuna.Trial) -> Architecture:
    """The architecture of one of Optuna's trials."""
    drawn: dict[str, Value] = {}
    for dimension in problem.space:
        values = list(dimension.values)
        if isinstance(dimension, Choice | Switch):
            drawn[dimension.name] = trial.suggest_categorical(dimension.name, values)
        else:
            # Widths are ordered; their index is what has even steps.
            drawn[dimension.name] = values[trial.suggest_int(dimension.name, 0, len(values) - 1)]
    return drawn


def _constrain(problem: Problem, trial: optuna.Trial, metrics: Mapping[str, float]) -> None:
    """Tell violations, above 0 when a bound is broken; a metric that is not known breaks none."""
    for item in problem.requirements:
        short = -item.margin(metrics[item.metric]) if item.metric in metrics else 0.0
        trial.set_constraint(item.text, short)


SEARCHERS: dict[str, Callable[[Problem, int], Turns]] = {
    "random": random_search,
    "evolution": evolution,
    "nsga2": _optuna(lambda samplers: samplers.NSGAIISampler, population_size=20),
    "tpe": _optuna(lambda samplers: samplers.TPESampler, multivariate=True),
    "gp": _optuna(lambda samplers: samplers.GPSampler),
    "pair": pair,
}
"""Every searcher by name."""
