"""The process that runs the network: TensorRT lives here, so that a crash of it cannot take the agent.

It takes one command per line (``open``, ``fix``, ``latency``, ``load``, ``layers``, ``infer``) and answers
with events; the agent hands on what the host should see.
"""

import json
import os
import signal
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from edgesynth.agent.board import offer_to_memory_killer
from edgesynth.agent.errors import NetworkFailure, Refusal
from edgesynth.agent.events import Outbox, chunks
from edgesynth.agent.settling import Settling
from edgesynth.agent.trtexec import Trtexec

__all__ = ["COUNT_EVERY_S", "PythonRunner", "serve"]

COUNT_EVERY_S = 0.5
"""How often finished calls are counted during the load."""

_LAYERS_A_LINE = 20
_LONGEST_NAME = 160  # fused layers are named after all that they hold


class PythonRunner:
    """An engine that is called from here; the same methods as :class:`~edgesynth.agent.trtexec.Trtexec`.

    Args:
        path: The plan.
        batch: What an axis of free size becomes; or the least, the usual and the most.
        cuda_graph: Whether calls are to be launched as a CUDA graph.
        dla_core: The core of the DLA that it was built for, if any.
    """

    def __init__(
        self, path: str, batch: Any, *, cuda_graph: bool = False, dla_core: Optional[int] = None
    ) -> None:
        from edgesynth.agent.engine import Engine

        self._engine = Engine(path, batch, cuda_graph=cuda_graph, dla_core=dla_core)
        self.cuda = self._engine.cuda
        self.memory_bytes = self._engine.memory_bytes
        self.digits = 0  # outputs are exact
        self.assumed: List[str] = []  # and of known types
        self.cuda_graph = self._engine.cuda_graph
        self.no_graph = self._engine.no_graph

    def latencies(
        self, warm_up_s: float, warm_up_limit_s: float, runs: int, limit_s: float
    ) -> Tuple[List[float], List[float], Settling]:
        """Single calls after a warm-up: GPU times and times of the caller in ms, and how the warm-up went."""
        begin_s = time.monotonic()
        warm_up = Settling(warm_up_s, warm_up_limit_s)
        over = False
        while not over:
            gpu = self._engine.call()[0]  # what keeps the caller from noticing its end is no warm-up
            over = warm_up.over(time.monotonic() - begin_s, gpu)
        end_s = time.monotonic() + limit_s
        gpu_ms: List[float] = []
        host_ms: List[float] = []
        while len(host_ms) < runs and (time.monotonic() < end_s or not host_ms):
            gpu, host = self._engine.call()
            gpu_ms.append(gpu)
            host_ms.append(host)
        return gpu_ms, host_ms, warm_up

    def load(self, seconds: float, count: Callable[[float, int], None]) -> None:
        """Call back to back, each call waited for, and count (when, calls so far)."""
        end_s = time.monotonic() + seconds
        calls, now_s = 0, 0.0
        while now_s < end_s:
            self._engine.call()
            calls += 1
            now_s = time.monotonic()
            count(now_s, calls)

    def layers(self, runs: int) -> List[Tuple[str, float]]:
        """Name and mean time in ms of every layer, in the order they run."""
        return self._engine.layers(runs)

    def infer(
        self, inputs: Dict[str, str], folder: str, kinds: Dict[str, str], calls: Sequence[int] = ()
    ) -> Dict[str, Any]:
        """Outputs of files, as files: ``outputs``, and the ``inputs`` that they are of; types are its own."""
        from edgesynth.agent.inference import infer_files, told_inputs

        outputs = [dict(output._asdict()) for output in infer_files(self._engine, inputs, folder, calls)]
        return {"outputs": outputs, "inputs": told_inputs(self._engine)}

    def close(self) -> None:
        """Let go of the engine."""
        self._engine.close()


def serve() -> int:
    """Obey commands until the input ends; the exit status is 0 unless something unforeseen happened."""
    offer_to_memory_killer()
    signal.signal(signal.SIGTERM, _leave)
    outbox = Outbox(os.dup(1))
    os.dup2(2, 1)  # whatever libraries print goes to the error output, not among the events
    runner: Any = None
    try:
        for line in sys.stdin:
            command = json.loads(line)
            if command["do"] == "open":
                kind = Trtexec if command["runner"] == "trtexec" else PythonRunner
                graph, core = command.get("cuda_graph", False), command["dla_core"]
                runner = kind(command["engine"], command["batch"], cuda_graph=graph, dla_core=core)
                outbox.tell("ready", cuda=runner.cuda, memory_bytes=runner.memory_bytes)
            elif command["do"] == "fix":
                runner.fix(command["shapes"])
                outbox.tell("done")
            elif command["do"] == "latency":
                _time_calls(runner, command, outbox)
            elif command["do"] == "layers":
                _time_layers(runner, command["runs"], outbox)
            elif command["do"] == "infer":
                asked = [command[name] for name in ("inputs", "outputs", "kinds", "calls")]
                found = runner.infer(*asked)
                outbox.tell("done", digits=runner.digits, assumed=runner.assumed, **found, **_graph(runner))
            else:
                _load(runner, command["seconds"], outbox)
    except Refusal as refusal:
        outbox.tell(refusal.event, kind=refusal.kind, reason=refusal.reason)
    if runner is not None:
        runner.close()
    return 0


def _leave(number: int, frame: Any) -> None:
    """End in order, so that the files of trtexec are removed; what hangs is killed a second later."""
    sys.exit(128 + number)


def _time_calls(runner: Any, command: Dict[str, Any], outbox: Outbox) -> None:
    gpu_ms, host_ms, warm_up = runner.latencies(
        command["warm_up_s"], command["warm_up_limit_s"], command["runs"], command["limit_s"]
    )
    for gpu, host in zip(chunks(gpu_ms), chunks(host_ms)):
        outbox.tell("latency", ms=[round(ms, 6) for ms in host], gpu_ms=[round(ms, 6) for ms in gpu])
    outbox.tell("start", **warm_up.told())
    outbox.tell("start", **_graph(runner))  # trtexec has tried only now
    outbox.tell("done", at=time.monotonic())


def _graph(runner: Any) -> Dict[str, Any]:
    """Whether calls are launched as a CUDA graph; where they were to be and are not, why."""
    told = {"cuda_graph": runner.cuda_graph}
    if runner.no_graph is not None:
        told["no_cuda_graph"] = runner.no_graph.reason
        told["no_cuda_graphs_here"] = runner.no_graph.of_board
    return told


def _time_layers(runner: Any, runs: int, outbox: Outbox) -> None:
    """Tell the time of every layer; a board that cannot give them has given everything else already."""
    try:
        found = runner.layers(runs)
    except (Refusal, NetworkFailure) as refusal:
        outbox.tell("start", layers_missing=refusal.reason)
    else:
        for begin in range(0, len(found), _LAYERS_A_LINE):
            part = found[begin : begin + _LAYERS_A_LINE]
            outbox.tell("layers", layers=[[name[:_LONGEST_NAME], round(ms, 6)] for name, ms in part])
        outbox.tell("start", layer_runs=runs)
    outbox.tell("done", at=time.monotonic())


def _load(runner: Any, seconds: float, outbox: Outbox) -> None:
    told = [0.0, 0]  # when and how many were told last
    last = [0.0, 0]

    def count(at_s: float, calls: int) -> None:
        last[:] = [at_s, calls]
        if at_s - told[0] >= COUNT_EVERY_S:
            told[:] = last
            outbox.tell("count", at=at_s, calls=calls)

    runner.load(seconds, count)
    if last != told:
        outbox.tell("count", at=last[0], calls=last[1])
    outbox.tell("done", at=time.monotonic())
