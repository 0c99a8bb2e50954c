"""What ends a command early: Ctrl-C, SIGTERM of a CI system, SIGHUP of a terminal that is closed.

All of them take the way out of Ctrl-C: what is being done is given up where it stands, and every ``with``
block on the way is left, which ends processes, gives boards back and removes temporary folders.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Final, Self

__all__ = ["Interruption"]

_KEPT: Final = {
    "bench": "the device was given back, and engines that a board has built are kept there",
    "deploy": "what is installed is whole, and engines that the board has built are kept there",
    "export": "a file that was there is whole, the old one or the new one",
    "generate": "networks that were written whole are kept",
    "report": "a report that was there is whole, the old one or the new one",
    "run": "the device was given back",
}
"""What remains of a command that was interrupted, by its name; a synthesis tells how to go on with it."""


_TIDYING_S: Final = 30.0


class Interruption:
    """Turns signals into ``KeyboardInterrupt`` inside a ``with`` block, and knows which one came.

    The first one does, and others half a minute later: a CI system that asks twice must not cut short how the
    first one is obeyed, but Python drops what is raised while it collects garbage. A person can, since Ctrl-C
    stays what it is. A signal that this process is to ignore (``nohup``) is ignored.

    Attributes:
        verb: The command that runs; empty until it is known.
    """

    def __init__(self) -> None:
        self.verb = ""
        self._number = signal.SIGINT
        self._obeyed_s = -_TIDYING_S
        self._before: dict[signal.Signals, object] = {}

    @property
    def came(self) -> bool:
        """Whether a signal other than Ctrl-C came."""
        return self._number != signal.SIGINT

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal, as shells count."""
        return 128 + self._number

    @property
    def says(self) -> str:
        """One line: what was interrupted, by what, and what was kept."""
        how = "interrupted" if self._number == signal.SIGINT else f"stopped by {self._number.name}"
        kept = _KEPT.get(self.verb, "")
        return f"{self.verb} {how}".strip() + (f"; {kept}" if kept else "")

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may have handlers
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._obeyed_s < _TIDYING_S:
            return
        self._number, self._obeyed_s = signal.Signals(number), time.monotonic()
        _leave_closed_terminal()
        raise KeyboardInterrupt


def _leave_closed_terminal() -> None:
    """Write to nowhere from now on where a terminal was that is gone: each write to it would be an error."""
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream)
            os.close(nowhere)
