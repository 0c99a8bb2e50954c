"""The link to this very machine: commands are child processes."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from edgesynth.devices.clock import SystemClock
from edgesynth.devices.link import MAX_LINE_BYTES, Completed, Line
from edgesynth.errors import LinkError

__all__ = ["LocalLink"]

_GRACE_S = 2.0  # between asking a program to end and ending it


class LocalStream:
    """The output of one child process, read by a thread that stamps every line on arrival."""

    def __init__(
        self, process: subprocess.Popen[bytes], stdin: str, clock: SystemClock, silence_s: float
    ) -> None:
        self._process = process
        self._clock = clock
        self._silence_s = silence_s
        self._lines: queue.Queue[Line | LinkError | None] = queue.Queue()
        self._errors: list[bytes] = []
        self._threads = [
            threading.Thread(target=self._write, args=(stdin,), daemon=True),
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None
        try:
            with self._process.stdin as pipe:
                pipe.write(text.encode())
        except BrokenPipeError:
            return  # the program did not care to read its input

    def _read(self) -> None:
        assert self._process.stdout is not None
        while raw := self._process.stdout.readline(MAX_LINE_BYTES + 1):
            if len(raw) > MAX_LINE_BYTES:
                self._lines.put(LinkError(f"a line of output is longer than {MAX_LINE_BYTES} bytes"))
                break
            text = raw.decode(errors="replace").rstrip("\r\n")
            self._lines.put(Line(self._clock.monotonic(), text))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        kept = 0
        while raw := self._process.stderr.read(4096):
            if kept < MAX_LINE_BYTES:
                self._errors.append(raw)
                kept += len(raw)

    def __iter__(self) -> Iterator[Line]:
        """Yield lines as they arrive."""
        while True:
            try:
                line = self._lines.get(timeout=self._silence_s)
            except queue.Empty:
                self.close()
                raise LinkError(
                    f"the program printed nothing for {self._silence_s:g} s; "
                    "check that the machine is not busy or hung, then repeat"
                ) from None
            if line is None:
                return
            if isinstance(line, LinkError):
                self.close()
                raise line
            yield line

    def close(self) -> Completed:
        """End the program if it still runs."""
        if self._process.poll() is None:
            try:
                self._process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        for thread in self._threads:
            thread.join(timeout=_GRACE_S)
        rest = []
        while not self._lines.empty():
            line = self._lines.get()
            if isinstance(line, Line):
                rest.append(line.text + "\n")
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        return Completed(
            self._process.returncode, "".join(rest), b"".join(self._errors).decode(errors="replace")
        )

    def _signal(self, number: signal.Signals) -> None:
        """Tell the program and whatever it started."""
        with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
            os.killpg(self._process.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class LocalLink:
    """This machine as a device.

    Args:
        folder: Work folder for files; a temporary one, removed on :meth:`close`, by default.
    """

    name = "local"

    def __init__(self, folder: Path | None = None) -> None:
        self.clock = SystemClock()
        self._own = folder is None
        self._folder = Path(tempfile.mkdtemp(prefix="edgesynth-")) if folder is None else Path(folder)
        self._streams: list[LocalStream] = []
        self._closed = False

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 30.0) -> Completed:
        """Run one command to its end."""
        self._refuse_when_closed()
        try:
            done = subprocess.run(
                list(command), input=stdin.encode(), capture_output=True, timeout=timeout_s, check=False
            )
        except OSError as error:
            raise LinkError(f"cannot run {command[0]!r} here: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise LinkError(f"{command[0]} did not end within {timeout_s:g} s and was stopped") from error
        return Completed(
            done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def stream(self, command: Sequence[str], *, stdin: str = "", silence_s: float = 30.0) -> LocalStream:
        """Start one command and follow its output."""
        self._refuse_when_closed()
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # its children are ended with it
            )
        except OSError as error:
            raise LinkError(f"cannot run {command[0]!r} here: {error.strerror}") from error
        stream = LocalStream(process, stdin, self.clock, silence_s)
        self._streams.append(stream)
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
        if self._own:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise LinkError("the link to this machine is closed; open the device again")
