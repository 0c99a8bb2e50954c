"""The link to this very machine: commands are child processes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from edgesynth.devices.clock import SystemClock
from edgesynth.devices.link import Completed
from edgesynth.devices.process import Child, ProcessStream
from edgesynth.errors import LinkError
from edgesynth.scratch import Scratch

__all__ = ["LocalLink"]


class LocalLink:
    """This machine as a device.

    Args:
        folder: Work folder for files; a temporary one, removed on :meth:`close`, by default.
    """

    name = "local"

    def __init__(self, folder: Path | None = None) -> None:
        self.clock = SystemClock()
        self._own = Scratch() if folder is None else None
        self._folder = self._own.path if self._own is not None else Path(str(folder))
        self._streams: list[ProcessStream] = []
        self._closed = False

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 30.0) -> Completed:
        """Run one command to its end."""
        self._refuse_when_closed()
        try:
            status, stdout, stderr = Child(command, stdin.encode()).collect(timeout_s)
        except TimeoutError as error:
            raise LinkError(f"{command[0]} did not end within {timeout_s:g} s and was stopped") from error
        return Completed(status, stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    def stream(self, command: Sequence[str], *, stdin: str = "", silence_s: float = 30.0) -> ProcessStream:
        """Start one command and follow its output."""
        self._refuse_when_closed()
        stream = ProcessStream(Child(command, stdin.encode()), self.clock, silence_s)
        self._streams = [*(open_ for open_ in self._streams if open_.running), stream]
        return stream

    def put(self, source: Path, target: str) -> None:
        """Copy a file into the work folder."""
        self._refuse_when_closed()
        try:
            place = Path(self.path(target))
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
        except OSError as error:
            raise LinkError(f"cannot copy {source} to {target!r}: {error.strerror}") from error

    def get(self, source: str, target: Path) -> None:
        """Copy a file out of the work folder."""
        self._refuse_when_closed()
        try:
            shutil.copyfile(self.path(source), target)
        except OSError as error:
            raise LinkError(f"cannot copy {source!r} to {target}: {error.strerror}") from error

    def path(self, target: str) -> str:
        """The absolute path of a file of the work folder.

        Raises:
            LinkError: The path leads out of the work folder.
        """
        place = (self._folder / target).resolve()
        if not place.is_relative_to(self._folder.resolve()):
            raise LinkError(f"{target!r} leads out of the work folder; give a path inside it")
        return str(place)

    def close(self) -> None:
        """End every child process; remove the work folder if it is our own."""
        if self._closed:
            return
        self._closed = True
        for stream in self._streams:
            stream.close()
        if self._own is not None:
            self._own.close()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise LinkError("the link to this machine is closed; open the device again")
