"""Scoring a network: run it over a split and let the task's judge listen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgesynth.errors import InputError
from edgesynth.tasks.protocol import Batch, Judge, Outputs, Score, Split
from edgesynth.tasks.trees import moved

__all__ = ["Scored", "bootstrap_interval", "score", "share_interval"]

_DRAWS = 400


class _Judging(Protocol):
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
    judge = task.judge(split)
    module.eval()
    try:
        with torch.inference_mode():
            for batch in task.batches(split, batch_size=batch_size, limit=limit):
                outputs: Outputs = module(batch.inputs.to(device))
                judge.add(moved(outputs, torch.device("cpu")), batch)
    finally:
        module.train(was_training)
    return judge.score()


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


def share_interval(statistic: Callable[[NDArray[np.int64]], float], samples: int) -> tuple[float, float]:
    """:func:`bootstrap_interval` of a share; all of 0 to 1 for one sample, which says nothing of others.

    Args:
        statistic: See there.
        samples: See there.
    """
    return bootstrap_interval(statistic, samples) if samples > 1 else (0.0, 1.0)
