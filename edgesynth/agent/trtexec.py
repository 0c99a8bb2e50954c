"""TensorRT's own program, for boards whose Python has no TensorRT.

Its options came and went with the versions, so only those are used that its own help lists (see
``trtexec_help``). Times come from its ``--exportTimes`` file, which kept its keys where the printed summary
did not; what changed of it nevertheless is in ``trtexec_trace``.
"""

import math
import os
import re
import subprocess
import tempfile
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from edgesynth.agent.batches import Batches, batches_of
from edgesynth.agent.board import find_program
from edgesynth.agent.cuda_graph import NoGraph
from edgesynth.agent.dla import core_options
from edgesynth.agent.errors import NetworkFailure, Refusal
from edgesynth.agent.failures import classify, tells_unreadable
from edgesynth.agent.settling import Settling
from edgesynth.agent.trtexec_help import has_flags, options, version
from edgesynth.agent.trtexec_shapes import build_options, run_options
from edgesynth.agent.trtexec_trace import (
    Followed,
    Trace,
    exported_trace,
    follow,
    printed_trace,
    read_layers,
)

__all__ = [
    "Trtexec",
    "build_command",
    "refuse_misuse",
    "tells_bad_timings",
]

_UNKNOWN = re.compile(r"Unknown option: (--\w+)")
_KINDS = {  # before 10 there are no integers of 64 bits; inputs of INT8 become FLOAT unless asked for
    "<i4": "INT32",
    "<i8": "INT32",
    "|b1": "BOOL",
    "<f2": "HALF",
    "|u1": "UINT8",
}
_PROBE_CALLS = 10
_FULL_CALLS = 50  # of a longer run: more than two stretches that the settle test compares
_LONGER = 3.0  # how much each run of a warm-up is than the one before
_SETTLE_S = 1.0
_STEADY = (
    "--explicitBatch",  # before 8.4 a loaded engine is else called as if its batch were implicit
    "--exposeDMA",  # else two calls are in flight, and each hides how long the other takes to launch
    "--noDataTransfers",
    "--useSpinWait",
    "--noCudaGraph",  # 11 calls by way of a graph unless told not to
)
_GRAPH, _NO_GRAPH = "--useCudaGraph", "--noCudaGraph"  # the second where the first is the default
_UNRECORDED = "not permitted under CUDA graph capture mode"
_WHOLE = ("--explicitBatch", "--includeDataTransfers", "--noCudaGraph")


def build_command(
    model: str, plan: str, precision: str, workspace_mb: int, typed: bool, timings: str, batches: Batches
) -> List[str]:
    """The command that builds an engine without running it.

    Raises:
        NetworkFailure: Precision is to come from the graph, and this trtexec takes it from its options only;
            or an axis besides the batch is free.
        Refusal: There is no trtexec, or it has no option of this precision.
    """
    known = options()
    if typed and "--stronglyTyped" not in known and has_flags():
        raise NetworkFailure(
            "unsupported",
            "trtexec of TensorRT {} does not support precision in the graph; export for it".format(
                version() or "before 8"
            ),
        )
    command = [find_program("trtexec") or "trtexec", "--onnx=" + model, "--saveEngine=" + plan]
    wanted = {
        "fp16": ["--fp16"],
        "int8": ["--int8", "--fp16"],  # layers without INT8 kernels run in FP16
    }.get(precision, [])
    missing = [option for option in wanted if option not in known]
    if missing and not typed:  # without it the engine would be of another precision than it is called
        raise Refusal("tensorrt", "this trtexec has no {}, so it builds no {}".format(missing[0], precision))
    if typed:
        wanted = ["--stronglyTyped"]  # of no effect where there is no other way, and may be gone there
    wanted += ["--explicitBatch", "--skipInference" if "--skipInference" in known else "--buildOnly"]
    if "--memPoolSize" in known:
        command.append("--memPoolSize=workspace:{}".format(workspace_mb))
    elif "--workspace" in known:
        command.append("--workspace={}".format(workspace_mb))
    if "--timingCacheFile" in known:
        command.append("--timingCacheFile=" + timings)
    command += build_options(model, batches, known)
    return command + [option for option in wanted if option in known]


def tells_bad_timings(said: str) -> bool:
    """Whether a build failed for what an earlier one measured: a file that was cut off when it was killed."""
    return "TimingCache creation failed" in said or "setTimingCache failed" in said


def refuse_misuse(said: str) -> None:
    """Nothing, unless it was called with what it does not take: that says nothing about the network.

    Raises:
        Refusal: It was; kind ``tensorrt``.
    """
    unknown = _UNKNOWN.findall(said)
    if unknown:
        raise Refusal(
            "tensorrt",
            "trtexec does not take {}, which its help lists; is it a script around another one?".format(
                " ".join(unknown)
            ),
        )


class Trtexec:
    """An engine that trtexec runs, one call at a time and every call waited for.

    Args:
        path: The plan.
        batch: What its inputs must begin with: trtexec fills a free batch with 1 unasked. Or the least, the
            usual and the most; then :meth:`infer` tells it what each call is of.
        cuda_graph: Whether calls that are timed are to be launched as a CUDA graph.
        dla_core: The core of the DLA that it was built for, if any.

    Attributes:
        cuda_graph: Whether they are, as far as was tried.
        no_graph: Why not, where they were to be.
        digits: To how many digits the outputs of the last :meth:`infer` are rounded; 0 where they are exact.
        assumed: Outputs of the last :meth:`infer` whose type nobody told.
    """

    cuda = "trtexec"

    def __init__(
        self, path: str, batch: Any, *, cuda_graph: bool = False, dla_core: Optional[int] = None
    ) -> None:
        self._path = path
        self._batches = batches_of(batch)
        self._program = find_program("trtexec") or "trtexec"
        known = options()
        place = core_options(dla_core, known)
        self._steady = [option for option in _STEADY if option in known] + place
        self.cuda_graph = cuda_graph
        self.no_graph: Optional[NoGraph] = None
        if cuda_graph and not {_GRAPH, _NO_GRAPH} & set(known):
            self._leave_graph("this trtexec has no {}".format(_GRAPH), of_board=True)
        self._whole = [option for option in _WHOLE if option in known] + place
        self._prints_calls = "--separateProfileRun" not in known  # 7.1: its file of times costs a profiler
        self.memory_bytes = None
        self.digits = 0
        self.assumed: List[str] = []

    def fix(self, shapes: Dict[str, List[int]]) -> None:
        """Run free inputs in these sizes from now on."""
        given = run_options(shapes, options())
        self._steady, self._whole = self._steady + given, self._whole + given

    def latencies(
        self, warm_up_s: float, warm_up_limit_s: float, runs: int, limit_s: float
    ) -> Tuple[List[float], List[float], Settling]:
        """Single calls after a warm-up: GPU times and latencies in ms, and how the warm-up went.

        The warm-up is repeated: the run that is measured is a process of its own, whose first calls load
        kernels. It is warmed up for as long as the latency took to settle in a run before it.
        """
        warm_up, typical_s = self._warm_up(warm_up_s, warm_up_limit_s)
        wanted = max(1, min(runs, int(limit_s / typical_s)))
        trace = self._trace(warm_up.seconds, wanted, 0)
        return trace.compute_ms[-wanted:], trace.latency_ms[-wanted:], warm_up

    def _warm_up(self, warm_up_s: float, limit_s: float) -> Tuple[Settling, float]:
        """Run for longer and longer until the latency settles; how that went, and what a call takes in s."""
        seconds, calls = warm_up_s, _PROBE_CALLS
        while True:
            # Durations are whole seconds: less than one is told as calls.
            trace = self._trace(0.0, calls, int(math.ceil(seconds)) if seconds >= 1 else 0)
            typical_s = max(1e-6, sorted(trace.latency_ms)[len(trace.latency_ms) // 2] / 1e3)
            warm_up = Settling(warm_up_s, limit_s)
            over = any(warm_up.over(at / 1e3, ms) for at, ms in zip(trace.end_ms, trace.compute_ms))
            if over or seconds >= limit_s:
                return warm_up, typical_s
            seconds = min(limit_s, max(_LONGER * seconds, _FULL_CALLS * typical_s))
            calls = int(math.ceil(seconds / typical_s))

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
        """Name and mean time in ms of every layer, in a run that follows another: kernels are loaded by then.

        7.1 has no such second run, so its means hold the first call, which loads them.

        Raises:
            Refusal: This trtexec cannot write them, or they cannot be read.
            NetworkFailure: It failed.
        """
        known = options()
        if "--exportProfile" not in known:
            raise Refusal("tensorrt", "this trtexec has no --exportProfile, so it tells no times of layers")
        handle, path = tempfile.mkstemp(prefix="edgesynth-", suffix=".json")
        os.close(handle)
        # Without --dumpProfile 7.1 has no profiler, and falls over what it should write.
        how = "--dumpProfile" if self._prints_calls else "--separateProfileRun"
        try:
            self._run(0.0, runs, 0, [how, "--exportProfile=" + path], layers=True)
            return read_layers(path)
        finally:
            os.remove(path)

    def infer(
        self, inputs: Dict[str, str], folder: str, kinds: Dict[str, str], calls: Sequence[int] = ()
    ) -> Dict[str, Any]:
        """Outputs of files, as files, and the inputs that they are of; every call loads the engine anew.

        Args:
            inputs: The ``.npy`` file of every input.
            folder: Where the outputs go.
            kinds: TensorRT's names of the types of outputs, where trtexec does not tell them.
            calls: Samples of every call; as few calls as can be by default.

        Raises:
            Refusal: This trtexec has no way to it, or a file does not fit.
            NetworkFailure: The engine does not run.
        """
        from edgesynth.agent.inference import infer_files, told_inputs
        from edgesynth.agent.npy import read_npy
        from edgesynth.agent.trtexec_engine import TrtexecEngine

        if self.cuda_graph:
            self._leave_graph("trtexec loads the engine for every call on files, and runs it without one")
        arrays = {name: read_npy(path) for name, path in inputs.items()}
        types = {name: _KINDS.get(array.descr, "FLOAT") for name, array in arrays.items()}
        sizes = {name: array.shape[1:] for name, array in arrays.items() if array.shape}
        engine = TrtexecEngine(options(), self._call, self._batches, types, kinds, folder, sizes)
        try:
            self.digits, self.assumed = engine.digits, engine.assumed
            outputs = [dict(output._asdict()) for output in infer_files(engine, inputs, folder, calls)]
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
            command + self._whole + extra,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = done.stdout.decode("utf-8", "replace").splitlines()
        if done.returncode != 0:
            raise self._failure("\n".join(said[-400:]), done.returncode)
        return said

    def _trace(self, warm_up_s: float, iterations: int, duration_s: int) -> Trace:
        """Run it once and learn of every call after the warm-up.

        Raises:
            NetworkFailure: It failed, or ran in another batch.
            Refusal: It cannot load the engine (kind ``engine``), or does not tell its times or its batch.
        """
        warm_up_ms = int(1e3 * warm_up_s)
        handle, times = tempfile.mkstemp(prefix="edgesynth-", suffix=".json")
        os.close(handle)
        wanted = "--avgRuns=1" if self._prints_calls else "--exportTimes=" + times
        try:
            done = self._run(warm_up_s, iterations, duration_s, [wanted])
            start_s = done.start_s or 0.0
            if self._prints_calls:
                trace = printed_trace(start_s, done, warm_up_ms)
            else:
                trace = exported_trace(start_s, times, warm_up_ms)
        finally:
            os.remove(times)
        if not trace.compute_ms:
            raise Refusal("tensorrt", "trtexec told the time of no call after its warm-up")
        return trace

    def _run(
        self,
        warm_up_s: float,
        iterations: int,
        duration_s: int,
        extra: Sequence[str],
        layers: bool = False,
    ) -> Followed:
        """Run it once; the batch is the one asked for. In a graph there are no layers."""
        command = [
            self._program,
            "--loadEngine=" + self._path,
            "--warmUp={}".format(int(1e3 * warm_up_s)),
            "--iterations={}".format(iterations),
            "--duration={}".format(duration_s),
        ]
        graph = self.cuda_graph and not layers
        done = follow(command + self._steadily(graph) + list(extra))
        if graph and (done.status != 0 or _UNRECORDED in done.said):
            # Up to 8.0 it falls over what it cannot record; later ones say so and go on without.
            self._leave_graph("the engine does what trtexec cannot record in a graph")
            done = follow(command + self._steadily(False) + list(extra))
        if done.status != 0 or done.start_s is None:
            raise self._failure(done.said, done.status)
        self._check_batch(done.shapes)
        return done

    def _steadily(self, graph: bool) -> List[str]:
        """How it is to call."""
        if not graph:
            return self._steady
        others = [option for option in self._steady if option != _NO_GRAPH]
        return others if _NO_GRAPH in self._steady else [*others, _GRAPH]

    def _leave_graph(self, why: str, of_board: bool = False) -> None:
        self.cuda_graph = False
        self.no_graph = NoGraph(why, of_board)

    def _failure(self, said: str, status: int) -> Refusal:
        """What a run that failed means."""
        refuse_misuse(said)
        if tells_unreadable(said):
            return Refusal(
                "engine",
                "trtexec cannot load {}: it was built by another version or for another GPU; build it on "
                "this board".format(self._path),
            )
        return classify("run", said, status)

    def _check_batch(self, shapes: List[str]) -> None:
        batch = self._batches.most
        if not shapes and batch > 1:
            raise Refusal(
                "tensorrt", "this trtexec does not say in which batch it runs; measure in batch 1 with it"
            )
        for shape in shapes:
            if int(shape.partition("x")[0]) != batch:
                raise NetworkFailure(
                    "unsupported",
                    "trtexec runs an input of {}, not in batch {}; export the network with this batch".format(
                        shape, batch
                    ),
                )
