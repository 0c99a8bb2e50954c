"""Child processes of this machine: fed and read by threads, ended with everything they started."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from edgesynth.closing import Closing
from edgesynth.devices.clock import Clock
from edgesynth.devices.link import MAX_LINE_BYTES, Completed, Line
from edgesynth.errors import LinkError

__all__ = ["Child", "ProcessStream"]

_GRACE_S = 2.0  # between asking a program to end and ending it


class Child:
    """One child process in a session of its own, so that what it starts can be ended with it.

    Args:
        command: Program and arguments.
        stdin: What it reads: bytes, or an open file.
        stdout: A file for its output, which is then not read here.
        linger_s: ``None`` ends its input after ``stdin``. A number keeps the input open until :meth:`end`,
            and lets the program, for which the end of its input means to stop, do so within that time.
        env: Its environment; this process's own by default.

    Raises:
        LinkError: There is no such program, or it cannot be started with these arguments.
    """

    def __init__(
        self,
        command: Sequence[str],
        stdin: bytes | IO[bytes] = b"",
        *,
        stdout: IO[bytes] | None = None,
        linger_s: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        if not command:
            raise LinkError("the command is empty; give a program and its arguments")
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
                stdout=stdout or subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=env,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LinkError(f"cannot run {command[0]!r} here: {reason}") from error
        # Taken away from the process, whose communicate() would close it.
        self._input, self._process.stdin = self._process.stdin, None
        self._linger_s = linger_s
        self._feeder: threading.Thread | None = None
        if isinstance(stdin, bytes):
            self._feeder = threading.Thread(target=self._feed, args=(stdin,), daemon=True)
            self._feeder.start()

    @property
    def stdout(self) -> IO[bytes]:
        """Its output."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def stderr(self) -> IO[bytes]:
        """Its error output."""
        assert self._process.stderr is not None
        return self._process.stderr

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def collect(self, timeout_s: float) -> tuple[int, bytes, bytes]:
        """Wait for its end.

        Returns:
            Exit status, output (empty when it went to a file) and error output.

        Raises:
            TimeoutError: It did not end in time; it was ended.
        """
        try:
            stdout, stderr = self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        finally:
            status = self.end()
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()
        return status, stdout or b"", stderr

    def end(self) -> int:
        """End it, and whatever it started, if it still runs.

        Returns:
            Its exit status; negative when a signal ended it.
        """
        self._close_input()
        try:
            return self._process.wait(timeout=self._linger_s or 0.05)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            return self._process.wait()

    def _feed(self, text: bytes) -> None:
        assert self._input is not None
        try:
            self._input.write(text)
            self._input.flush()
            if self._linger_s is None:
                self._input.close()
        except OSError:
            return  # the program did not care to read its input

    def _close_input(self) -> None:
        # A feeder that still writes holds the pipe; it is freed when the program ends.
        if self._feeder is not None:
            self._feeder.join(timeout=0.05)
        if self._input is not None and not (self._feeder and self._feeder.is_alive()):
            with contextlib.suppress(OSError):
                self._input.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
            os.killpg(self._process.pid, number)


class ProcessStream(Closing):
    """The output of one child process, read by a thread that stamps every line on arrival.

    A link whose commands run elsewhere refines :meth:`_text`, :meth:`_fault` and :meth:`_status`.

    Args:
        child: The process; ended with the stream.
        clock: Stamps the lines.
        silence_s: How long it may print nothing.
    """

    def __init__(self, child: Child, clock: Clock, silence_s: float) -> None:
        self._child = child
        self._clock = clock
        self._silence_s = silence_s
        self._lines: queue.Queue[Line | LinkError | None] = queue.Queue()
        self._errors: list[bytes] = []
        self._completed: Completed | None = None
        self._threads = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def running(self) -> bool:
        """Whether the program has not ended yet."""
        return self._child.running

    @property
    def errors(self) -> str:
        """The error output so far, its first part when there is much."""
        return b"".join(self._errors).decode(errors="replace")

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
                self._lines.put(None)  # whoever iterates again finds the end at once
                return
            if isinstance(line, LinkError):
                self.close()
                raise line
            yield line

    def close(self) -> Completed:
        """End the program if it still runs."""
        if self._completed is not None:
            return self._completed
        returncode = self._child.end()
        for thread, pipe in zip(self._threads, (self._child.stdout, self._child.stderr), strict=True):
            thread.join(timeout=_GRACE_S)
            if not thread.is_alive():  # else something that left the session still holds the pipe
                pipe.close()
        rest = []
        while not self._lines.empty():
            line = self._lines.get()
            if isinstance(line, Line):
                rest.append(line.text + "\n")
        self._lines.put(None)
        self._completed = Completed(self._status(returncode), "".join(rest), self.errors)
        return self._completed

    def _text(self, raw: bytes) -> str | None:
        """The line that these bytes are, or ``None`` when the program did not mean them as one."""
        return raw.decode(errors="replace").rstrip("\r\n")

    def _fault(self) -> LinkError | None:
        """What was wrong, now that the output has ended."""
        return None

    def _status(self, returncode: int) -> int:
        """The exit status of the command, given that of the child."""
        return returncode

    def _read(self) -> None:
        while raw := self._child.stdout.readline(MAX_LINE_BYTES + 1):
            if len(raw) > MAX_LINE_BYTES:
                self._lines.put(LinkError(f"a line of output is longer than {MAX_LINE_BYTES} bytes"))
                return
            at_s = self._clock.monotonic()
            text = self._text(raw)
            if text is not None:
                self._lines.put(Line(at_s, text))
        self._lines.put(self._fault())

    def _read_errors(self) -> None:
        kept = 0
        while raw := self._child.stderr.read1(4096):  # type: ignore[attr-defined]
            if kept < MAX_LINE_BYTES:
                self._errors.append(raw)
                kept += len(raw)
