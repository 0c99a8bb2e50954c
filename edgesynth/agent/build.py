"""From an ONNX file to an engine: kept if it was built before, else built in a process of its own.

The builder needs more memory than anything else on the board. In its own process it may be killed by the
memory killer, and the agent lives to tell.
"""

import json
import os
import sys
import time
from collections import deque
from typing import Any, Deque, Dict, NamedTuple

from edgesynth.agent import board, trtexec
from edgesynth.agent.asks import BuildAsk, read_build
from edgesynth.agent.board_module import module_name
from edgesynth.agent.build_stages import BuildStages
from edgesynth.agent.cache import EngineCache, engine_key
from edgesynth.agent.children import LineProcess, wait
from edgesynth.agent.errors import FULL_DISK, UNSAVED, NetworkFailure, Refusal
from edgesynth.agent.events import Outbox
from edgesynth.agent.failures import classify, tells_full_disk, tells_unsaved
from edgesynth.agent.guard import Guard
from edgesynth.agent.info import python_tensorrt
from edgesynth.agent.onnx_types import disagreement, read_precision
from edgesynth.agent.trtexec_shapes import fixed_inputs

__all__ = ["Built", "build_engine", "tell_build"]

_LEAST_WORKSPACE_MB = 16
_KEPT_LINES = 400


class Built(NamedTuple):
    """An engine, ready to be run.

    Attributes:
        plan: Its file.
        runner: ``tensorrt`` (from Python) or ``trtexec``: what built it and runs it.
        facts: What a reader needs to know about it.
    """

    plan: str
    runner: str
    facts: Dict[str, Any]


def tell_build(request: Dict[str, Any], outbox: Outbox) -> None:
    """Serve the verb ``build``: ``start`` with the engine's file, ``plan``, and its facts, then ``end``."""
    ask = read_build(request)
    with Guard() as guard:
        built = build_engine(ask, guard, outbox)
    outbox.tell("start", plan=built.plan, **built.facts)
    outbox.tell("end")


def build_engine(ask: BuildAsk, guard: Guard, outbox: Outbox) -> Built:
    """The engine that is asked for.

    Raises:
        NetworkFailure: It cannot be built here.
        Refusal: There is no TensorRT, no space on the disk, or the engine would be of another precision than
            it is asked for in.
    """
    version, flags_known, why_not = python_tensorrt()
    runner = "trtexec" if version is None else "tensorrt"
    if version is None:
        flags_known = trtexec.has_flags()  # refuses where there is none either
        version = trtexec.version() or "before 8"
    facts: Dict[str, Any] = {"runner": runner, "tensorrt": version}
    if runner == "trtexec":
        facts["runner_reason"] = why_not
    if not ask.model.endswith(".onnx"):
        return Built(ask.model, runner, facts)
    ask = ask._replace(typed=ask.typed or not flags_known)
    wrong = disagreement(read_precision(ask.model), ask.precision, ask.typed)
    if wrong:
        raise Refusal("request", "the network cannot be built in {}: {}".format(ask.precision, wrong))
    free = fixed_inputs(ask.model, ask.batch) if runner == "trtexec" else {}
    facts.update({"free_inputs": free} if free else {})
    facts["precision_from"] = "graph" if ask.typed else "flags"
    gpu = board.soc() or board.model() or "unknown"
    flags = [runner, "batch={}".format(ask.batch), "workspace={}".format(ask.workspace_mb)]
    flags += ["typed"] if ask.typed else []
    facts["gpu"], facts["module"] = gpu, module_name()
    flags += [facts["module"]]  # a card with its cache may be moved to another one
    key = engine_key(ask.model, str(version), gpu, ask.precision, flags)
    cache = EngineCache(os.path.join(ask.folder, "engines"), ask.cache_mb)
    plan = cache.find(key)
    granted_mb = _granted(ask.workspace_mb)
    if plan is None and granted_mb < ask.workspace_mb:  # a build that was starved is one of its own
        ask = ask._replace(workspace_mb=granted_mb)
        key = engine_key(ask.model, str(version), gpu, ask.precision, [*flags, "of {}".format(granted_mb)])
        plan = cache.find(key)
    facts["engine"] = key
    facts["engine_kept"] = plan is not None
    if plan is None:
        begin_s = time.monotonic()
        scratch = cache.scratch()
        timings = cache.timings(str(version), gpu)
        facts["timings_kept"] = os.path.exists(timings)
        try:
            facts["workspace_mb"] = _build(ask, scratch, timings, runner, guard, outbox)
            plan = cache.add(key, scratch)
        finally:
            if os.path.exists(scratch):
                os.remove(scratch)
        facts["build_s"] = round(time.monotonic() - begin_s, 3)
    return Built(plan, runner, facts)


def _granted(workspace_mb: int) -> int:
    """How much workspace a builder gets: it, its copies of the weights and the workspace share the memory."""
    available_mb = board.memory_mb().get("available")
    if available_mb is None:
        return workspace_mb
    return max(_LEAST_WORKSPACE_MB, min(workspace_mb, int(available_mb) // 2))


def _build(ask: BuildAsk, plan: str, timings: str, runner: str, guard: Guard, outbox: Outbox) -> int:
    """Build into a file; returns the workspace that was allowed, in MiB."""
    available_mb = board.memory_mb().get("available")
    known_timings = os.path.exists(timings)
    workspace_mb = ask.workspace_mb
    if runner == "trtexec":
        command = trtexec.build_command(
            ask.model, plan, ask.precision, workspace_mb, ask.typed, timings, ask.batch
        )
        process = LineProcess(command, guard)
    else:
        process = LineProcess([sys.executable, sys.argv[0], "_build"], guard, takes_input=True)
        order = {
            "model": ask.model,
            "plan": plan,
            "precision": ask.precision,
            "batch": ask.batch,
            "workspace_mb": workspace_mb,
            "typed": ask.typed,
            "timings": timings,
        }
        process.send(json.dumps(order))
    said: Deque[str] = deque(maxlen=_KEPT_LINES)
    stages = BuildStages(outbox, said.append)
    try:
        wait(
            {process: stages.hear},
            lambda: stages.tick(over=not process.open),
            outbox,
            until_s=time.monotonic() + ask.build_limit_s,
        )
        if process.open:
            raise NetworkFailure(
                "timeout",
                "the build took longer than {:g} s and was ended; allow more time or a smaller "
                "network".format(ask.build_limit_s),
            )
        status = process.finish()
    finally:
        process.close()
    if status != 0 or os.path.getsize(plan) == 0:
        told = "\n".join(said) + "\n" + process.errors()
        if tells_full_disk(told):
            raise Refusal("disk", FULL_DISK)
        if tells_unsaved(told):
            raise Refusal("disk", UNSAVED)
        if trtexec.tells_bad_timings(told) and known_timings:
            os.remove(timings)  # what is damaged is measured anew
            return _build(ask, plan, timings, runner, guard, outbox)
        trtexec.refuse_misuse(told)
        raise classify("build", told, status, available_mb)
    return workspace_mb
