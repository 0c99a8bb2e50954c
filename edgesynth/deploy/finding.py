"""One thing about a file that matters to one device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Verdict"]

Verdict = Literal["refused", "unknown", "noted"]


@dataclass(frozen=True)
class Finding:
    """One thing about a file that matters to one device.

    Attributes:
        verdict: ``refused``: this release cannot take it. ``unknown``: nobody has said. ``noted``: it is
            taken, with a consequence.
        node: The node it is about; the input or tensor, or ``""`` when it is about the file.
        operator: Its operator; ``""`` when it is about no node.
        reason: Why.
        advice: What to do.
    """

    verdict: Verdict
    node: str
    operator: str
    reason: str
    advice: str
