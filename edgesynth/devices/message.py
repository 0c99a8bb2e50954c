"""JSON that came from a device, which may be anything: a board prints warnings, and lines are damaged."""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = ["DAMAGED", "read_message"]

DAMAGED: Final = (ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""What reading it, and the values in it, may raise: lists without end, numbers that are none."""


def read_message(text: str) -> dict[str, Any] | None:
    """The object that a text is, or ``None`` when it is none."""
    try:
        message = json.loads(text)
    except DAMAGED:
        return None
    return message if isinstance(message, dict) else None
