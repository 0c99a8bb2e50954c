"""A second process that undoes what the agent did to the board, however the agent ends.

The agent may be killed in a way it cannot handle (by the memory killer, by a dropped session), so putting
clocks and power mode back and ending a sensor's process is not its own duty: it writes every such duty to the
guard beforehand. When the pipe between them closes, the guard does what is left, the newest first, and ends.
There is no other way to put things back, so what is used after a kill is used, and tested, every time. The
process itself is in ``duties.py``.
"""

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Dict, Iterator, List, Optional, Type

from edgesynth.agent import duties
from edgesynth.agent.board import communicate, is_readable
from edgesynth.agent.errors import Interrupted, LinkGone, Refusal
from edgesynth.agent.events import Outbox

__all__ = ["ENDING", "Guard", "guarded"]

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""What ends the work of the agent, but not the putting back."""


_KILLED = "the process that puts the board back was killed; repeat"
_UNWRITTEN = (
    "what is to be put back afterwards cannot be written to {}; nothing was changed; free some space (the "
    "agent's verb clean removes kept engines), or let the agent's folder be written, and repeat"
)


class Guard:
    """The agent's end of the pipe; the process is started by the first duty.

    Args:
        file: Where the process writes its complaint, as an event, when the agent is not there to hear it.
        lock: A descriptor of that file: its lock is held for as long as the process may still write there.
    """

    def __init__(self, file: str = "", lock: Optional[int] = None) -> None:
        self._file = file
        self._lock = lock
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._left: List[str] = []
        self._duties: List[Dict[str, Any]] = []  # of the process, for when it is killed
        self.complaint = ""

    def undo(self, command: List[str], **found: Any) -> None:
        """Have a command run at the end; on return that is on disk.

        Args:
            command: It puts something back.
            found: What must then be as it was: ``mode``, the name and the id of a power mode, and ``to``, the
                id of the one that it is left for; or ``clocks``,
                :func:`~edgesynth.agent.modes.clock_ranges`.

        Raises:
            Refusal: Kind ``disk``: it cannot be written down, so nothing may be changed.
            Interrupted: The process was killed, or does not answer.
        """
        self._add(dict(found, command=command))
        assert self._process is not None
        assert self._process.stdout is not None
        if not is_readable(self._process.stdout, duties.PATIENCE_S):
            raise Interrupted("the process that puts the board back does not answer; repeat")
        answer = self._process.stdout.readline().decode("utf-8", "replace")
        if not answer:
            raise Interrupted(_KILLED)
        if answer.strip():
            self._duties.pop()
            raise Refusal("disk", _UNWRITTEN.format(answer.strip()))

    def fixed(self, clocks: Dict[str, List[str]]) -> None:
        """The clocks are held there now, by :func:`~edgesynth.agent.modes.clock_ranges`.

        Where nobody is left to undo that, whoever comes later can tell whether they were set since.
        """
        self._send({"fixed": clocks})

    def end(self, pid: int) -> None:
        """Have a process that leads its own group ended, if it still runs at the end."""
        self._add({"pid": pid})

    def ended(self, pid: int) -> None:
        """The process has ended: its number may soon be another's."""
        self._duties = [duty for duty in self._duties if duty.get("pid") != pid]
        self._send({"ended": pid})

    def complain(self, problem: str) -> None:
        """Tell at the end what could not be undone."""
        self._left.append(problem)

    def remove(self, path: str) -> None:
        """Have a folder of our own removed at the end."""
        self._add({"folder": path})

    def close(self) -> None:
        """Have everything done now; what failed is in ``complaint`` afterwards."""
        self.complaint = "; ".join(self._left)
        if self._process is None:
            return
        process, self._process = self._process, None
        try:
            out, _ = communicate(process, None, duties.PATIENCE_S)
            said = out.decode("utf-8", "replace").strip()
            if process.returncode != 0:  # somebody has killed it, maybe half way
                said = duties.put_back(self._duties)
                if self._file:
                    duties.forget(duties.unfinished(self._file))
        except subprocess.TimeoutExpired:  # it goes on without us
            said = "putting the board back takes longer than {:g} s; look at it".format(duties.PATIENCE_S)
        self.complaint = "; ".join(filter(None, [*self._left, said]))

    def __enter__(self) -> "Guard":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def _add(self, duty: Dict[str, Any]) -> None:
        self._duties.append(duty)
        self._send(duty)

    def _send(self, duty: Dict[str, Any]) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, sys.argv[0], "_guard"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # what ends the agent's group must not end it
                pass_fds=() if self._lock is None else (self._lock,),
            )
            if self._file:
                self._send({"file": self._file})
        assert self._process.stdin is not None
        try:
            self._process.stdin.write((json.dumps(duty) + "\n").encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Interrupted(_KILLED) from None


@contextmanager
def guarded(outbox: Outbox) -> Iterator[Guard]:
    """A guard whose complaint is told however the work ends: as a ``start``, and with its error.

    Where the link has gone it is left for whoever comes next.
    """
    with Guard(outbox.file, outbox.lock) as guard:
        try:
            yield guard
        except Exception as error:
            _put_back(guard, outbox)
            if guard.complaint and isinstance(error, Refusal) and error.event == "error":
                # All that its reader is shown.
                error.reason += "; and the board is not as it was found: " + guard.complaint
            raise
        _put_back(guard, outbox)


def _put_back(guard: Guard, outbox: Outbox) -> None:
    """Have everything done, undisturbed, and tell what could not be."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    guard.close()
    if not guard.complaint:
        return
    try:
        outbox.tell("start", not_put_back=guard.complaint)
    except LinkGone:
        outbox.leave("start", not_put_back=guard.complaint)
        raise
