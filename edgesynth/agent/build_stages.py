"""How far a build is: what the builder says of its stages, where it does, and else how long it has taken.

TensorRT tells of stages from 10 on, to a monitor in its own process. That prints a line for each step of the
outermost stage; the agent hands on a few of them.
"""

import json
import sys
import time
from typing import Any, Callable, Dict

from edgesynth.agent.events import Outbox

__all__ = ["BuildStages", "watch_build"]

_MARK = "edgesynth-stage "
_EVERY_S = 10.0  # at least; the longer a build takes, the less often
_SHARE = 0.1
_STEP_S = 1.0
_MOST = 200  # of stages that are named


def watch_build(tensorrt: Any, config: Any) -> None:
    """Have the builder print its stages; nothing where this TensorRT has no monitor."""
    if not hasattr(tensorrt, "IProgressMonitor") or not hasattr(config, "progress_monitor"):
        return

    class Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc, name-defined, unused-ignore]
        """Prints; TensorRT may call it from several threads."""

        def __init__(self) -> None:
            tensorrt.IProgressMonitor.__init__(self)
            self.steps: Dict[str, int] = {}
            self.printed_s = 0.0

        def phase_start(self, phase_name: str, parent_phase: Any, num_steps: int) -> None:
            """A stage begins; only those that are in no other count."""
            if not parent_phase and len(self.steps) < _MOST:
                self.steps[phase_name] = num_steps
                _print(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            """One step is done; the answer is whether to go on."""
            if phase_name in self.steps and time.monotonic() - self.printed_s > _STEP_S:
                self.printed_s = time.monotonic()
                _print(phase_name, step + 1, self.steps[phase_name])
            return True

        def phase_finish(self, phase_name: str) -> None:
            """A stage ends."""

    config.progress_monitor = Monitor()


def _print(name: str, done: int, steps: int) -> None:
    told = json.dumps({"name": name[:100], "done": done, "steps": steps})
    sys.stdout.write(_MARK + told + "\n")
    sys.stdout.flush()


class BuildStages:
    """Hands on what a builder prints of its stages.

    Args:
        outbox: Told ``stage`` when one begins, and now and then: ``name``, which is empty where nothing is
            known of stages, ``done`` and ``steps`` of it, and the ``seconds`` that the build has taken.
        keep: What is done with all other lines.
    """

    def __init__(self, outbox: Outbox, keep: Callable[[str], None]) -> None:
        self._outbox = outbox
        self._keep = keep
        self._begin_s = self._told_s = time.monotonic()
        self._stage: Dict[str, Any] = {"name": "", "done": 0, "steps": 0}

    def hear(self, at_s: float, line: str) -> None:
        """A line of the builder."""
        if not line.startswith(_MARK):
            self._keep(line)
            return
        before, self._stage = self._stage["name"], json.loads(line[len(_MARK) :])
        if self._stage["name"] != before:
            self._tell()

    def tick(self, *, over: bool) -> bool:
        """Say how far it is, if that is due; gives back whether it is over."""
        now_s = time.monotonic()
        if now_s - self._told_s > max(_EVERY_S, _SHARE * (now_s - self._begin_s)):
            self._tell()
        return over

    def _tell(self) -> None:
        self._told_s = time.monotonic()
        self._outbox.tell("stage", seconds=round(self._told_s - self._begin_s, 1), **self._stage)
