"""What one run of trtexec told: its lines, when calls ran, and how long layers took.

How it tells changed with the versions. Up to 8.4 its file of times holds the calls of the warm-up as well.
From 8.5 on there is no such file where the same run is profiled. In 7.1 asking for the file attaches the
profiler to the calls that are timed, so there what it prints of every call is read instead. Source:
NVIDIA/TensorRT, ``samples/common/sampleReporting.cpp`` and ``samples/trtexec/trtexec.cpp`` of each version.
"""

import json
import re
import subprocess
import time
from collections import deque
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Tuple

from edgesynth.agent.errors import Refusal

__all__ = ["Followed", "Trace", "exported_trace", "follow", "printed_trace", "read_layers"]

_INPUT = re.compile(r"[Ii]nput binding for .+ with dimensions (\d+(?:x\d+)*)")
_CALL = re.compile(r"Average on 1 runs - GPU latency: (\S+) ms")
_WALL = re.compile(r"\bwalltime: (\S+) s")
_LAYER = re.compile(
    r'\{\s*"name"\s*:\s*"(.*?)"\s*,\s*"timeMs"\s*:\s*[^,]*,\s*"averageMs"\s*:\s*([^,\s}]+)', re.DOTALL
)  # by hand: names stand there as they are, quotes and all, and a share of no time is nan, which is no JSON
_STARTED = "Starting inference"
_KEPT_LINES = 400  # of a failure; up to 8.5 its help follows the reason


class Followed(NamedTuple):
    """What one run of trtexec printed.

    Attributes:
        start_s: Monotonic time at which it said that it starts to call.
        shapes: Of its inputs, e.g. ``1x3x32x32``; 7.x does not print them.
        calls_ms: GPU time of every call, where it averages over one.
        wall_s: How long those calls took together, as 7.x counts it.
        said: Its last lines.
        status: How it ended.
    """

    start_s: Optional[float]
    shapes: List[str]
    calls_ms: List[float]
    wall_s: Optional[float]
    said: str
    status: int


class Trace(NamedTuple):
    """When calls ran.

    Attributes:
        start_s: Monotonic time at which it started to call.
        compute_ms: GPU time per call.
        latency_ms: Time per call as trtexec counts it; transfers are left out.
        end_ms: When each call ended, from the start.
    """

    start_s: float
    compute_ms: List[float]
    latency_ms: List[float]
    end_ms: List[float]


def follow(command: List[str]) -> Followed:
    """Run it and read along."""
    start_s, wall_s = None, None
    shapes: List[str] = []
    calls_ms: List[float] = []
    said: Deque[str] = deque(maxlen=_KEPT_LINES)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    for raw in process.stdout:
        line = raw.decode("utf-8", "replace").rstrip()
        if _STARTED in line and start_s is None:
            start_s = time.monotonic()
        shapes += _INPUT.findall(line)
        calls_ms += map(float, _CALL.findall(line))
        for found in _WALL.findall(line):
            wall_s = float(found)
        said.append(line)
    return Followed(start_s, shapes, calls_ms, wall_s, "\n".join(said), process.wait())


def exported_trace(start_s: float, path: str, warm_up_ms: float) -> Trace:
    """The calls in a file of times, without those of the warm-up.

    Raises:
        Refusal: It cannot be read; kind ``tensorrt``.
    """
    try:
        with open(path) as file:
            told: List[Dict[str, Any]] = json.loads(file.read() or "[]")
        calls = [call for call in told if float(call["startComputeMs"]) >= warm_up_ms]
        return Trace(
            start_s,
            [float(call["computeMs"]) for call in calls],
            [float(call["latencyMs"]) for call in calls],
            [float(call["endComputeMs"]) for call in calls],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Refusal("tensorrt", "trtexec's times cannot be read: {!r}".format(error)) from error


def printed_trace(start_s: float, followed: Followed, warm_up_ms: float) -> Trace:
    """The calls of 7.x, which prints them after all have run, and not when: they are spread evenly."""
    calls_ms = followed.calls_ms
    wall_ms = sum(calls_ms) if followed.wall_s is None else 1e3 * followed.wall_s
    ends_ms = [warm_up_ms + wall_ms * number / len(calls_ms) for number in range(1, len(calls_ms) + 1)]
    return Trace(start_s, calls_ms, calls_ms, ends_ms)


def read_layers(path: str) -> List[Tuple[str, float]]:
    """Name and mean time in ms of every layer in a profile: the same keys from 7.1 to 11.

    Raises:
        Refusal: There is none in it; kind ``tensorrt``.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    try:
        layers = [(name, float(ms)) for name, ms in _LAYER.findall(text)]
    except ValueError as error:
        raise Refusal("tensorrt", "trtexec's times of layers cannot be read: {}".format(error)) from error
    if not layers:
        raise Refusal("tensorrt", "trtexec wrote no times of layers: {!r}".format(text[:100]))
    return layers
