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
from edgesynth.agent.modes import clocks_moved, current_mode, other_clocks, other_mode

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
            continue
        duties = _after(duties, duty)
        problem = _keep(unfinished(file), duties) if file else ""
        if "command" in duty:
            if problem:  # it is not changed, so there is nothing to put back
                duties.remove(duty)
            _say(problem)  # empty is no word of a complaint, should nobody read it in time
    complaint = put_back(duties)
    if file:
        forget(unfinished(file))
    if _say(complaint):
        return 0
    if complaint and file:
        with open(file, "a") as events:
            events.write("\n")  # the agent may have been killed within a line
            events.write('{{"event":"start","not_put_back":{}}}\n'.format(json.dumps(complaint)))
    return 1


def _after(duties: List[Dict[str, Any]], told: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The duties once the agent has told of another, or of one of them."""
    if "ended" in told:
        return [duty for duty in duties if duty.get("pid") != told["ended"]]
    if "fixed" in told:
        return [dict(duty, **told) if "clocks" in duty else duty for duty in duties]
    return [*duties, told]


def _say(line: str) -> bool:
    """Whether the agent is there to read a line."""
    try:
        print(line, flush=True)
    except OSError:
        return False
    return True


def unfinished(file: str) -> str:
    """Where the duties of work are kept until they are done; ``file`` is that of its events."""
    return os.path.splitext(file)[0] + ".undo"


def put_back(duties: List[Dict[str, Any]]) -> str:
    """Do all of them, the newest first; returns what went wrong."""
    return "; ".join(filter(None, map(_do, reversed(duties))))


def make_up(path: str) -> str:
    """Do what a guard has left in its file, if it still is to be done; returns what went wrong.

    Clocks are free after a restart, but a power mode stays. What was changed since is left alone. So is
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
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                said = "what {} was to put back cannot be read; look at the power mode and the clocks".format(
                    path
                )
            else:
                # Before anything is done: a power mode brings clocks of its own.
                due = [duty for duty in kept["duties"] if not _undone(duty)]
                said = "; ".join(filter(None, [_do_late(duty, kept["boot"]) for duty in due[::-1]]))
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
        ValueError: It is something else; so do ``TypeError``, ``KeyError`` and ``AttributeError`` say.
    """
    kept = json.load(file)
    for duty in kept["duties"]:
        words = [duty["folder"]] if "folder" in duty else duty["command"]
        if not words or not all(isinstance(word, str) for word in words):
            raise ValueError("no command")
        if "mode" in duty and (len(duty["mode"]) != 2 or "to" not in duty):
            raise ValueError("no mode")
        if any(len(clocks) != 3 for name in ("clocks", "fixed") for clocks in duty.get(name, {}).values()):
            raise ValueError("no clocks")
    return {"boot": kept["boot"], "duties": kept["duties"]}


def _undone(duty: Dict[str, Any]) -> bool:
    """Whether somebody has set the clocks since they were held."""
    return bool(duty.get("fixed")) and clocks_moved(duty.get("clocks", {}), duty["fixed"])


def _do_late(duty: Dict[str, Any], boot: Optional[str]) -> str:
    """Do a duty of before, maybe of before a restart, where it still is one; returns what went wrong."""
    if "mode" not in duty:
        return _do(duty) if boot == _boot() else ""
    present, problem = current_mode()
    if present is None:
        return "the board may still be in the power mode of a benchmark that was cut off: {}".format(problem)
    return _do(duty) if present.id == duty["to"] else ""


def _keep(path: str, duties: List[Dict[str, Any]]) -> str:
    """Write down what changes of the board are to be undone; returns why it could not be done."""
    changes = [duty for duty in duties if "pid" not in duty]  # a number may be another's later
    if not any("command" in duty for duty in changes):
        return ""
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
    except OSError as error:
        return "{}: {}".format(path, error.strerror)
    return ""


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
