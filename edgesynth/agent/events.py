"""What the agent prints: one JSON object per line, short, and out at once.

The events are listed in ``edgesynth/devices/bench.py``, where the host reads them.
"""

import json
import os
import time
from typing import Any, Dict, List, Optional

from edgesynth.agent.errors import LinkGone

__all__ = ["ALIVE_S", "LONGEST_TEXT", "Outbox", "chunks"]

ALIVE_S = 4.0
"""After so long without an event the agent says that it is alive."""
LONGEST_TEXT = 4000
"""Characters of one text in an event; the rest is cut off."""

_CHUNK = 50  # latencies per event


class Outbox:
    """Where events go.

    Args:
        descriptor: An open file descriptor: standard output, or the file of a job.

    Attributes:
        watched: A descriptor whose end means that the caller is gone; ``None`` if there is no such sign.
        file: Where events go that must be told after this process has ended; empty if there is no such place.
        lock: A descriptor of that file whose lock says that there may still come some; ``None`` without one.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.watched: Optional[int] = None
        self.file = ""
        self.lock: Optional[int] = None
        self._told_s = time.monotonic()

    def tell(self, event: str, **values: Any) -> None:
        """Print one event.

        Raises:
            LinkGone: Nobody reads it.
        """
        write_all(self.descriptor, _line(event, values))
        self._told_s = time.monotonic()

    def leave(self, event: str, **values: Any) -> None:
        """Write one event that nobody hears where whoever comes next will find it, if there is a place."""
        if not self.file:
            return
        try:
            with open(self.file, "ab") as file:
                file.write(_line(event, values))
        except OSError:  # a full disk keeps nothing
            return

    def keep_alive(self) -> None:
        """Say that the work goes on, if nothing else was said for a while."""
        if time.monotonic() - self._told_s > ALIVE_S:
            self.tell("alive")


def _line(event: str, values: Dict[str, Any]) -> bytes:
    told: Dict[str, Any] = {"event": event}
    told.update((key, _short(value)) for key, value in values.items())
    return (json.dumps(told, separators=(",", ":")) + "\n").encode()


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, in as many pieces as it takes.

    Raises:
        LinkGone: Nobody reads it.
    """
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BrokenPipeError:
            raise LinkGone("the link has dropped") from None


def chunks(values: List[float]) -> List[List[float]]:
    """The values in pieces that make short lines."""
    return [values[begin : begin + _CHUNK] for begin in range(0, len(values), _CHUNK)]


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return value[:LONGEST_TEXT] + "..."
    return value
