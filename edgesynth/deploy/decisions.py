"""What a module decides by the values of its inputs, of which a trace holds one outcome alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from edgesynth.errors import InputError, MissingDependencyError, TraceError

if TYPE_CHECKING:
    from edgesynth.deploy.onnx import RuntimeComparison

__all__ = ["refuse_lost_decisions"]

_DECIDES: Final = "to a Python boolean"
_CLOSE: Final = 1e-3
"""Relative to the largest value: another branch is another result, not rounding."""


def refuse_lost_decisions(
    told: Iterable[warnings.WarningMessage],
    module: nn.Module,
    inputs: Sequence[Tensor],
    compare: Callable[[tuple[Tensor, ...]], RuntimeComparison],
) -> None:
    """Refuse a module whose trace gives something else on other inputs; most such decisions are about shapes.

    Args:
        told: What the tracer warned of. Without a decision nothing is run.
        module: What was traced.
        inputs: What it was traced on.
        compare: The file with the module, on some inputs.

    Raises:
        InputError: It does.
    """
    if not any(_DECIDES in str(entry.message) for entry in told):
        return
    for probe in _probes(inputs):
        try:
            differs = any(each.max_abs > _CLOSE * (each.scale or 1.0) for each in compare(probe).outputs)
        except (TraceError, MissingDependencyError):
            continue  # the module itself does not take them, or nothing runs the file here
        except InputError:
            differs = True  # another shape
        if differs:
            raise InputError(
                f"{type(module).__name__} decides by the values of its input, and a file would hold one "
                "outcome alone; write the decision with torch.where, or leave it to the program"
            )


def _probes(inputs: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """The inputs with their signs turned, and noise; whole numbers stay as they are, being indices mostly."""
    generator = torch.Generator().manual_seed(0)
    for change in (torch.neg, lambda value: torch.randn(value.shape, generator=generator).to(value.dtype)):
        yield tuple(change(value.cpu()) if value.is_floating_point() else value for value in inputs)
