"""How processes are ended, those that belong to root too.

A user may not signal what ``sudo`` has started, and the rights that the agent asks for (nvpmodel,
jetson_clocks, tegrastats) hold no ``kill``. But the keys of a terminal become signals of the kernel, which
asks nobody's rights: so whatever runs as root is given a terminal of its own, on which the keys that
interrupt and quit can be pressed, and which hangs up by itself when the agent is gone. (``tegrastats --stop``
would end other people's too.)
"""

import fcntl
import os
import signal
import subprocess
import termios
import time
from typing import Callable, List, Optional, Tuple

from edgesynth.agent.programs import as_root

__all__ = ["Terminal", "end_group", "runs"]

_GRACE_S = 1.0  # between asking a process to end and ending it
_KILL_S = 5.0  # for sudo to run kill
_INTERRUPT, _QUIT = b"\x03", b"\x1c"  # the keys of every new terminal


class Terminal:
    """A terminal for one process and what it starts; without effect where the system has none left."""

    def __init__(self) -> None:
        try:
            self._keys, self._line = os.openpty()
        except OSError:
            self._keys = self._line = -1

    def adopt(self) -> None:
        """In the new process, which leads a session: take it for the controlling one."""
        try:
            fcntl.ioctl(self._line, termios.TIOCSCTTY, 0)
        except OSError:  # it runs without
            return

    def press(self, key: bytes) -> None:
        """Have the kernel send the key's signal to whoever runs in the foreground."""
        if self._keys >= 0:
            try:
                os.write(self._keys, key)
            except OSError:  # nobody has it open any more
                return

    def hang_up(self) -> None:
        """Close it; the leader of its session is sent SIGHUP. Closing twice is fine."""
        for descriptor in (self._keys, self._line):
            if descriptor >= 0:
                os.close(descriptor)
        self._keys = self._line = -1


def end_group(leader: int, terminal: Optional[Terminal] = None) -> str:
    """Ask a process and whatever it started to end, then end them.

    Args:
        leader: The process; it leads its group.
        terminal: Its own, for what runs as root.

    Returns:
        What went wrong; empty when it has ended.
    """
    ask, kill = _signal(leader, signal.SIGTERM), _signal(leader, signal.SIGKILL)
    if terminal is None:
        steps = [ask, kill]
    else:  # sudo is killed late: it hands on what it is sent, and what it has started outlives it
        keys = [lambda: terminal.press(_INTERRUPT), lambda: terminal.press(_QUIT)]
        steps = [ask, *keys, terminal.hang_up, kill]
    steps += [_signal_as_root(leader, number) for number in (signal.SIGTERM, signal.SIGKILL)]
    left: List[int] = []
    started = _descendants(leader)  # asked first: sudo gives what it starts a session of its own
    for step in steps:
        _try(leader, step)
        left = sorted({*_members(leader), *filter(runs, started)})
        if not left:
            return ""
    pids = " ".join(map(str, left))
    return "{} could not be ended; run 'sudo kill -9 {}' on the board".format(
        "processes " + pids if len(left) > 1 else "process " + pids, pids
    )


def _try(leader: int, step: Callable[[], None]) -> None:
    """Do something to end a process, and wait until it has ended or the time of grace is over."""
    try:
        step()
    except (PermissionError, ProcessLookupError):  # it is root's, or gone: there is nothing to wait for
        return
    until_s = time.monotonic() + _GRACE_S
    while runs(leader) and time.monotonic() < until_s:
        time.sleep(0.02)


def _members(leader: int) -> List[int]:
    """What still runs of a process and its group or session."""
    return [pid for pid, state in _states() if state[0] != "Z" and str(leader) in (str(pid), *state[2:4])]


def _descendants(leader: int) -> List[int]:
    """What a process has started, and what that has started."""
    found, states = [leader], _states()
    for parent in found:  # grows meanwhile
        found += [pid for pid, state in states if state[1] == str(parent)]
    return found


def _states() -> List[Tuple[int, List[str]]]:
    """Every process with its :func:`_stat`."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [(pid, state) for pid, state in ((pid, _stat(pid)) for pid in pids) if state]


def _signal(leader: int, number: int) -> Callable[[], None]:
    return lambda: os.killpg(leader, number)


def _signal_as_root(leader: int, number: int) -> Callable[[], None]:
    return lambda: _run_kill(as_root(["kill", "-{}".format(int(number)), "--", "-{}".format(leader)]))


def _run_kill(command: Optional[List[str]]) -> None:
    """Run it where there is sudo; whether it helped shows in the process."""
    if command is None:
        return
    null = subprocess.DEVNULL
    try:
        subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True).wait(_KILL_S)
    except (OSError, subprocess.TimeoutExpired):
        return


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not yet collected by its parent does not."""
    fields = _stat(pid)
    return bool(fields) and fields[0] != "Z"


def _stat(pid: int) -> List[str]:
    """State, parent, group, session and more of what the kernel tells of a process; empty if it is gone."""
    try:
        with open("/proc/{}/stat".format(pid)) as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
