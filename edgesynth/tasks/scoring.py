"""Scoring a network: run it over a split and let the task's judge listen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any, Protocol, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgesynth.errors import InputError
from edgesynth.metrics import Metric, impossible
from edgesynth.tasks.protocol import Batch, Judge, Outputs, Score, Split, Task
from edgesynth.tasks.trees import moved

__all__ = [
    "Scored",
    "bootstrap_interval",
    "check_task",
    "judge_of",
    "judged",
    "score",
    "share_interval",
    "whole_score",
]

_DRAWS = 400


class _Judging(Protocol):
    @property
    def metric(self) -> str: ...

    def batches(self, split: Split, *, batch_size: int, limit: int | None = None) -> Iterator[Batch]: ...

    def judge(self, split: Split) -> Judge: ...


class Scored:
    """Gives a task its :meth:`score`; put it among the bases of a task that has batches and a judge."""

    def score(
        self: _Judging, module: nn.Module, split: Split, *, limit: int | None = None, batch_size: int = 128
    ) -> Score:
        """Run ``module`` in evaluation mode over the split and judge it; see :meth:`Task.score`.

        Raises:
            InputError: The module's outputs do not have the shape that the task needs.
        """
        return score(self, module, split, limit=limit, batch_size=batch_size)


def score(
    task: _Judging, module: nn.Module, split: Split, *, limit: int | None = None, batch_size: int = 128
) -> Score:
    """Run a network in evaluation mode over a split, its outputs heard by the task's judge.

    Args:
        task: Gives batches and the judge.
        module: On whichever device it is; its mode is restored.
        split: Whose samples.
        limit: At most this many samples: a fixed representative subset.
        batch_size: Samples of one pass.

    Raises:
        InputError: The module's outputs do not have the shape that the task needs.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    was_training = module.training
    judge = judge_of(task, split)
    module.eval()
    try:
        with torch.inference_mode():
            for batch in task.batches(split, batch_size=batch_size, limit=limit):
                outputs: Outputs = module(batch.inputs.to(device))
                judge.add(moved(outputs, torch.device("cpu")), batch)
    finally:
        module.train(was_training)
    given: object = judge.score()
    return whole_score(given, f"{_named(judge)}.score()", task)


def check_task(task: Task) -> None:
    """Ask a task, perhaps the user's own, for what can be told of it before anything is trained.

    Raises:
        InputError: A split has no number of samples, or no judge; the message names the method.
    """
    for split in get_args(Split):
        size: object = task.size(split)
        if not isinstance(size, Integral) or int(size) < 0:
            got = size if isinstance(size, int | float) else _shown(size)
            raise InputError(
                f"{_named(task)}.size({split!r}) returned {got}; return how many samples the split holds"
            )
        # Nothing is judged by what it was trained on, and a task need not have a judge of that.
        if split != "train":
            judge_of(task, split)


def judge_of(task: _Judging, split: Split) -> Judge:
    """The task's judge of a split, and a word to the author of the task where that is none.

    Args:
        task: Perhaps the user's own.
        split: Whose outputs are to be judged.

    Raises:
        InputError: What the task's ``judge`` returned cannot hear outputs, or cannot score them.
    """
    judge: object = task.judge(split)
    missing = [name for name in ("add", "score") if not callable(getattr(judge, name, None))]
    if missing:
        raise InputError(
            f"{_named(task)}.judge({split!r}) returned {_shown(judge)}, which has no "
            f"{' and no '.join(missing)}; return a judge: an object with add(outputs, batch) and score()"
        )
    return cast("Judge", judge)


def judged(task: Task, module: nn.Module, split: Split, *, limit: int | None = None) -> Score:
    """:meth:`Task.score`, and a word to the author of the task where that is no score.

    Args:
        task: Perhaps the user's own.
        module: See there.
        split: See there.
        limit: See there.

    Raises:
        InputError: What the task's ``score``, or its judge's, returned is no score in the task's metric; or
            the module's outputs do not have the shape that the task needs.
    """
    given: object = task.score(module, split, limit=limit)
    return whole_score(given, f"{_named(task)}.score()", task)


def whole_score(given: object, method: str, task: _Judging) -> Score:
    """A score in the task's metric, and a word to the author of the task where it is none.

    Args:
        given: What came back.
        method: What gave it, in words.
        task: Perhaps the user's own.

    Raises:
        InputError: It is no such score.
    """
    wanted = f"return an edgesynth.tasks.Score whose metric is an edgesynth.Metric named {task.metric!r}"
    if not isinstance(given, Score):
        raise InputError(f"{method} returned {_shown(given)}; {wanted}")
    metric: object = given.metric
    if not isinstance(metric, Metric) or metric.name != task.metric:
        got = f"the metric {metric.name!r}" if isinstance(metric, Metric) else f"{_shown(metric)} as metric"
        raise InputError(f"{method} returned a Score with {got}; {wanted}")
    if wrong := impossible(metric.name, metric.value, metric.interval):
        raise InputError(f"{method} returned {wrong}")
    return given


def _named(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _shown(thing: object) -> str:
    return "None" if thing is None else f"an object of type {type(thing).__name__}"


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float], samples: int, *, draws: int = _DRAWS, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic under resampling of whole samples with replacement.

    B. Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7(1), 1979.

    Args:
        statistic: Its value for a resample, given how often each sample occurs in it, int64 ``[samples]``.
        samples: How many there are.
        draws: How many resamples.
        seed: Decides them, so that equal outputs have equal intervals.

    Raises:
        InputError: There are no samples.
    """
    if samples < 1:
        raise InputError(f"there is no interval of {samples} samples; give at least one")
    generator = np.random.default_rng(seed)
    even: NDArray[Any] = np.full(samples, 1.0 / samples)
    values = [statistic(counts) for counts in generator.multinomial(samples, even, size=draws)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def share_interval(
    scores: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    samples: int,
    shown: NDArray[np.int64],
    *,
    draws: int = _DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % interval of a mean over classes of scores from 0 to 1, of resampled and of unseen samples.

    :func:`bootstrap_interval` draws again what was seen, so that of samples that all went well it is one
    point. Here a share of every resample is of a kind that none of the samples is, and scores 0 towards the
    lower end and 1 towards the upper one. The share is that of one more sample in the Bayesian bootstrap,
    ``Beta(1, n)`` of the ``n`` samples that show a class (D. Rubin, "The Bayesian Bootstrap", Annals of
    Statistics 9(1), 1981), and the same quantile of it for all classes, which often share their samples. Ends
    of this kind are those of N. Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on
    the mean of a nonnegative variable", Mathematical Methods of Statistics 14(4), 2005; of a share of samples
    they are about C. Clopper's and E. Pearson's exact ones (Biometrika 26, 1934), and where all samples agree
    those: ``0.025 ** (1 / n)`` to 1. The interval is never narrower than the bootstrap's.

    Args:
        scores: Of every class for a resample, given how often each sample occurs in it, int64 ``[samples]``;
            ``[classes]``, not a number where the resample does not show the class.
        samples: How many there are; of one the interval is all of 0 to 1.
        shown: How many samples show each class, ``[classes]``.
        draws: How many resamples.
        seed: Decides them, so that equal outputs have equal intervals.

    Raises:
        InputError: There are no samples.
    """
    if samples == 1:
        return 0.0, 1.0
    # Evenly spaced, so that the ends of scores that do not vary are exact.
    kept = iter(np.random.default_rng([seed, 1]).permutation(np.linspace(0.0, 1.0, draws)))
    ends: list[tuple[float, float]] = []

    def statistic(counts: NDArray[np.int64]) -> float:
        seen = next(kept) ** (1.0 / np.maximum(shown, 1))
        each = scores(counts)
        known = ~np.isnan(each)
        least = each[known] * seen[known]
        ends.append((_mean(least), _mean(least + 1.0 - seen[known])))
        return ends[-1][0]

    low, _ = bootstrap_interval(statistic, samples, draws=draws, seed=seed)
    return low, float(np.nanpercentile([high for _, high in ends], 97.5))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
