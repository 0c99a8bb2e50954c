"""The batches that a network is deployed for: as they are asked for, and the calls that prove them.

An engine for a range has one optimisation profile, by which TensorRT chooses its kernels for the usual batch
and takes every other from the least to the most. It may choose other kernels for another size, so each end of
the range is proved by itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.agent.batches import Batches, batches_of
from edgesynth.agent.dla import NO_RANGE
from edgesynth.deploy.verify import OutputCheck, VerifyReport, verify_outputs
from edgesynth.errors import DataError, InputError

if TYPE_CHECKING:
    from edgesynth.deploy.runners import Arrays
    from edgesynth.deploy.samples import Samples
    from edgesynth.deploy.target import Batch

__all__ = ["Batches", "Trial", "exported_batch", "fitting", "in_every_size", "read_batches", "refuse_range"]

_ASKED: Final = re.compile(r"(\d{1,6})(?:\.\.(\d{1,6}))?(?:\.\.(\d{1,6}))?")
_NO_GRAPH: Final = (
    "a CUDA graph holds calls of one size, and one for each size takes an execution context of its own, with "
    "its memory; give one --batch, or leave --cuda-graph out"
)


def read_batches(asked: str | int | Sequence[int] | None) -> Batches | None:
    """What is asked for: ``8``, ``1..16`` or ``1..8..16``, a number, or the three numbers; ``None`` for none.

    Without a usual batch the most is the usual one.

    Raises:
        InputError: It is none of them, or the numbers do not rise from 1 on.
    """
    if asked is None:
        return None
    value: Any = asked
    if isinstance(asked, str):
        match = _ASKED.fullmatch(asked.strip())
        numbers = [int(number) for number in match.groups() if number] if match else [0]
        value = numbers if len(numbers) == 3 else [numbers[0], numbers[-1], numbers[-1]]
    try:
        return batches_of(value)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"--batch takes samples per call, such as 8, or LEAST..MOST or LEAST..USUAL..MOST, such as 1..16 "
            f"or 1..8..16, not {asked!r}"
        ) from error


def refuse_range(batches: Batches | None, *, dla_core: int | None, cuda_graph: bool) -> None:
    """Nothing, unless it is a range where an engine can have one size only.

    Raises:
        InputError: It is, for a core of a DLA, or with calls as a CUDA graph.
    """
    if batches is None or batches.fixed:
        return
    if dla_core is not None:
        raise InputError(f"no engine for {batches.text} samples can be built for a DLA: {NO_RANGE}")
    if cuda_graph:
        raise InputError(f"no engine for {batches.text} samples is launched as a CUDA graph: {_NO_GRAPH}")


def exported_batch(batches: Batches | None, own: int) -> Batch:
    """How the file for a board has its batch: free for a range, else as asked for, else its own."""
    if batches is None:
        return own
    return batches.most if batches.fixed else "dynamic"


def fitting(samples: Samples, batches: Batches, step: int = 1) -> Samples:
    """The most samples that prove an engine: whole calls of a fixed size, else one of the most at the least.

    Args:
        samples: Which ones.
        batches: Samples per call.
        step: What their number must be a multiple of.

    Raises:
        DataError: There are fewer.
    """
    if batches.fixed:
        return samples.in_multiples_of(math.lcm(batches.most, step))
    samples = samples.in_multiples_of(step)
    if len(samples) < batches.most:
        raise DataError(
            f"{samples.source} has {len(samples)} samples, the largest call takes {batches.most}; give more "
            "of them"
        )
    return samples


@dataclass(frozen=True)
class Trial:
    """Calls that prove an engine: every sample in calls of the most, and some of them again in smaller ones.

    Attributes:
        samples: How many there are, at least one call of the most.
        calls: The first sample and the number of samples of every call: the largest ones, the last of which
            may begin before the one before it ends, then what is left without that, the usual and the least.
    """

    samples: int
    calls: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, batches: Batches, samples: int) -> Trial:
        """For an engine, and a number of samples that is one call of the most at the least."""
        most, left = batches.most, samples % batches.most
        calls = [(min(start, samples - most), most) for start in range(0, samples, most)]
        smaller = {left: samples - left} if batches.takes(left) else {}
        smaller.update((size, 0) for size in (batches.usual, batches.least) if size < most)
        return cls(samples, (*calls, *((start, size) for size, start in smaller.items())))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that are proved, the least first."""
        return tuple(sorted({size for _, size in self.calls}))

    @property
    def origins(self) -> NDArray[np.int64]:
        """Which sample every row of what is run is of."""
        return np.concatenate([np.arange(start, start + size) for start, size in self.calls])

    @property
    def repeats(self) -> dict[int, NDArray[np.int64]]:
        """The rows of what is run that are of a smaller call, by its size."""
        ends = np.cumsum([size for _, size in self.calls])
        return {
            size: np.arange(end - size, end)
            for end, (_, size) in zip(ends, self.calls, strict=True)
            if size < self.sizes[-1]
        }

    def given(self, data: Arrays) -> dict[str, NDArray[Any]]:
        """The inputs of all calls, by name."""
        origins = self.origins
        return {name: value[origins] if value.ndim else value for name, value in data.items()}

    def answers(self, found: Arrays) -> dict[str, NDArray[Any]]:
        """The outputs of every sample in a largest call; what has no row for each is left as it is."""
        origins = self.origins
        _, rows = np.unique(origins, return_index=True)  # the first, which is of a largest call
        return {
            name: value[rows] if value.shape[:1] == (len(origins),) else value
            for name, value in found.items()
        }


def in_every_size(report: VerifyReport, expected: Arrays, found: Arrays, trial: Trial) -> VerifyReport:
    """Judge the outputs of each smaller size of call by themselves: a few that are wrong count as much.

    They agree when they are what the reference gives, or what the engine gave of the same samples in a call
    of the most, where that is right of all samples: one sample alone may be further off than all are.

    Args:
        report: The verdict on all samples, in calls of the most.
        expected: The reference's outputs of every sample, by name.
        found: The engine's outputs of every row that was run.
        trial: The calls.

    Returns:
        The report; an output that is wrong in some sizes alone has them in its problem.
    """
    outputs = {check.name: check for check in report.outputs}
    answers, rows = trial.answers(found), len(trial.origins)
    names = [
        name
        for name in outputs
        if expected[name].shape[:1] == (trial.samples,) and found[name].shape[:1] == (rows,)
    ]
    problems = [
        f"{name} is not one value per sample, so it cannot be compared in calls of several sizes"
        for name, check in outputs.items()
        if name not in names and not check.problem
    ]
    wrong: dict[str, list[OutputCheck]] = {name: [] for name in names}
    for size, at in trial.repeats.items():
        origins = trial.origins[at]
        part = {name: found[name][at] for name in names}
        blank = replace(report, outputs=(), problems=(), metric=None, acceptance=None)
        by_reference = verify_outputs(blank, {name: expected[name][origins] for name in names}, part)
        by_itself = verify_outputs(blank, {name: answers[name][origins] for name in names}, part)
        for check, own in zip(by_reference.outputs, by_itself.outputs, strict=True):
            if check.problem and (own.problem or outputs[check.name].problem):
                bad = None if check.bad_sample is None else int(origins[check.bad_sample])
                said = f"in batch {size}: {check.problem}"
                wrong[check.name].append(replace(check, bad_sample=bad, problem=said))
    for name, checks in wrong.items():
        whole = outputs[name]
        if whole.problem and len(checks) < len(trial.repeats):
            said = f"in batch {trial.sizes[-1]}: {whole.problem}"
            outputs[name] = replace(whole, problem=said)
        elif checks and not whole.problem:
            outputs[name] = checks[0]
    return replace(report, outputs=tuple(outputs.values()), problems=(*report.problems, *problems))
