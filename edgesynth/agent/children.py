"""Processes that the agent follows line by line, and the one loop in which it waits."""

import glob
import os
import select
import subprocess
import tempfile
import time
from typing import Callable, List, Mapping, Optional

from edgesynth.agent.errors import Interrupted, LinkGone
from edgesynth.agent.events import Outbox
from edgesynth.agent.guard import Guard, end_group, runs

__all__ = ["LineProcess", "wait"]

_LONGEST_LINE = 1 << 16
_TICK_S = 0.5


class LineProcess:
    """A child process whose output is read without ever blocking.

    Args:
        command: Program and arguments.
        guard: Ends the process if the agent cannot.
        takes_input: Whether :meth:`send` will be used.

    Raises:
        OSError: There is no such program.
    """

    def __init__(self, command: List[str], guard: Guard, takes_input: bool = False) -> None:
        self.name = os.path.basename(command[0])
        self._guard = guard
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if takes_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # ended together with whatever it starts
        )
        guard.end(self._process.pid)
        assert self._process.stdout is not None
        self.descriptor = self._process.stdout.fileno()
        os.set_blocking(self.descriptor, False)
        self._rest = b""
        self.open = True

    def send(self, text: str) -> None:
        """Write one line to the process; one that is gone shows in its output."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write((text + "\n").encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return

    def read_lines(self) -> List[str]:
        """The lines that have arrived; ``open`` turns false at the end of the output."""
        try:
            data = os.read(self.descriptor, _LONGEST_LINE)
        except BlockingIOError:
            return []
        if not data:
            self.open = False
            data = b"\n" if self._rest else b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:  # no line of ours: do not keep it
            self._rest = b""
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def finish(self, patience_s: float = 5.0) -> Optional[int]:
        """The status of a process whose output has ended; negative for a signal, ``None`` if it hung."""
        until_s = time.monotonic() + patience_s
        while runs(self._process.pid) and time.monotonic() < until_s:
            time.sleep(0.02)
        hung = runs(self._process.pid)
        self.close()  # also what it started and left behind
        return None if hung else self._process.returncode

    def close(self) -> None:
        """End the process if it still runs."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:  # a closed output ends even what we may not signal, at its next line
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
        self.open = False
        if self._process.returncode is not None:
            return
        end_group(self._process.pid)
        try:
            self._process.wait(timeout=5.0)
            self._guard.ended(self._process.pid)
        except subprocess.TimeoutExpired:  # it is left to the guard
            return

    def cpu_s(self) -> float:
        """Processor time so far, with what it has started; what has ended already does not count."""
        ticks = 0
        for place in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(place) as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:  # it has ended since
                continue
            if int(fields[3]) == self._process.pid:  # its session
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def errors(self) -> str:
        """The end of what it wrote to its error output."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - (1 << 16)))
        return self._errors.read().decode("utf-8", "replace").strip()


def wait(
    handlers: Mapping[LineProcess, Callable[[float, str], None]],
    done: Callable[[], bool],
    outbox: Outbox,
    *,
    until_s: float,
) -> bool:
    """Hand lines to their handlers, stamped on arrival, until something is done or the time is over.

    Args:
        handlers: What to call with (monotonic seconds, line) per process.
        done: Asked after every event and at every tick.
        outbox: Told that the agent is alive; the end of its link ends the wait.
        until_s: Monotonic time at which to stop.

    Returns:
        Whether it was done in time; false too when every process has closed its output.

    Raises:
        LinkGone: The reader of the outbox is gone.
        Interrupted: The input that the outbox watches was closed.
    """
    poll = select.poll()
    poll.register(outbox.descriptor, 0)  # tells hang-ups and errors only
    if outbox.watched is not None:
        poll.register(outbox.watched, select.POLLIN)
    by_descriptor = {process.descriptor: process for process in handlers if process.open}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    while not done():
        left_s = until_s - time.monotonic()
        if left_s <= 0 or (handlers and not by_descriptor):
            return False
        for descriptor, _ in poll.poll(1000 * min(left_s, _TICK_S)):
            at_s = time.monotonic()
            if descriptor == outbox.descriptor:
                raise LinkGone("the link has dropped")
            if descriptor == outbox.watched:
                if not os.read(descriptor, 4096):
                    raise Interrupted("the caller closed the input")
                continue
            process = by_descriptor[descriptor]
            for line in process.read_lines():
                handlers[process](at_s, line)
            if not process.open:
                poll.unregister(descriptor)
                del by_descriptor[descriptor]
        outbox.keep_alive()
    return True
