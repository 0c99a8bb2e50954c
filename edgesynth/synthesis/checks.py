"""Numbers that callers give: read, or refused by name and value."""

from __future__ import annotations

import math
import operator
from typing import SupportsFloat, SupportsIndex

from edgesynth.errors import InputError

__all__ = ["finite", "number", "whole"]


def number(what: str, value: object) -> float:
    """A number, be it not a number or infinite.

    Args:
        what: What the message calls it.
        value: Given; of an array only a single value without axes is a number.

    Raises:
        InputError: It is none.
    """
    if isinstance(value, SupportsFloat) and getattr(value, "ndim", 0) == 0:
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            pass
    raise InputError(f"{what} must be a number, got {value!r}; give a float")


def finite(what: str, value: object, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number within its bounds, both included.

    Raises:
        InputError: It is no number, not finite, or out of its bounds.
    """
    given = number(what, value)
    if not math.isfinite(given):
        raise InputError(f"{what} must be finite, got {value!r}")
    if not least <= given <= most:
        raise InputError(f"{what} must be {_range(least, most)}, got {value!r}")
    return given


def whole(what: str, value: object, least: float = -math.inf, most: float = math.inf) -> int:
    """A whole number within its bounds, both included.

    Raises:
        InputError: It is no integer, or out of its bounds.
    """
    if not isinstance(value, SupportsIndex):
        raise InputError(f"{what} must be a whole number, got {value!r}; give an int")
    try:
        given = operator.index(value)
    except TypeError:
        raise InputError(f"{what} must be a whole number, got {value!r}; give an int") from None
    if not least <= given <= most:
        raise InputError(f"{what} must be {_range(least, most)}, got {given}")
    return given


def _range(least: float, most: float) -> str:
    if most == math.inf:
        return f"at least {least:g}"
    return f"at most {most:g}" if least == -math.inf else f"in {least:g} .. {most:g}"
