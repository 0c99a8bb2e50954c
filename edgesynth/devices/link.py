"""How the host reaches a device: run commands there, follow their output, move files.

A link knows nothing of networks, engines or sensors. Everything above it speaks to a program on
the other side, so the same code measures this machine, a board behind ``ssh`` and a simulated one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from edgesynth.devices.clock import Clock

__all__ = ["MAX_LINE_BYTES", "Completed", "Line", "Link", "Stream"]

MAX_LINE_BYTES: Final = 1 << 20
"""A line longer than this ends the stream with an error: nothing we run prints one."""


@dataclass(frozen=True)
class Line:
    """One line of output and when it arrived.

    Attributes:
        at_s: Monotonic seconds on the clock of the link.
        text: The line without its line end; bytes that are not UTF-8 are replaced.
    """

    at_s: float
    text: str


@dataclass(frozen=True)
class Completed:
    """A command that has ended.

    Attributes:
        returncode: Exit status; negative when a signal ended it.
        stdout: Its whole output.
        stderr: Its whole error output.
    """

    returncode: int
    stdout: str
    stderr: str


class Stream(AbstractContextManager["Stream"], Protocol):
    """The output of a running command, line by line; leaving the context ends the command."""

    def __iter__(self) -> Iterator[Line]:
        """Yield lines as they arrive until the command ends.

        Raises:
            LinkError: Nothing arrived for the agreed time, a line is too long, or the link dropped.
        """
        ...

    def close(self) -> Completed:
        """End the command if it still runs; ``stdout`` holds only what was not yet yielded."""
        ...


class Link(Protocol):
    """What every link can do. Every method raises :class:`~edgesynth.errors.LinkError` after ``close``."""

    @property
    def name(self) -> str:
        """How the user asked for it: ``simulated``, ``local``, ``ssh://...``."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock that stamps lines and that waiting for this device passes time on."""
        ...

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 30.0) -> Completed:
        """Run one command to its end; arguments reach it as given, no shell in between.

        Raises:
            LinkError: There is no such command, or it did not end in time (it is killed then).
        """
        ...

    def stream(self, command: Sequence[str], *, stdin: str = "", silence_s: float = 30.0) -> Stream:
        """Start one command and follow its output.

        Args:
            command: Program and arguments.
            stdin: Text the command reads; its input ends after it.
            silence_s: How long the command may print nothing before the stream gives up.

        Raises:
            LinkError: There is no such command.
        """
        ...

    def put(self, source: Path, target: str) -> None:
        """Copy a file of this machine to ``target``, a path relative to the link's work folder.

        Raises:
            LinkError: The file cannot be read here or written there.
        """

    def get(self, source: str, target: Path) -> None:
        """Copy ``source``, relative to the link's work folder, to a file of this machine.

        Raises:
            LinkError: There is no such file there, or it cannot be written here.
        """

    def path(self, target: str) -> str:
        """What a command on the device must be given to open ``target``."""
        ...

    def close(self) -> None:
        """End every stream and let go of the device; closing twice is fine."""
