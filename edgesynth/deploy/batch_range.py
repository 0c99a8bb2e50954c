"""The batches that a network is deployed for, as they are asked for, and what they ask of a file and of data.

An engine for a range has one optimisation profile, by which TensorRT chooses its kernels for the usual batch
and takes every other from the least to the most.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from edgesynth.agent.batches import Batches, batches_of
from edgesynth.agent.dla import NO_RANGE
from edgesynth.errors import DataError, InputError

if TYPE_CHECKING:
    from edgesynth.deploy.runners import Arrays, OnnxRunner
    from edgesynth.deploy.samples import Samples
    from edgesynth.deploy.target import Batch

__all__ = [
    "Batches",
    "exported_batch",
    "fitting",
    "read_batches",
    "refuse_range",
    "refuse_shared_outputs",
]

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


def refuse_shared_outputs(runner: OnnxRunner, data: Arrays) -> None:
    """Nothing, unless outputs have no row for each sample, which an engine for a range has to give.

    Args:
        runner: A network with a free batch.
        data: Two samples at the least.

    Raises:
        InputError: They have not.
    """
    for samples in (1, 2):
        made = runner({name: value[:samples] for name, value in data.items()})
        for name, value in made.items():
            if value.shape[:1] != (samples,):
                shape = "x".join(map(str, value.shape)) or "a single number"
                raise InputError(
                    f"output {name!r} of {runner.name} is {shape} for {samples} samples, and an engine for a "
                    "range of batches needs a row for each; give one --batch, or leave the output out of the "
                    "export"
                )


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
