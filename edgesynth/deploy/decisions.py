"""What a module does in Python with the values of its inputs, of which a trace holds one outcome alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from edgesynth.errors import InputError, MissingDependencyError, TraceError

__all__ = ["refuse_lost_decisions"]

_TAKEN: Final = "might cause the trace to be incorrect"
"""The tracer, of a value that became a truth value or a number of Python's."""
_CLOSE: Final = 1e-3
"""Relative to the largest value: another branch is another result, not rounding."""


def refuse_lost_decisions(
    told: Iterable[warnings.WarningMessage],
    module: nn.Module,
    inputs: Sequence[Tensor],
    worst: Callable[[tuple[Tensor, ...]], float],
) -> None:
    """Refuse a module whose trace gives something else on other inputs; most such values are of shapes.

    Args:
        told: What the tracer warned of. Where no value was taken, nothing is run.
        module: What was traced.
        inputs: What it was traced on.
        worst: How far the file is from the module on some inputs, relative to the largest value.

    Raises:
        InputError: It does.
    """
    if not any(_TAKEN in str(entry.message) for entry in told):
        return
    for probe in _probes(inputs):
        try:
            differs = worst(probe) > _CLOSE
        except (TraceError, MissingDependencyError):
            continue  # the module itself does not take them, or nothing runs the file here
        except InputError:
            differs = True  # another shape
        if differs:
            raise InputError(
                f"{type(module).__name__} decides or computes in Python by the values of its input, and a "
                "file would hold one outcome alone; write that with tensors (torch.where), or leave it to "
                "the program"
            )


def _probes(inputs: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """The inputs with their signs turned, and small and large noise of opposite signs.

    Whole numbers stay as they are, being indices mostly.
    """
    floating = [value.is_floating_point() for value in inputs]
    yield tuple(-value.cpu() if turns else value for value, turns in zip(inputs, floating, strict=True))
    for scale in (0.1, -10.0):
        generator = torch.Generator().manual_seed(0)
        yield tuple(
            (scale * torch.randn(value.shape, generator=generator)).to(value.dtype) if turns else value
            for value, turns in zip(inputs, floating, strict=True)
        )
