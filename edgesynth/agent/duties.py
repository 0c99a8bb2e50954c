"""What the guard does when the agent is gone: the last change is undone first, and looked at afterwards.

Exit statuses do not tell whether a board is as it was: ``nvpmodel`` ends with 0 where a mode needs a reboot.
So mode and clocks are read again, and the complaint says what they are now.
"""

import json
import shutil
import signal
import sys
from typing import Any, Dict, List

from edgesynth.agent.board import run
from edgesynth.agent.ending import end_group
from edgesynth.agent.guard import PATIENCE_S
from edgesynth.agent.modes import other_clocks, other_mode

__all__ = ["serve"]


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
    complaint = "; ".join(filter(None, map(_do, reversed(duties))))
    try:
        print(complaint, flush=True)
    except OSError:  # the agent is not there to read it
        if complaint and file:
            with open(file, "a") as events:
                events.write("\n")  # the agent may have been killed within a line
                events.write('{{"event":"start","not_put_back":{}}}\n'.format(json.dumps(complaint)))
        return 1
    return 0


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
