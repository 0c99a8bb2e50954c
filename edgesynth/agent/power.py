"""The power sensor: whichever way this board shows its rails, as a process that prints a line per sample.

``tegrastats`` prints rails to anybody on some releases, to root alone on others, and to nobody on a few; the
INA chips' files are readable to anybody on most. So each way is tried and its first line looked at.
"""

import sys
import time
from typing import List, NamedTuple, Tuple

from edgesynth.agent import ina
from edgesynth.agent.board import as_root, find_program, is_root
from edgesynth.agent.children import LineProcess, wait
from edgesynth.agent.errors import Refusal
from edgesynth.agent.events import Outbox
from edgesynth.agent.guard import Guard
from edgesynth.agent.tegrastats import parse_line

__all__ = ["Intake", "Sensor", "open_sensor", "shortened"]

_MOST_TIMES_RATE = 3.0  # lines per second that are handed on, per line that was asked for
_BURST = 20  # lines that may come at once, after a sensor was held up
_LONGEST_LINE = 2000  # characters; those of a Thor are about 700
_FIRST_LINE_S = 3.0  # and a few intervals: how long the first line may take


class Sensor(NamedTuple):
    """A sensor that runs.

    Attributes:
        way: How it is read: ``tegrastats``, ``sudo tegrastats``, ``sysfs`` or ``sudo sysfs``.
        process: Prints a line per sample; the host's parser of tegrastats lines reads it whatever the way.
        rails: What its first line showed.
    """

    way: str
    process: LineProcess
    rails: Tuple[str, ...]


class Intake:
    """Hands on about as many lines as were asked for, however many a sensor prints.

    Args:
        rate_hz: Lines per second that were asked for.

    Attributes:
        left_out: How many lines were not handed on.
    """

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = _MOST_TIMES_RATE * rate_hz
        self._room = float(_BURST)
        self._at_s = 0.0
        self.left_out = 0

    def takes(self, at_s: float) -> bool:
        """Whether the line that came at this monotonic time is handed on."""
        self._room = min(float(_BURST), self._room + self._rate_hz * (at_s - self._at_s))
        self._at_s = at_s
        if self._room < 1:
            self.left_out += 1
            return False
        self._room -= 1
        return True


def shortened(line: str) -> str:
    """A line without what makes it longer than any board's; what is left ends with a whole field."""
    return line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE].rpartition(" ")[0]


def open_sensor(rate_hz: float, needed: Tuple[str, ...], guard: Guard, outbox: Outbox) -> Sensor:
    """Start the first way of reading power that shows the needed rails.

    Args:
        rate_hz: Samples per second.
        needed: Rails that must be there; any rail will do when there are none.
        guard: Ends the sensor's process if the agent cannot.
        outbox: Told that the agent is alive.

    Raises:
        Refusal: No way shows them; kind ``sensor``, and what each way showed.
    """
    interval_ms = max(1, int(round(1000.0 / rate_hz)))
    told = []
    for way, command in _ways(interval_ms):
        try:
            process = LineProcess(command, guard)
        except OSError as error:
            told.append("{}: {}".format(way, error.strerror))
            continue
        line = _first_line(process, outbox, _FIRST_LINE_S + 5e-3 * interval_ms)
        rails = tuple(parse_line(line).rails)
        if rails and set(needed) <= set(rails):
            return Sensor(way, process, rails)
        process.close()
        said = process.errors().splitlines() or ["no line"]
        told.append("{}: {}".format(way, _shown(line, rails, needed) or said[-1]))
    raise Refusal(
        "sensor",
        "no power rail{} can be read ({}); run as root, let this user run 'sudo -n tegrastats', or make the "
        "INA files below /sys/bus/i2c/devices readable".format(
            "".join(" " + name for name in needed),
            "; ".join(told) or "no tegrastats and no INA chip on this board",
        ),
    )


def _ways(interval_ms: int) -> List[Tuple[str, List[str]]]:
    """What can be tried, the best first: with root rights more clocks are shown."""
    found = []
    tegrastats = find_program("tegrastats")
    if tegrastats is not None:
        found += _with_and_without_root("tegrastats", [tegrastats, "--interval", str(interval_ms)])
    if ina.find_channels():
        command = [sys.executable, sys.argv[0], "_rails", str(interval_ms)]
        found += reversed(_with_and_without_root("sysfs", command))
    return found


def _with_and_without_root(way: str, command: List[str]) -> List[Tuple[str, List[str]]]:
    forced = None if is_root() else as_root(command)
    return ([] if forced is None else [("sudo " + way, forced)]) + [(way, command)]


def _first_line(process: LineProcess, outbox: Outbox, patience_s: float) -> str:
    lines: List[str] = []
    wait(
        {process: lambda at_s, line: lines.append(line)},
        lambda: bool(lines),
        outbox,
        until_s=time.monotonic() + patience_s,
    )
    return lines[0] if lines else ""


def _shown(line: str, rails: Tuple[str, ...], needed: Tuple[str, ...]) -> str:
    """What is wrong with a first line, or nothing if there was none."""
    if not line:
        return ""
    if not rails:
        return "its line holds no rail"
    missing = [name for name in needed if name not in rails]
    return "it shows {} but not {}".format(", ".join(rails), ", ".join(missing))
