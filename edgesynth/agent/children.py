"""Processes that the agent follows line by line, and the one loop in which it waits."""

import glob
import os
import select
import subprocess
import time
from typing import Callable, List, Mapping, Optional

from edgesynth.agent.ending import Terminal, end_group, runs
from edgesynth.agent.errors import Interrupted, LinkGone
from edgesynth.agent.events import Outbox
from edgesynth.agent.guard import Guard
from edgesynth.agent.programs import needs_terminal

__all__ = ["LineProcess", "wait"]

_LONGEST_LINE = 1 << 16
_KEPT_ERRORS = 1 << 16  # bytes, the last
_MOST_READS = 64
_COLLECT_S = 5.0
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
        self._terminal = Terminal() if needs_terminal(command) else None
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if takes_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # ended together with whatever it starts
            preexec_fn=None if self._terminal is None else self._terminal.adopt,  # noqa: PLW1509 - no threads
        )
        guard.end(self._process.pid)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.descriptor = self._process.stdout.fileno()
        self.error_descriptor = self._process.stderr.fileno()
        for descriptor in (self.descriptor, self.error_descriptor):
            os.set_blocking(descriptor, False)
        self._errors = b""
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

    def read_errors(self) -> bool:
        """Take in what has arrived on its error output, a piece at a time; false when none is there."""
        try:
            data = os.read(self.error_descriptor, _KEPT_ERRORS)
        except OSError:  # nothing yet, or closed by us
            return False
        self._errors = (self._errors + data)[-_KEPT_ERRORS:]
        return bool(data)

    def finish(self, patience_s: float = 5.0) -> Optional[int]:
        """The status of a process whose output has ended; negative for a signal, ``None`` if it hung."""
        until_s = time.monotonic() + patience_s
        while runs(self._process.pid) and time.monotonic() < until_s:
            self.read_errors()  # a full pipe would hold it up
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
        if self._process.returncode is None:
            left = end_group(self._process.pid, self._terminal)
            if left:
                self._guard.complain(left)
            self._guard.ended(self._process.pid)
            try:
                self._process.wait(timeout=0.0 if left else _COLLECT_S)
            except subprocess.TimeoutExpired:  # told as left
                pass
        if self._process.stderr is not None and not self._process.stderr.closed:
            self.errors()  # its last words
            self._process.stderr.close()
            self.error_descriptor = -1  # the number may soon be another file's
        if self._terminal is not None:
            self._terminal.hang_up()

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
        for _ in range(_MOST_READS):  # whoever floods it is not waited for
            if not self.read_errors():
                break
        return self._errors.decode("utf-8", "replace").strip()


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
    by_errors = {process.error_descriptor: process for process in by_descriptor.values()}
    for descriptor in list(by_descriptor) + list(by_errors):
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
            if descriptor in by_errors:
                if not by_errors[descriptor].read_errors():  # poll said that there is something: its end
                    poll.unregister(descriptor)
                continue
            process = by_descriptor[descriptor]
            for line in process.read_lines():
                handlers[process](at_s, line)
            if not process.open:
                poll.unregister(descriptor)
                del by_descriptor[descriptor]
        outbox.keep_alive()
    return True
