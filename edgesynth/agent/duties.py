"""What the guard does when the agent is gone: the last change is undone first, and looked at afterwards.

Exit statuses do not tell whether a board is as it was: ``nvpmodel`` ends with 0 where a mode needs a reboot.
So mode and clocks are read again, and the complaint says what they are now.

A board may lose its power, and whoever kills the agent may kill the guard too. So what is to be put back is
in a file as well, until it is; whoever comes next does what is found there.
"""

import fcntl
import json
import os
import shutil
import signal
import sys
from typing import Any, Dict, List, Optional, TextIO

from edgesynth.agent.board import read_text, run
from edgesynth.agent.ending import end_group
from edgesynth.agent.modes import current_mode, other_clocks, other_mode

__all__ = ["PATIENCE_S", "forget", "make_up", "put_back", "serve", "unfinished"]

PATIENCE_S = 60.0
"""How long putting everything back may take before the agent goes on without it."""


def serve() -> int:
    """Be the guard: read duties until the agent is gone, then do them."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    duties: List[Dict[str, Any]] = []
    file = ""
    for line in sys.stdin:
        try:
            duty = json.loads(line)
        except ValueError:  # the agent died in the middle of a line
            continue
        if "file" in duty:
            file = duty["file"]
        elif "ended" in duty:
            duties = [other for other in duties if other.get("pid") != duty["ended"]]
        else:
            duties.append(duty)
            if file:
                _keep(unfinished(file), duties)
    complaint = put_back(duties)
    if file:
        forget(unfinished(file))
    try:
        print(complaint, flush=True)
    except OSError:  # the agent is not there to read it
        if complaint and file:
            with open(file, "a") as events:
                events.write("\n")  # the agent may have been killed within a line
                events.write('{{"event":"start","not_put_back":{}}}\n'.format(json.dumps(complaint)))
        return 1
    return 0


def unfinished(file: str) -> str:
    """Where the duties of work are kept until they are done; ``file`` is that of its events."""
    return os.path.splitext(file)[0] + ".undo"


def put_back(duties: List[Dict[str, Any]]) -> str:
    """Do all of them, the newest first; returns what went wrong."""
    return "; ".join(filter(None, map(_do, reversed(duties))))


def make_up(path: str) -> str:
    """Do what a guard has left in its file, if it still is to be done; returns what went wrong.

    Clocks are free after a restart, but a power mode stays. One that was changed since is left alone. So is
    the file of another user, whose commands would be run as this one, and one that somebody is at already.
    """
    try:
        with open(path) as file:
            found = os.fstat(file.fileno())
            if found.st_uid != os.geteuid():
                return ""
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file.fileno()).st_nlink:  # it has just been done
                return ""
            try:
                kept = _read(file)
            except (ValueError, TypeError, KeyError, RecursionError):
                said = "what {} was to put back cannot be read; look at the power mode and the clocks".format(
                    path
                )
            else:
                said = "; ".join(
                    filter(None, [_do_late(duty, kept["boot"]) for duty in kept["duties"][::-1]])
                )
            forget(path)
            return said
    except OSError:  # there is none, or somebody is at it
        return ""


def forget(path: str) -> None:
    """Remove what was kept of duties."""
    for place in (path, path + ".new"):
        try:
            os.remove(place)
        except OSError:
            continue


def _read(file: TextIO) -> Dict[str, Any]:
    """What :func:`_keep` has written.

    Raises:
        ValueError: It is something else; so do ``TypeError`` and ``KeyError`` say.
    """
    kept = json.load(file)
    for duty in kept["duties"]:
        words = [duty["folder"]] if "folder" in duty else duty["command"]
        if not words or not all(isinstance(word, str) for word in words):
            raise ValueError("no command")
        if "mode" in duty and (len(duty["mode"]) != 2 or "to" not in duty):
            raise ValueError("no mode")
    return {"boot": kept["boot"], "duties": kept["duties"]}


def _do_late(duty: Dict[str, Any], boot: Optional[str]) -> str:
    """Do a duty of before, maybe of before a restart, where it still is one; returns what went wrong."""
    if "mode" not in duty:
        return _do(duty) if boot == _boot() else ""
    present, problem = current_mode()
    if present is None:
        return "the board may still be in the power mode of a benchmark that was cut off: {}".format(problem)
    return _do(duty) if present.id == duty["to"] else ""


def _keep(path: str, duties: List[Dict[str, Any]]) -> None:
    """Write down what changes of the board are to be undone."""
    changes = [duty for duty in duties if "pid" not in duty]  # a number may be another's later
    if not any("command" in duty for duty in changes):
        return
    try:
        with open(path + ".new", "w", opener=_open_own) as file:
            json.dump({"boot": _boot(), "duties": changes}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".new", path)
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)  # or the new name may be lost with the power
        finally:
            os.close(folder)
    except OSError:  # a full disk keeps nothing
        return


def _open_own(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _boot() -> Optional[str]:
    return read_text("/proc/sys/kernel/random/boot_id")


def _do(duty: Dict[str, Any]) -> str:
    """Do one duty; returns what went wrong."""
    if "folder" in duty:
        shutil.rmtree(duty["folder"], ignore_errors=True)
        return ""
    if "pid" in duty:
        return end_group(duty["pid"])
    done = run(duty["command"], text="n\n", timeout_s=PATIENCE_S / 2)  # no to the reboot that it may offer
    if "mode" in duty:
        return other_mode(duty["mode"], done)
    if "clocks" in duty:
        return other_clocks(duty["clocks"], done)
    return done.problem
