"""The calls that prove an engine for a range of batches.

TensorRT may choose other kernels for another size, so each end of the range is proved by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.inside_objects import Objects
from edgesynth.deploy.output_check import OutputCheck
from edgesynth.deploy.verify import VerifyReport, verify_outputs

if TYPE_CHECKING:
    from edgesynth.deploy.batch_range import Batches
    from edgesynth.deploy.runners import Arrays

__all__ = ["Trial", "in_every_size"]


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
        wanted = (
            expected.of(origins)
            if isinstance(expected, Objects)
            else {name: expected[name][origins] for name in names}
        )
        by_reference = verify_outputs(blank, wanted, part)
        by_itself = verify_outputs(blank, {name: answers[name][origins] for name in names}, part)
        for check, own in zip(by_reference.outputs, by_itself.outputs, strict=True):
            if check.problem and (own.problem or outputs[check.name].problem):
                bad = None if check.bad_sample is None else int(origins[check.bad_sample])
                said = f"in batch {size}: {check.problem}"
                wrong[check.name].append(replace(check, bad_sample=bad, problem=said, batch=size))
    for name, checks in wrong.items():
        whole = outputs[name]
        if whole.problem and len(checks) < len(trial.repeats):
            said = f"in batch {trial.sizes[-1]}: {whole.problem}"
            outputs[name] = replace(whole, problem=said)
        elif checks and not whole.problem:
            outputs[name] = checks[0]
    return replace(report, outputs=tuple(outputs.values()), problems=(*report.problems, *problems))
