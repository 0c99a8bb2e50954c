"""A precision that a network cannot be deployed in, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Unfit"]


@dataclass(frozen=True)
class Unfit:
    """A precision that the network cannot be deployed in.

    Attributes:
        precision: Which one.
        failures: Why not, one line each.
        where: The first layer that goes wrong; empty where it is not known.
    """

    precision: str
    failures: tuple[str, ...]
    where: str = ""

    @property
    def says(self) -> str:
        """The reason in a sentence."""
        more = f"; and {len(self.failures) - 1} more" if len(self.failures) > 1 else ""
        return f"{self.failures[0]}{more}" + (f"; {self.where} goes wrong first" if self.where else "")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "precision": self.precision,
            "failures": list(self.failures),
            "where": self.where,
            "says": self.says,
        }
