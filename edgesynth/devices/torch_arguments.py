"""What operators of ONNX are given when torch runs them, and that one is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

__all__ = ["Attributes", "Inputs", "Unsupported", "given", "ints", "needed", "require"]

Attributes = Mapping[str, Any]
"""By name; tensors as arrays."""
Inputs = Sequence[Tensor | None]
"""In the order of the specification, ``None`` for those left out."""


class Unsupported(Exception):
    """An operator that torch is not asked to run here, in words."""


def given(inputs: Inputs, index: int) -> Tensor | None:
    """An input, or ``None`` where it is left out."""
    return inputs[index] if index < len(inputs) else None


def needed(inputs: Inputs, index: int) -> Tensor:
    """An input without which there is nothing to compute.

    Raises:
        Unsupported: It is left out.
    """
    value = given(inputs, index)
    if value is None:
        raise Unsupported(f"its input {index} is missing")
    return value


def ints(value: Tensor) -> list[int]:
    """Whole numbers that are sizes, axes or places; on a GPU this waits for it."""
    return [int(number) for number in value.flatten().tolist()]


def require(attributes: Attributes, **defaults: object) -> None:
    """Refuse attributes that are not at the only value that is known here.

    Raises:
        Unsupported: One is not.
    """
    for name, value in defaults.items():
        if attributes.get(name, value) != value:
            raise Unsupported(f"{name} is {attributes[name]!r}")
