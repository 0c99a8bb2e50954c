"""A second process that undoes what the agent did to the board, however the agent ends.

The agent may be killed in a way it cannot handle (by the memory killer, by a dropped session), so putting
clocks and power mode back and ending a sensor's process is not its own duty: it writes every such duty to the
guard beforehand. When the pipe between them closes, the guard does what is left, the newest first, and ends.
There is no other way to put things back, so what is used after a kill is used, and tested, every time.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Dict, List, Optional, Type

from edgesynth.agent.board import as_root, communicate, run

__all__ = ["Guard", "end_group", "runs", "serve"]

_PATIENCE_S = 60.0
_GRACE_S = 1.0  # between asking a process to end and ending it


class Guard:
    """The agent's end of the pipe; the process is started by the first duty."""

    def __init__(self) -> None:
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._duties = 0
        self.complaint = ""

    def undo(self, command: List[str]) -> None:
        """Have a command run at the end."""
        self._send({"command": command})

    def end(self, pid: int) -> None:
        """Have a process that leads its own group ended, if it still runs at the end."""
        self._send({"pid": pid})

    def ended(self, pid: int) -> None:
        """The process has ended: its number may soon be another's."""
        self._send({"ended": pid})

    def remove(self, path: str) -> None:
        """Have a folder of our own removed at the end."""
        self._send({"folder": path})

    def close(self) -> None:
        """Have everything done now; what failed is in ``complaint`` afterwards."""
        if self._process is None:
            return
        process, self._process = self._process, None
        try:
            out, _ = communicate(process, None, _PATIENCE_S)
            self.complaint = out.decode("utf-8", "replace").strip()
        except subprocess.TimeoutExpired:  # it goes on without us
            self.complaint = "putting the board back takes longer than {:g} s".format(_PATIENCE_S)

    def __enter__(self) -> "Guard":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def _send(self, duty: Dict[str, Any]) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, sys.argv[0], "_guard"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # what ends the agent's group must not end it
            )
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(duty) + "\n").encode())
        self._process.stdin.flush()


def serve() -> int:
    """Be the guard: read duties until the agent is gone, then do them."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    duties: List[Dict[str, Any]] = []
    for line in sys.stdin:
        try:
            duty = json.loads(line)
        except ValueError:  # the agent died in the middle of a line
            continue
        if "ended" in duty:
            duties = [other for other in duties if other.get("pid") != duty["ended"]]
        else:
            duties.append(duty)
    complaints = [complaint for complaint in map(_do, reversed(duties)) if complaint]
    try:
        print("; ".join(complaints), flush=True)
    except OSError:  # the agent is not there to read it
        return 1
    return 0


def _do(duty: Dict[str, Any]) -> str:
    """Do one duty; returns what went wrong."""
    if "command" in duty:
        return run(duty["command"], timeout_s=_PATIENCE_S / 2).problem
    if "folder" in duty:
        shutil.rmtree(duty["folder"], ignore_errors=True)
        return ""
    return end_group(duty["pid"])


def end_group(leader: int) -> str:
    """Ask a process and whatever it started to end, then end them; returns what went wrong."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(leader, number)
        except ProcessLookupError:
            return ""
        except PermissionError:  # started through sudo
            command = as_root(["kill", "-{}".format(int(number)), "--", "-{}".format(leader)])
            if command is not None:
                run(command)
        until = time.monotonic() + _GRACE_S
        while runs(leader) and time.monotonic() < until:
            time.sleep(0.02)
    return "process {} could not be ended".format(leader) if runs(leader) else ""


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not yet collected by its parent does not."""
    try:
        with open("/proc/{}/stat".format(pid)) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False
