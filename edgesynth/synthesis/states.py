"""What a pair saves, and what has to be the same where it is read again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from edgesynth.errors import InputError, RunError

__all__ = ["PairState", "reading", "refuse_another", "under"]


@dataclass(frozen=True)
class PairState:
    """Everything a pair has learned: tensors for a safetensors file, the rest for a JSON file."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def refuse_another(state: PairState, problem: Mapping[str, Any]) -> None:
    """Refuse the state of another problem.

    Args:
        state: Saved.
        problem: What the reading pair was made with, by name, as its own state has it. Only the space and the
            requirements were saved by the first versions.

    Raises:
        InputError: It is no state.
        RunError: It differs.
    """
    if not isinstance(state, PairState) or not isinstance(state.meta, Mapping):
        raise InputError(f"a pair is restored from what state() gave, got {state!r}")
    for name, mine in problem.items():
        saved = state.meta.get(name)
        if name not in state.meta and name not in ("space", "requirements"):
            continue
        # A logarithm may be rounded otherwise on another machine.
        alike = isinstance(mine, float) and isinstance(saved, float) and math.isclose(saved, mine)
        if saved != mine and not alike:
            raise RunError(
                f"the saved state has another {name} than this pair ({_short(saved)}, not {_short(mine)}); "
                "make the pair with the saved one"
            )


@contextmanager
def reading() -> Iterator[None]:
    """Say of a damaged state what is wrong with it.

    Raises:
        RunError: In place of what its parts raise.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise RunError(
            f"the saved state is damaged ({type(error).__name__}: {error}); restore what state() gave, whole"
        ) from error


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
