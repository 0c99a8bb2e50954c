"""What an engine does besides its network, as its bundle says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Inside"]

_OF_GRAPH: Final = ("names", "levels", "cells", "suppressed", "left")
"""What an answer says of a detector's graph, besides the task's postprocessing."""


@dataclass(frozen=True)
class Inside:
    """What is inside a graph, as a bundle's ``processing.json`` says it.

    Attributes:
        normalisation: ``mean``, ``std`` and ``scale`` of what is done before the network; ``None`` where
            samples come normalised.
        answer: The task's postprocessing that is done behind the network, and ``names`` of the outputs that
            it makes; ``None`` where the network's own come out. Of a detector, ``suppressed`` says whether
            overlaps are, and ``left`` why they are not.
    """

    normalisation: Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = None

    @classmethod
    def told(cls, processing: Mapping[str, Any]) -> Inside | None:
        """That of a bundle, by its ``processing.json``; ``None`` where nothing is inside."""
        known = processing.get("inside")
        return cls(known.get("normalise"), known.get("answer")) if isinstance(known, dict) else None

    def to_json(self) -> dict[str, Any]:
        """Plain data, which :meth:`told` reads."""
        return {"normalise": self.normalisation, "answer": self.answer}

    @property
    def says(self) -> str:
        """What the engine does itself, in a line."""
        done = [] if self.normalisation is None else ["stored values are normalised"]
        if self.answer is not None:
            done.append(f"the {self.answer['kind']} is answered: {', '.join(self.answer['names'])}")
            if self.answer.get("left"):
                done.append(f"overlapping boxes are left to runner.py: {self.answer['left']}")
        return "; ".join(done)

    @property
    def of_cells(self) -> Inside:
        """What is inside before overlaps are suppressed."""
        if self.answer is None or not self.answer.get("suppressed"):
            return self
        return Inside(self.normalisation, {**self.answer, "names": self.answer["cells"], "suppressed": False})

    @property
    def postprocessing(self) -> dict[str, Any] | None:
        """What is left to be done with the outputs; ``None`` where no answer is inside."""
        if self.answer is None:
            return None
        if self.answer["kind"] == "detection":
            rest = {key: value for key, value in self.answer.items() if key not in _OF_GRAPH}
            return {**rest, "head": "suppressed" if self.answer.get("suppressed") else "decoded"}
        return {"kind": self.answer["kind"], "inside": True, "outputs": list(self.answer["names"])}
