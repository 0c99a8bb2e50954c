"""The bench program of a host: times an ONNX file on this machine's CPU or NVIDIA GPU.

Runs as its own process (``python -m edgesynth.devices.onnx_bench RUNTIME``, which is one of
:mod:`edgesynth.devices.runtimes`), so that the threads of whoever measures do not disturb it. Reads one
:class:`~edgesynth.devices.bench.BenchRequest` from its input.
On a GPU a call copies its inputs there and its outputs back.

Between short blocks of timed calls a fixed load of about the same length is timed on the same processor. It
tells the speed that the machine itself had, and times of a processor are told as of one speed; see
:mod:`edgesynth.devices.speed`. On a GPU blocks at other speeds are left out, and times are as they were.
Calls go on until they agree, :mod:`edgesynth.devices.latency_pass`, or the time is up.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.agent.board import memory_mb
from edgesynth.agent.settling import Settling, limit_of
from edgesynth.devices.bench import BenchRequest
from edgesynth.devices.contention import Waiting
from edgesynth.devices.counters import PowerCounter, tell_power
from edgesynth.devices.host import open_counter
from edgesynth.devices.latency_pass import LatencyPass
from edgesynth.devices.nvml import NvmlGpu
from edgesynth.devices.reference import REFERENCE, ReferenceLoad
from edgesynth.devices.runtimes import NetworkInput, Runtime, Session, open_runtime
from edgesynth.devices.speed import Block
from edgesynth.errors import DeviceError, EdgesynthError

__all__ = ["main", "serve"]

_BLOCKS: Final = 20
"""Parts of a latency pass at least; the reference load runs before, between and after them."""
_BLOCK_S: Final = 0.01  # longer ones span changes of speed
_BLOCK_CALLS: Final = 4  # even where one takes longer than that, if they do not take this long:
_LONG_S: Final = 1.0
_REFERENCE_S: Final = (0.005, 0.05)  # at least and at most, each time
_LOOK_S: Final = 3.0  # a pass lasts at least, or three warm-ups: some speeds stay for a second and no longer
_ALIVE_S: Final = 4.0
_RETURNS: Final = 2  # calls after the reference load that only bring the network back into the caches
_TELLING = threading.Lock()
_KINDS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


def main() -> int:
    """Serve one request; the exit status is 0 whenever a result was told."""
    try:
        request = BenchRequest.from_json(sys.stdin.read())
    except EdgesynthError as error:
        print(error, file=sys.stderr)
        return 2
    kind = sys.argv[1]
    try:
        runtime = open_runtime(kind)
    except ImportError:
        print("onnxruntime is not installed; pip install 'edgesynth[cpu]'", file=sys.stderr)
        return 2
    try:  # before anything is timed
        counter = open_counter("cpu" if kind == "cpu" else "cuda") if request.load_s > 0 else None
    except EdgesynthError as error:
        _tell("error", kind="sensor", reason=str(error))
        return 0
    serve(request, runtime, counter)
    return 0


def serve(request: BenchRequest, runtime: Runtime, counter: PowerCounter | None) -> None:
    """Do what a request asks for, and tell it on standard output.

    Args:
        request: What to do; a file of the network is on this machine.
        runtime: Runs it.
        counter: Tells the power; ``None`` leaves that out.
    """
    _tell(
        "start",
        mode=request.mode,
        cores=os.cpu_count(),
        memory_available_mb=memory_mb().get("available"),
        **runtime.conditions,
    )
    model = request.network["model"]
    try:
        session = runtime.open(model)
        feeds = {value.name: _example(value, request.batch) for value in session.get_inputs()}
        session.run(None, feeds)
        reference = ReferenceLoad(runtime)
    except DeviceError as error:
        _tell("error", kind="cuda", reason=str(error))
        return
    except Exception as error:
        _tell("failed", reason=f"{runtime.name} cannot run the model: {str(error).splitlines()[0]}")
        return
    _warm_up(session, feeds, request, reference)
    _time_calls(session, feeds, request, reference, alike=runtime.alike)
    if counter is not None:
        if (limits := counter.limits()) is not None:  # told at once: it is of the calls that were timed
            _tell("start", throttled=list(limits))
        if isinstance(counter, NvmlGpu):
            _tell("start", gpu=counter.name, gpu_address=counter.address, driver=counter.driver)
        tell_power(lambda: session.run(None, feeds), request, counter, _tell)
    if request.layer_runs > 0:  # last: a profiler slows whatever comes after it
        _tell("alive")
        layers = runtime.layers(model, feeds, request.layer_runs)
        if isinstance(layers, str):
            _tell("start", layers_missing=layers)
        else:
            _tell("layers", layers=layers)
    _tell("end")


def _example(value: NetworkInput, batch: int) -> NDArray[Any]:
    """Random data for one input of the model; its first axis is the batch."""
    shape = [size if isinstance(size, int) and size > 0 else 1 for size in value.shape]
    if shape:
        first = value.shape[0]
        if isinstance(first, int) and first > 0 and first != batch:
            raise ValueError(
                f"input {value.name!r} has a fixed batch of {first}, not {batch}; export it with a free one"
            )
        shape[0] = batch
    if value.type not in _KINDS:
        raise ValueError(f"input {value.name!r} has type {value.type}, which cannot be filled")
    return np.random.default_rng(0).random(shape).astype(_KINDS[value.type])


def _warm_up(
    session: Session, feeds: dict[str, NDArray[Any]], request: BenchRequest, reference: ReferenceLoad
) -> None:
    warm_up = Settling(request.warm_up_s, limit_of(request.warm_up_s, request.warm_up_limit_s))
    first = told = time.perf_counter()
    before_ms = speed_ms = reference.time(_REFERENCE_S[0])
    over = False
    while not over:
        at_s = time.perf_counter() - first
        calls_ms, seconds = _time_block(session, feeds, sys.maxsize)
        after_ms = reference.time(min(max(seconds, _REFERENCE_S[0]), _REFERENCE_S[1]))
        # What settles is the network: that the machine's own speed never does is no fault of its.
        block = Block(before_ms, calls_ms, after_ms).at(speed_ms)
        before_ms = after_ms
        for taken_ms, ms in zip(calls_ms, block.calls_ms, strict=True):
            at_s += 1e-3 * taken_ms
            over = over or warm_up.over(at_s, ms)
        if time.perf_counter() - told > _ALIVE_S:
            _tell("alive")
            told = time.perf_counter()
    _tell("start", **warm_up.told())


def _time_calls(
    session: Session,
    feeds: dict[str, NDArray[Any]],
    request: BenchRequest,
    reference: ReferenceLoad,
    *,
    alike: bool,
) -> None:
    reference.time(min(request.warm_up_s, _REFERENCE_S[1]))
    waiting = Waiting()
    look_s = min(_LOOK_S, 3 * request.warm_up_s, request.latency_limit_s)
    calls = LatencyPass(request.latency_runs, look_s, request.speed_ms, alike=alike)
    first = told = now = time.perf_counter()
    before_ms = reference.time(_REFERENCE_S[0])
    while now - first <= request.latency_limit_s and not calls.enough(now - first):
        at_s = time.perf_counter() - first
        calls_ms, seconds = _time_block(session, feeds, -(-request.latency_runs // _BLOCKS))
        after_ms = reference.time(min(max(seconds, _REFERENCE_S[0]), _REFERENCE_S[1]))
        calls.blocks.append(Block(before_ms, calls_ms, after_ms, at_s))
        before_ms = after_ms
        now = time.perf_counter()
        if now - told > _ALIVE_S:
            _tell("alive")
            told = now
    timed = calls.timed()
    for block in timed.shown:
        _tell("latency", ms=block.calls_ms)
    _tell("reference", ms=[block.speed_ms for block in timed.blocks], medians_ms=timed.medians_ms)
    as_timed = [ms for block in timed.blocks for ms in block.calls_ms]
    _tell(
        "start",
        waited_share=waiting.share(),
        reference=REFERENCE,
        speed_ms=round(timed.speed_ms, 6),
        blocks=len(calls.blocks),
        blocks_at_speed=len(timed.blocks),
        latency_as_timed_ms=round(statistics.median(as_timed), 5) if as_timed and alike else None,
    )


def _time_block(
    session: Session, feeds: dict[str, NDArray[Any]], most: int
) -> tuple[tuple[float, ...], float]:
    """Times of calls in a row, ms, and how many seconds they took together."""
    first = time.perf_counter()
    for _ in range(_RETURNS):
        session.run(None, feeds)
        if time.perf_counter() - first >= _LONG_S:  # what the caches lack is nothing beside such a call
            break
    calls_ms: list[float] = []
    first = now = time.perf_counter()
    while len(calls_ms) < most and now - first < (_BLOCK_S if len(calls_ms) >= _BLOCK_CALLS else _LONG_S):
        begin = time.perf_counter()
        session.run(None, feeds)
        now = time.perf_counter()
        calls_ms.append(1e3 * (now - begin))
    return tuple(calls_ms), now - first


def _tell(event: str, /, **values: object) -> None:
    text = json.dumps({"event": event, **values}) + "\n"
    with _TELLING:  # the sampler tells from a thread of its own
        sys.stdout.write(text)
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
