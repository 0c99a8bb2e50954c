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
    """The most samples that calls of these sizes can have, and one call of the most at the least.

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
    count = len(samples)
    while count >= batches.most and not batches.calls(count):
        count -= step
    if count < batches.most:
        raise DataError(
            f"{samples.source} has {len(samples)} samples, the largest call takes {batches.most}; give more "
            "of them"
        )
    return samples.part(0, count)


@dataclass(frozen=True)
class Trial:
    """Calls that prove an engine: all samples, then the first ones again in sizes that those calls lack.

    Attributes:
        samples: How many there are.
        calls: Samples of every call: first the largest ones and what is left, then the usual and the least.
    """

    samples: int
    calls: tuple[int, ...]

    @classmethod
    def of(cls, batches: Batches, samples: int) -> Trial:
        """For an engine, and a number of samples that it can take."""
        calls = batches.calls(samples)
        more = dict.fromkeys((batches.usual, batches.least))
        return cls(samples, (*calls, *(size for size in more if size not in calls)))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that are proved, the least first."""
        return tuple(sorted(set(self.calls)))

    def rows(self, size: int | None = None) -> NDArray[np.int64]:
        """Which rows of what is run belong to calls of a size; all of them by default."""
        ends = np.cumsum(self.calls)
        parts = [
            np.arange(end - call, end)
            for end, call in zip(ends, self.calls, strict=True)
            if size in {None, call}
        ]
        return np.concatenate(parts)

    @property
    def origins(self) -> NDArray[np.int64]:
        """Which sample every row of what is run is of."""
        counted, again = 0, []
        for call in self.calls:
            if counted >= self.samples:
                again.append(np.arange(call))
            counted += call
        return np.concatenate([np.arange(self.samples), *again])

    def given(self, data: Arrays) -> dict[str, NDArray[Any]]:
        """The inputs of all calls, by name."""
        origins = self.origins
        if len(origins) == self.samples:
            return dict(data)
        return {name: value[origins] if value.ndim else value for name, value in data.items()}

    def answers(self, found: Arrays) -> dict[str, NDArray[Any]]:
        """The outputs of every sample, once; what has no row for each is left as it is."""
        total = sum(self.calls)
        return {
            name: value[: self.samples] if value.shape[:1] == (total,) else value
            for name, value in found.items()
        }


def in_every_size(report: VerifyReport, expected: Arrays, found: Arrays, trial: Trial) -> VerifyReport:
    """Judge the outputs of each size of call by itself: a few samples that are wrong do not count for less.

    Args:
        report: The verdict on all samples.
        expected: The reference's outputs of every sample, by name.
        found: The engine's outputs of every row that was run.
        trial: The calls.

    Returns:
        The report; an output that is wrong in some sizes has the first of them in its problem.
    """
    total, outputs = sum(trial.calls), {check.name: check for check in report.outputs}
    names = [
        name
        for name, value in expected.items()
        if name in found and value.shape[:1] == (trial.samples,) and found[name].shape[:1] == (total,)
    ]
    problems = [
        f"{name} is not one value per sample, so it cannot be compared in calls of several sizes"
        for name in outputs
        if name not in names and not outputs[name].problem
    ]
    wrong: dict[str, list[tuple[int, OutputCheck]]] = {name: [] for name in names}
    for size in trial.sizes:
        rows = trial.rows(size)
        origins = trial.origins[rows]
        part = verify_outputs(
            replace(report, outputs=(), problems=()),
            {name: expected[name][origins] for name in names},
            {name: found[name][rows] for name in names},
        )
        for check in part.outputs:
            if check.problem:
                bad = None if check.bad_sample is None else int(origins[check.bad_sample])
                wrong[check.name].append((size, replace(check, bad_sample=bad)))
    for name, checks in wrong.items():
        if checks and (len(checks) < len(trial.sizes) or not outputs[name].problem):
            sizes = ", ".join(str(size) for size, _ in checks)
            says = f"in calls of {sizes} samples, first of {checks[0][0]}: {checks[0][1].problem}"
            outputs[name] = replace(checks[0][1], problem=says)
    return replace(report, outputs=tuple(outputs.values()), problems=(*report.problems, *problems))
