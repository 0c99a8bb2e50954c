"""The verb ``run``: an engine on arrays of the host's, in a process that loads it from the disk anew."""

import json
import os
import sys
import time
from typing import Any, Callable, Dict, List

from edgesynth.agent import board
from edgesynth.agent.asks import RunAsk, read_run, work_folder
from edgesynth.agent.children import LineProcess, wait
from edgesynth.agent.errors import FULL_DISK, STALE, NetworkFailure, Refusal
from edgesynth.agent.events import Outbox
from edgesynth.agent.failures import classify, tells_full_disk
from edgesynth.agent.guard import guarded
from edgesynth.agent.info import tensorrt_version
from edgesynth.agent.manifest import ENGINE, NETWORK
from edgesynth.agent.onnx_types import read_input_shapes, read_output_kinds

__all__ = ["tell_run"]


def tell_run(request: Dict[str, Any], outbox: Outbox) -> None:
    """Serve the verb: ``start`` with ``outputs`` (name, path, shape and type of each), then ``end``.

    ``inputs`` are name, type and shape of what the engine takes.

    ``digits`` says to how many digits outputs are rounded, 0 where they are exact: trtexec may run it. Of
    ``assumed`` outputs nobody knows the type: they are taken for FLOAT. An engine of a bundle has the network
    beside it that it was built from, whose types are its own.

    ``cuda_graph`` says whether calls were launched as a CUDA graph, and ``no_cuda_graph`` why not, where they
    were to be.

    Raises:
        NetworkFailure: The engine cannot run here.
        Refusal: It was built elsewhere, an input does not fit, or there is no way to outputs on this board.
    """
    ask = read_run(request)
    version, why_not = tensorrt_version()
    runner = "tensorrt" if version is not None else "trtexec"
    with guarded(outbox) as guard:
        process = LineProcess([sys.executable, sys.argv[0], "_run"], guard, takes_input=True)
        answers: List[Dict[str, Any]] = []
        try:
            opened = {"engine": ask.engine, "batch": ask.batches, "dla_core": ask.dla_core, "runner": runner}
            process.send(json.dumps(dict(opened, do="open", cuda_graph=ask.cuda_graph)))
            kinds = dict(ask.kinds, **_kinds_beside(ask.engine))
            order = {"do": "infer", "inputs": _named(ask), "outputs": ask.outputs, "kinds": kinds}
            process.send(json.dumps(dict(order, calls=ask.calls)))
            wait(
                {process: lambda at_s, line: answers.extend(_events(line))},
                lambda: bool(answers) and answers[-1]["event"] != "ready",
                outbox,
                until_s=time.monotonic() + ask.limit_s,
            )
            last = answers[-1] if answers else {"event": ""}
            if last["event"] == "done":
                outbox.tell("start", outputs=last["outputs"], digits=last["digits"], runner=runner)
                outbox.tell("start", inputs=last["inputs"], tensorrt=version or why_not)
                graph = ("cuda_graph", "no_cuda_graph")
                told = {name: last[name] for name in graph if name in last}
                outbox.tell("start", assumed=last["assumed"], **told)
            elif last.get("kind") == "engine" and _is_kept(ask.engine, request):
                os.remove(ask.engine)  # damaged, and would stay so
                raise Refusal("stale", STALE)
            else:
                _fail(last, process, ask.limit_s)
        finally:
            process.close()
    outbox.tell("end")


def _kinds_beside(engine: str) -> Dict[str, str]:
    """Types of the outputs as the bundle's network has them; nothing where the engine is in no bundle."""
    found: Dict[str, str] = _beside(engine, read_output_kinds)
    return found


def _named(ask: RunAsk) -> Dict[str, str]:
    """The files by input; the only input has the name that the bundle's network gives it."""
    names = list(_beside(ask.engine, read_input_shapes)) if list(ask.inputs) == [""] else []
    return {names[0]: ask.inputs[""]} if len(names) == 1 else ask.inputs


def _beside(engine: str, read: Callable[[str], Dict[str, Any]]) -> Dict[str, Any]:
    """What is read from the network beside an engine of a bundle."""
    folder = os.path.dirname(os.path.abspath(engine))
    try:
        return read(os.path.join(folder, NETWORK)) if os.path.basename(engine) == ENGINE else {}
    except OSError:
        return {}


def _is_kept(engine: str, request: Dict[str, Any]) -> bool:
    """Whether an engine is one that this board keeps from build to build."""
    return os.path.dirname(engine) == os.path.join(work_folder(request), "engines")


def _events(line: str) -> List[Dict[str, Any]]:
    """The event that a line is; none when a library printed it."""
    try:
        event = json.loads(line)
    except ValueError:
        return []
    return [event] if isinstance(event, dict) and "event" in event else []


def _fail(last: Dict[str, Any], process: LineProcess, limit_s: float) -> None:
    if last["event"] in ("failed", "error"):
        raise (NetworkFailure if last["event"] == "failed" else Refusal)(last["kind"], last["reason"])
    if process.open:
        raise NetworkFailure("timeout", "the engine did not finish within {:g} s".format(limit_s))
    status = process.finish()
    said = process.errors()
    if tells_full_disk(said):
        raise Refusal("disk", FULL_DISK)
    raise classify("run", said, status, board.memory_mb().get("available"))
