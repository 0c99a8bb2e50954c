"""Where a builder on a board stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from edgesynth.devices.link import Line
from edgesynth.devices.message import DAMAGED

__all__ = ["Hear", "Stage", "read_stage"]


@dataclass(frozen=True)
class Stage:
    """What an event ``stage`` of the agent tells.

    Attributes:
        name: As the builder calls it; empty where it tells of no stages.
        done: Steps of it that are done.
        steps: How many there are.
        seconds: Since the build began.
    """

    name: str
    done: int
    steps: int
    seconds: float

    def __str__(self) -> str:
        how_far = f"{self.name}: {self.done} of {self.steps}" if self.steps else self.name
        return f"{how_far}{', ' if how_far else ''}{self.seconds:.0f} s so far"


Hear = Callable[[Stage], None]


def read_stage(line: Line) -> Stage | None:
    """The stage that a line tells of, if it does."""
    if '"stage"' not in line.text:
        return None
    try:
        event = json.loads(line.text)
        if event["event"] != "stage":
            return None
        return Stage(str(event["name"]), int(event["done"]), int(event["steps"]), float(event["seconds"]))
    except DAMAGED:
        return None
