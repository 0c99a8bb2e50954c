"""From an ONNX file to an engine: kept if it was built before, else built in a process of its own.

The builder needs more memory than anything else on the board. In its own process it may be killed by the
memory killer, and the agent lives to tell.
"""

import json
import os
import sys
import time
from collections import deque
from typing import Any, Deque, Dict, NamedTuple, Tuple

from edgesynth.agent import board, constraints, dla, trtexec, trtexec_help
from edgesynth.agent.asks import BuildAsk, read_build
from edgesynth.agent.board_module import module_name
from edgesynth.agent.build_stages import BuildStages
from edgesynth.agent.builder import PLACED
from edgesynth.agent.cache import EngineCache, ModelStore, engine_key, known_of
from edgesynth.agent.children import LineProcess, wait
from edgesynth.agent.errors import FULL_DISK, UNSAVED, NetworkFailure, Refusal
from edgesynth.agent.events import Outbox
from edgesynth.agent.failures import classify, tells_full_disk, tells_unsaved
from edgesynth.agent.guard import Guard, guarded
from edgesynth.agent.info import python_tensorrt
from edgesynth.agent.onnx_types import disagreement, read_precision
from edgesynth.agent.trtexec_shapes import fixed_inputs

__all__ = ["Built", "build_engine", "tell_build"]

_LEAST_WORKSPACE_MB = 16
_KEPT_LINES = 400
_KEPT_LINES_OF_DLA = 20000  # trtexec tells of every layer that a DLA does not take, and why


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
    with guarded(outbox) as guard:
        built = build_engine(ask, guard, outbox)
    outbox.tell("start", plan=built.plan, **built.facts)
    outbox.tell("end")


def build_engine(ask: BuildAsk, guard: Guard, outbox: Outbox) -> Built:
    """The engine that is asked for.

    Raises:
        NetworkFailure: It cannot be built here.
        Refusal: There is no TensorRT, no such core of a DLA, no space on the disk, or the engine would be of
            another precision than it is asked for in.
    """
    models = ModelStore(ask.folder, ask.cache_mb)
    models.hold(ask.model)  # until the agent ends
    models.trim()
    version, flags_known, why_not = python_tensorrt()
    runner = "trtexec" if version is None else "tensorrt"
    if version is None:
        flags_known = trtexec_help.has_flags()  # refuses where there is none either
        version = trtexec_help.version() or "before 8"
    facts: Dict[str, Any] = {"runner": runner, "tensorrt": version}
    if runner == "trtexec":
        facts["runner_reason"] = why_not
    if not ask.model.endswith(".onnx"):
        known = known_of(ask.model)
        if ask.dla_core is not None:
            facts.update(known, dla_core=ask.dla_core)
        if runner == "trtexec" and known.get("free_inputs"):  # a plan does not say in which size to run them
            sizes = known["free_inputs"].items()
            facts["free_inputs"] = {name: [ask.batch, *shape[1:]] for name, shape in sizes}
        return Built(ask.model, runner, facts)
    ask = ask._replace(typed=ask.typed or not flags_known)
    _refuse_mismatch(ask, flags_known)
    free = fixed_inputs(ask.model, ask.batch) if runner == "trtexec" else {}
    facts.update({"free_inputs": free} if free else {})
    facts["precision_from"] = "graph" if ask.typed else "flags"
    facts["gpu"], facts["module"] = board.soc() or board.model() or "unknown", module_name()
    plan = _find_or_build(ask, facts, guard, outbox)
    if ask.dla_core is not None:
        facts.update(known_of(plan), dla_core=ask.dla_core)
    return Built(plan, runner, facts)


def _refuse_mismatch(ask: BuildAsk, flags_known: bool) -> None:
    """Refuse a network that does not fit to what it is asked for in."""
    wrong = disagreement(read_precision(ask.model), ask.precision, ask.typed)
    if wrong:
        raise Refusal("request", "the network cannot be built in {}: {}".format(ask.precision, wrong))
    if ask.dla_core is not None and ask.typed and flags_known:
        raise Refusal(
            "request", "a DLA takes no strongly typed network of this TensorRT; build it with flags"
        )


def _find_or_build(ask: BuildAsk, facts: Dict[str, Any], guard: Guard, outbox: Outbox) -> str:
    """The plan, kept or built now; the facts learn which, and how."""
    runner, version, gpu = facts["runner"], str(facts["tensorrt"]), facts["gpu"]
    flags = [runner, "batch={}".format(ask.batches.text), "workspace={}".format(ask.workspace_mb)]
    flags += ["typed"] if ask.typed else []
    flags += [] if ask.dla_core is None else ["dla={}".format(ask.dla_core)]
    flags += ["full=" + name for name in ask.full]
    flags += [facts["module"]]  # a card with its cache may be moved to another one
    key = engine_key(ask.model, version, gpu, ask.precision, flags)
    cache = EngineCache(os.path.join(ask.folder, "engines"), ask.cache_mb)
    plan = cache.find(key)
    granted_mb = _granted(ask.workspace_mb)
    if plan is None and granted_mb < ask.workspace_mb:  # a build that was starved is one of its own
        ask = ask._replace(workspace_mb=granted_mb)
        key = engine_key(ask.model, version, gpu, ask.precision, [*flags, "of {}".format(granted_mb)])
        plan = cache.find(key)
    facts["engine"] = key
    facts["engine_kept"] = plan is not None
    if plan is None:
        begin_s = time.monotonic()
        scratch = cache.scratch()
        timings = cache.timings(version, gpu)
        facts["timings_kept"] = os.path.exists(timings)
        try:
            facts["workspace_mb"], said = _build(ask, scratch, timings, runner, guard, outbox)
            known = _placement(ask, scratch, said)
            if "free_inputs" in facts:
                known["free_inputs"] = facts["free_inputs"]
            plan = cache.add(key, scratch, known)
        finally:
            for path in (scratch, scratch + PLACED):
                if os.path.exists(path):
                    os.remove(path)
        facts["build_s"] = round(time.monotonic() - begin_s, 3)
    return plan


def _placement(ask: BuildAsk, plan: str, said: str) -> Dict[str, Any]:
    """Which layers of a built engine run on the GPU though a DLA was asked for; nothing where none was."""
    if ask.dla_core is None:
        return {}
    asked: Dict[str, Any] = {}
    if os.path.exists(plan + PLACED):
        with open(plan + PLACED) as file:
            asked = json.load(file)
    return dla.placement(ask.dla_core, asked, said)


def _granted(workspace_mb: int) -> int:
    """How much workspace a builder gets: it, its copies of the weights and the workspace share the memory."""
    available_mb = board.memory_mb().get("available")
    if available_mb is None:
        return workspace_mb
    return max(_LEAST_WORKSPACE_MB, min(workspace_mb, int(available_mb) // 2))


def _build(
    ask: BuildAsk, plan: str, timings: str, runner: str, guard: Guard, outbox: Outbox
) -> Tuple[int, str]:
    """Build into a file; returns the workspace that was allowed, in MiB, and what the builder said."""
    available_mb = board.memory_mb().get("available")
    known_timings = os.path.exists(timings)
    workspace_mb = ask.workspace_mb
    if runner == "trtexec":
        command = trtexec.build_command(
            ask.model, plan, ask.precision, workspace_mb, ask.typed, timings, ask.batches
        )
        command += constraints.options(ask.full, trtexec_help.options())
        command += dla.core_options(ask.dla_core, trtexec_help.options())
        process = LineProcess(command, guard)
    else:
        process = LineProcess([sys.executable, sys.argv[0], "_build"], guard, takes_input=True)
        order = {
            "model": ask.model,
            "plan": plan,
            "precision": ask.precision,
            "batches": ask.batches,
            "workspace_mb": workspace_mb,
            "typed": ask.typed,
            "timings": timings,
            "dla_core": ask.dla_core,
            "full": ask.full,
        }
        process.send(json.dumps(order))
    said: Deque[str] = deque(maxlen=_KEPT_LINES if ask.dla_core is None else _KEPT_LINES_OF_DLA)
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
    told = "\n".join(said) + "\n" + process.errors()
    if status != 0 or os.path.getsize(plan) == 0:
        if tells_full_disk(told):
            raise Refusal("disk", FULL_DISK)
        if tells_unsaved(told):
            raise Refusal("disk", UNSAVED)
        if trtexec.tells_bad_timings(told) and known_timings:
            os.remove(timings)  # what is damaged is measured anew
            return _build(ask, plan, timings, runner, guard, outbox)
        trtexec.refuse_misuse(told)
        dla.refuse_missing_core(told)
        raise classify("build", told, status, available_mb)
    return workspace_mb, told
