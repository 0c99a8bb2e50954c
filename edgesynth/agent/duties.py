"""What the guard does when the agent is gone: the last change is undone first, and looked at afterwards.

Exit statuses do not tell whether a board is as it was: ``nvpmodel`` ends with 0 where a mode needs a reboot.
So mode and clocks are read again, and the complaint says what they are now.

A board may lose its power, and whoever kills the agent may kill the guard too. So what is to be put back is
in a file as well, until it is; whoever comes next does what is found there.
"""

import json
import os
import shutil
import signal
import sys
from typing import Any, Dict, List, Optional

from edgesynth.agent.board import read_text, run
from edgesynth.agent.ending import end_group
from edgesynth.agent.guard import PATIENCE_S
from edgesynth.agent.modes import current_mode, other_clocks, other_mode

__all__ = ["make_up", "serve", "unfinished"]


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
    complaint = "; ".join(filter(None, map(_do, reversed(duties))))
    if file:
        _forget(unfinished(file))
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


def make_up(path: str) -> str:
    """Do what a guard has left in its file, if it still is to be done; returns what went wrong.

    Clocks are free after a restart, but a power mode stays. One that was changed since is left alone.
    """
    try:
        with open(path) as file:
            kept = json.load(file)
    except (OSError, ValueError):  # there is none, or the power went away while it was written
        _forget(path)
        return ""
    problems = []
    for duty in reversed(kept["duties"]):
        if "mode" in duty:
            present, _ = current_mode()
            due = present is not None and present.id == duty["to"]
        else:
            due = kept["boot"] == _boot()
        problems += [_do(duty)] if due else []
    _forget(path)
    return "; ".join(filter(None, problems))


def _keep(path: str, duties: List[Dict[str, Any]]) -> None:
    """Write down what changes of the board are to be undone."""
    changes = [duty for duty in duties if "pid" not in duty]  # a number may be another's later
    if not any("command" in duty for duty in changes):
        return
    try:
        with open(path + ".new", "w") as file:
            json.dump({"boot": _boot(), "duties": changes}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".new", path)
    except OSError:  # a full disk keeps nothing
        return


def _forget(path: str) -> None:
    for place in (path, path + ".new"):
        try:
            os.remove(place)
        except OSError:
            continue


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
