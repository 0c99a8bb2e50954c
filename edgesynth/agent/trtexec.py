"""TensorRT's own program, for boards whose Python has no TensorRT.

Its options came and went with the versions, so those it has are read from its own help; only what it lists is
used. Times come from its ``--exportTimes`` file, which kept its keys where the printed summary did not.
"""

import functools
import json
import math
import os
import re
import subprocess
import tempfile
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple

from edgesynth.agent.board import find_program, run
from edgesynth.agent.errors import NetworkFailure, Refusal
from edgesynth.agent.failures import classify

__all__ = ["Trtexec", "build_command", "options", "version"]

_INPUT = re.compile(r"[Ii]nput binding for \S+ with dimensions (\d+(?:x\d+)*)")
_BANNER = re.compile(r"\[TensorRT v(\d+)\]")
_UNREADABLE = re.compile(r"serializ|version tag|plan file is not compatible", re.IGNORECASE)
_KINDS = {"<i4": "INT32", "<i8": "INT32", "|b1": "BOOL"}  # before 10 there are no integers of 64 bits
_PROBE_CALLS = 10
_SETTLE_S = 1.0
_STARTED = "Starting inference"


@functools.lru_cache(maxsize=None)
def _help() -> str:
    program = find_program("trtexec")
    if program is None:
        raise Refusal(
            "tensorrt",
            "there is neither tensorrt for Python nor trtexec on this board; install TensorRT of its JetPack",
        )
    done = run([program, "--help"], timeout_s=60.0)
    return done.output + done.errors


def options() -> List[str]:
    """The options this trtexec has.

    Raises:
        Refusal: There is no trtexec.
    """
    return re.findall(r"--\w+", _help())


def version() -> str:
    """Its version, e.g. ``8.2.1``; empty if it does not say (7.x does not) or there is none."""
    try:
        match = _BANNER.search(_help())
    except Refusal:
        return ""
    if match is None:
        return ""
    number = int(match.group(1))
    major, rest = divmod(number, 10000 if number >= 100000 else 1000)  # 100300 is 10.3.0, 8201 is 8.2.1
    return "{}.{}.{}".format(major, rest // 100, rest % 100)


def build_command(
    model: str, plan: str, precision: str, workspace_mb: int, typed: bool, timings: str
) -> List[str]:
    """The command that builds an engine without running it."""
    known = options()
    command = [find_program("trtexec") or "trtexec", "--onnx=" + model, "--saveEngine=" + plan]
    wanted = {
        "fp16": ["--fp16"],
        "int8": ["--int8", "--fp16"],  # layers without INT8 kernels run in FP16
    }.get(precision, [])
    if typed:
        wanted = ["--stronglyTyped"]
    wanted += ["--explicitBatch", "--skipInference" if "--skipInference" in known else "--buildOnly"]
    if "--memPoolSize" in known:
        command.append("--memPoolSize=workspace:{}".format(workspace_mb))
    elif "--workspace" in known:
        command.append("--workspace={}".format(workspace_mb))
    if "--timingCacheFile" in known:
        command.append("--timingCacheFile=" + timings)
    return command + [option for option in wanted if option in known]


class Trace(NamedTuple):
    """What one run of trtexec told.

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


class Trtexec:
    """An engine that trtexec runs.

    Args:
        path: The plan.
        batch: What its inputs must begin with: trtexec fills a free batch with 1 unasked.

    Attributes:
        digits: To how many digits the outputs of the last :meth:`infer` are rounded; 0 where they are exact.
    """

    cuda = "trtexec"

    def __init__(self, path: str, batch: int) -> None:
        self._path = path
        self._batch = batch
        self._program = find_program("trtexec") or "trtexec"
        known = options()
        self._steady: List[str] = [
            option for option in ("--noDataTransfers", "--useSpinWait") if option in known
        ]
        self.memory_bytes = None
        self.digits = 0

    def latencies(self, warm_up_s: float, runs: int, limit_s: float) -> Tuple[List[float], List[float]]:
        """Single calls after a warm-up: GPU times and latencies in ms."""
        probe = self._trace(warm_up_s, _PROBE_CALLS, 0)
        typical_s = max(1e-6, sorted(probe.latency_ms)[len(probe.latency_ms) // 2] / 1e3)
        wanted = max(1, min(runs, int(limit_s / typical_s)))
        trace = self._trace(0.0, wanted, 0)
        return trace.compute_ms[:wanted], trace.latency_ms[:wanted]

    def load(self, seconds: float, count: Callable[[float, int], None]) -> None:
        """Call back to back and count (when, calls so far).

        Its first second is not counted: trtexec takes a while to load the engine, so the time that the host
        leaves for the sensor to settle has passed by then.
        """
        trace = self._trace(0.0, 1, int(math.ceil(seconds + _SETTLE_S)))
        for calls, end_ms in enumerate(trace.end_ms, 1):
            if end_ms >= 1e3 * _SETTLE_S:
                count(trace.start_s + end_ms / 1e3, calls)

    def layers(self, runs: int) -> List[Tuple[str, float]]:
        """Name and mean time in ms of every layer.

        Raises:
            Refusal: This trtexec cannot write them, or they cannot be read.
            NetworkFailure: It failed.
        """
        known = options()
        if "--exportProfile" not in known:
            raise Refusal("tensorrt", "this trtexec has no --exportProfile, so it tells no times of layers")
        handle, path = tempfile.mkstemp(prefix="edgesynth-", suffix=".json")
        os.close(handle)
        wanted = ["--dumpProfile", "--noCudaGraph"]  # a graph is one launch, in which no layer shows
        extra = [option for option in wanted if option in known] + ["--exportProfile=" + path]
        try:
            self._trace(0.0, runs, 0, extra)
            with open(path) as file:
                told = json.loads(file.read() or "[]")
            return [(str(layer["name"]), float(layer["averageMs"])) for layer in told if "name" in layer]
        except (KeyError, TypeError, ValueError) as error:
            raise Refusal(
                "tensorrt", "trtexec's times of layers cannot be read: {!r}".format(error)
            ) from error
        finally:
            os.remove(path)

    def infer(self, inputs: Dict[str, str], folder: str, kinds: Dict[str, str]) -> Dict[str, Any]:
        """Outputs of files, as files, and the inputs that they are of; every call loads the engine anew.

        Args:
            inputs: The ``.npy`` file of every input.
            folder: Where the outputs go.
            kinds: TensorRT's names of the types of outputs, where trtexec does not tell them.

        Raises:
            Refusal: This trtexec has no way to it, or a file does not fit.
            NetworkFailure: The engine does not run.
        """
        from edgesynth.agent.inference import infer_files, told_inputs
        from edgesynth.agent.npy import read_npy
        from edgesynth.agent.trtexec_engine import TrtexecEngine

        types = {name: _KINDS.get(read_npy(path).descr, "FLOAT") for name, path in inputs.items()}
        engine = TrtexecEngine(options(), self._call, self._batch, dict(kinds, **types), folder)
        try:
            self.digits = engine.digits
            outputs = [dict(output._asdict()) for output in infer_files(engine, inputs, folder)]
            return {"outputs": outputs, "inputs": told_inputs(engine)}
        finally:
            engine.close()

    def close(self) -> None:
        """Nothing is kept open."""

    def _call(self, extra: List[str], folder: str) -> List[str]:
        """Run it once in a folder; returns what it printed.

        Raises:
            NetworkFailure: It failed.
            Refusal: It cannot load the engine; kind ``engine``.
        """
        command = [self._program, "--loadEngine=" + os.path.abspath(self._path)]
        command += ["--warmUp=0", "--iterations=1", "--duration=0"]
        done = subprocess.run(
            command + extra, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        said = done.stdout.decode("utf-8", "replace").splitlines()
        told = "\n".join(said[-50:])
        if done.returncode != 0 and _UNREADABLE.search(told):
            raise Refusal(
                "engine",
                "trtexec cannot load {}: it was built by another version or for another GPU; build it on "
                "this board".format(self._path),
            )
        if done.returncode != 0:
            raise classify("run", told, done.returncode)
        return said

    def _trace(self, warm_up_s: float, iterations: int, duration_s: int, extra: Sequence[str] = ()) -> Trace:
        """Run it once.

        Raises:
            NetworkFailure: It failed, or ran in another batch.
            Refusal: It does not tell its times or its batch.
        """
        handle, times = tempfile.mkstemp(prefix="edgesynth-", suffix=".json")
        os.close(handle)
        command = [
            self._program,
            "--loadEngine=" + self._path,
            "--warmUp={}".format(int(1e3 * warm_up_s)),
            "--iterations={}".format(iterations),
            "--duration={}".format(duration_s),
            "--exportTimes=" + times,
        ]
        try:
            done = _follow(command + self._steady + list(extra))
            with open(times) as file:
                calls = json.loads(file.read() or "[]")
        except ValueError as error:
            raise Refusal("tensorrt", "trtexec's times cannot be read: {}".format(error)) from error
        finally:
            os.remove(times)
        if done.status != 0 or not calls or done.start_s is None:
            raise classify("run", done.said, done.status)
        self._check_batch(done.shapes)
        return _read_trace(done.start_s, calls)

    def _check_batch(self, shapes: List[str]) -> None:
        if not shapes and self._batch > 1:
            raise Refusal(
                "tensorrt", "this trtexec does not say in which batch it runs; measure in batch 1 with it"
            )
        for shape in shapes:
            if int(shape.partition("x")[0]) != self._batch:
                raise NetworkFailure(
                    "unsupported",
                    "trtexec runs an input of {}, not in batch {}; export the network with this batch".format(
                        shape, self._batch
                    ),
                )


class Followed(NamedTuple):
    """What one run of trtexec printed.

    Attributes:
        start_s: Monotonic time at which it said that it starts to call.
        shapes: Of its inputs, e.g. ``1x3x32x32``; 7.x does not print them.
        said: Its last lines.
        status: How it ended.
    """

    start_s: Optional[float]
    shapes: List[str]
    said: str
    status: int


def _follow(command: List[str]) -> Followed:
    start_s = None
    shapes = []
    said: Deque[str] = deque(maxlen=50)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    for raw in process.stdout:
        line = raw.decode("utf-8", "replace").rstrip()
        if _STARTED in line:
            start_s = time.monotonic()
        shapes += _INPUT.findall(line)
        said.append(line)
    return Followed(start_s, shapes, "\n".join(said), process.wait())


def _read_trace(start_s: float, calls: List[Dict[str, float]]) -> Trace:
    try:
        return Trace(
            start_s,
            [float(call["computeMs"]) for call in calls],
            [float(call["latencyMs"]) for call in calls],
            [float(call["endComputeMs"]) for call in calls],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Refusal("tensorrt", "trtexec's times cannot be read: {!r}".format(error)) from error
