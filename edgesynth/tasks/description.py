"""What a data set is, said in every table and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["DataDescription"]


@dataclass(frozen=True)
class DataDescription:
    """Where data come from and how they were divided.

    Attributes:
        name: What reports call the data set.
        origin: ``real`` (recorded), ``composed`` (real pictures pasted together by a program), ``generated``
            (rendered by a program) or ``user`` (the user's own).
        source: Who made it, or where it was read from.
        licence: The terms it comes under; empty for the user's own.
        sizes: Samples per split.
        division: How the splits were made.
        pictures: What pictures in files were brought to, as ``ImageFormat.to_json`` says it; ``None`` where
            samples were no files of pictures, or nothing is known of it.
    """

    name: str
    origin: Literal["real", "composed", "generated", "user"]
    source: str
    licence: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    division: str = ""
    pictures: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        """One paragraph for a report."""
        kind = {
            "real": "real data",
            "composed": "composed of real pictures, not recorded so",
            "generated": "generated data, not recorded",
            "user": "the user's own data",
        }
        sizes = ", ".join(f"{count:,} {split}" for split, count in self.sizes.items())
        parts = [f"{self.name}: {kind[self.origin]}; {sizes}", f"source: {self.source}"]
        if self.licence:
            parts.append(f"licence: {self.licence}")
        if self.division:
            parts.append(self.division)
        return ". ".join(parts) + "."

    def to_json(self) -> dict[str, Any]:
        """The JSON form that runs and reports use."""
        return {
            "name": self.name,
            "origin": self.origin,
            "source": self.source,
            "licence": self.licence,
            "sizes": dict(self.sizes),
            "division": self.division,
            "pictures": None if self.pictures is None else dict(self.pictures),
        }
