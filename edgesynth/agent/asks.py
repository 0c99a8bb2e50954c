"""What a verb is asked, checked before anything is done."""

import math
import os
from typing import Any, Dict, NamedTuple, Optional, Tuple

from edgesynth.agent.batches import Batches, batches_of
from edgesynth.agent.dla import NO_RANGE, misfit
from edgesynth.agent.errors import Refusal

__all__ = [
    "BenchAsk",
    "BuildAsk",
    "RunAsk",
    "read_bench",
    "read_build",
    "read_run",
    "take",
    "take_names",
    "work_folder",
]

PRECISIONS = ("fp32", "fp16", "int8")
CLOCKS = ("found", "fixed")


class BuildAsk(NamedTuple):
    """An engine that is wanted.

    Attributes:
        model: Path of an ONNX file, or of a plan that is used as it is.
        precision: ``fp32``, ``fp16`` or ``int8``.
        batch: Samples per call that is measured.
        batches: Samples per call that an axis of free size is built for.
        workspace_mb: Most scratch memory of the builder; it gets less where less is free.
        build_limit_s: How long a build may take.
        cache_mb: Most disk that kept engines take, and as much again that models of hosts take.
        folder: The work folder.
        typed: Whether the types of the graph decide the precision of every layer.
        dla_core: The core of the DLA that it is for, with the GPU for what a DLA does not take.
        full: Names of layers that stay in FP32 whatever the precision is.
    """

    model: str
    precision: str
    batch: int
    batches: Batches
    workspace_mb: int
    build_limit_s: float
    cache_mb: int
    folder: str
    typed: bool
    dla_core: Optional[int]
    full: Tuple[str, ...]


class RunAsk(NamedTuple):
    """Outputs that are wanted.

    Attributes:
        engine: The plan.
        batches: Samples per call.
        calls: Samples of every call; none where they are to be as few as can be.
        inputs: The ``.npy`` file of every input.
        outputs: The folder that outputs go to.
        limit_s: How long it may take.
        kinds: TensorRT's names of the types of outputs, where neither the runner nor the bundle tells them.
        cuda_graph: Whether calls are to be launched as a CUDA graph.
        dla_core: The core of the DLA that it was built for, if any.
    """

    engine: str
    batches: Batches
    calls: Tuple[int, ...]
    inputs: Dict[str, str]
    outputs: str
    limit_s: float
    kinds: Dict[str, str]
    cuda_graph: bool
    dla_core: Optional[int]


class BenchAsk(NamedTuple):
    """A benchmark; see ``BenchRequest`` in ``edgesynth/devices/bench.py``, which is its other end."""

    build: BuildAsk
    warm_up_s: float
    warm_up_limit_s: float
    latency_runs: int
    latency_limit_s: float
    idle_s: float
    load_s: float
    rate_hz: float
    mode: str
    set_mode: bool
    clocks: str
    rails: Tuple[str, ...]
    layer_runs: int
    cuda_graph: bool
    slack_s: float


def work_folder(request: Dict[str, Any]) -> str:
    """Where engines and jobs are kept: ``folder`` of the request, else the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return take(request, "folder", str, "") or os.path.join(base, "edgesynth")


def read_build(request: Dict[str, Any]) -> BuildAsk:
    """Check a request of the verb ``build``.

    Raises:
        Refusal: Something is missing or impossible; kind ``request``.
    """
    network = take(request, "network", dict)
    ask = BuildAsk(
        take(network, "model", str),
        take(request, "precision", str),
        take(request, "batch", int),
        _take_batches(request),
        take(request, "workspace_mb", int, 0) or 256,
        take(request, "build_limit_s", float, 1800.0),
        take(request, "cache_mb", int, 2048),
        work_folder(request),
        take(request, "typed", bool, False),
        _take_core(request),
        take_names(request, "full"),
    )
    if ask.full and ask.typed:
        raise _impossible("full", list(ask.full), "none where the graph decides")
    if ask.precision not in PRECISIONS:
        raise _impossible("precision", ask.precision, "one of " + ", ".join(PRECISIONS))
    if not ask.batches.takes(ask.batch):
        raise _impossible("batch", ask.batch, "one that is built for, {}".format(ask.batches.text))
    if not os.path.isfile(ask.model):
        raise _impossible("network.model", ask.model, "a file on the board")
    if ask.dla_core is not None and misfit(ask.precision):
        raise Refusal("request", "no engine can be built for a DLA: " + misfit(ask.precision))
    if ask.dla_core is not None and not ask.batches.fixed:
        raise Refusal("request", "no engine can be built for a DLA: " + NO_RANGE)
    return ask


def read_bench(request: Dict[str, Any]) -> BenchAsk:
    """Check a request of the verb ``bench``.

    Raises:
        Refusal: Something is missing or impossible; kind ``request``.
    """
    ask = BenchAsk(
        read_build(request),
        take(request, "warm_up_s", float),
        take(request, "warm_up_limit_s", float, 0.0),
        take(request, "latency_runs", int),
        take(request, "latency_limit_s", float),
        take(request, "idle_s", float),
        take(request, "load_s", float),
        take(request, "rate_hz", float),
        take(request, "mode", str, ""),
        take(request, "set_mode", bool, False),
        take(request, "clocks", str, "found"),
        take_names(request, "rails"),
        take(request, "layer_runs", int, 0),
        take(request, "cuda_graph", bool, False),
        take(request, "slack_s", float, 120.0),  # more than its time; loading may take long on a slow board
    )
    if ask.clocks not in CLOCKS:
        raise _impossible("clocks", ask.clocks, "one of " + ", ".join(CLOCKS))
    for name in ("warm_up_s", "warm_up_limit_s", "latency_limit_s", "idle_s", "load_s"):
        if not 0 <= getattr(ask, name) <= 86400:
            raise _impossible(name, getattr(ask, name), "0 to 86400 seconds")
    if not 0.01 <= ask.rate_hz <= 1000:
        raise _impossible("rate_hz", ask.rate_hz, "0.01 to 1000")
    if ask.latency_runs < 1:
        raise _impossible("latency_runs", ask.latency_runs, "at least 1")
    if not 0 <= ask.layer_runs <= 10000:
        raise _impossible("layer_runs", ask.layer_runs, "0 to 10000")
    return ask


def read_run(request: Dict[str, Any]) -> RunAsk:
    """Check a request of the verb ``run``.

    Raises:
        Refusal: Something is missing or impossible; kind ``request``.
    """
    ask = RunAsk(
        take(request, "engine", str),
        _take_batches(request),
        tuple(take(request, "calls", list, [])),
        take(request, "inputs", dict),
        take(request, "outputs", str),
        take(request, "limit_s", float, 600.0),
        take(request, "kinds", dict, {}),
        take(request, "cuda_graph", bool, False),
        _take_core(request),
    )
    if not all(isinstance(samples, int) and ask.batches.takes(samples) for samples in ask.calls):
        raise _impossible("calls", list(ask.calls), "numbers of samples within " + ask.batches.text)
    if not os.path.isfile(ask.engine):
        raise _impossible("engine", ask.engine, "a file on the board")
    return ask


def take(request: Dict[str, Any], name: str, kind: Any, *default: Any) -> Any:
    """One value of its kind; whole numbers serve as fractions, and what is no finite number does not."""
    value = request.get(name, *default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise _impossible(name, "a number of hundreds of digits", "a number") from None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _impossible(name, value, "a {}".format(kind.__name__))
    if kind is float and not math.isfinite(value):
        raise _impossible(name, value, "a number")
    return value


def take_names(request: Dict[str, Any], name: str) -> Tuple[str, ...]:
    """A list of texts; none by default."""
    found = take(request, name, list, [])
    if not all(isinstance(each, str) for each in found):
        raise _impossible(name, found, "a list of names")
    return tuple(found)


def _take_batches(request: Dict[str, Any]) -> Batches:
    """``batches``, the least, the usual and the most; without it ``batch`` alone."""
    batch = int(take(request, "batch", int, 1))
    if batch < 1:
        raise _impossible("batch", batch, "at least 1")
    asked = take(request, "batches", list, [batch] * 3)
    try:
        return batches_of(asked)
    except ValueError as error:
        raise _impossible("batches", asked, "three numbers that rise from 1 on") from error


def _take_core(request: Dict[str, Any]) -> Optional[int]:
    if request.get("dla_core") is None:
        return None
    core = int(take(request, "dla_core", int))
    if core < 0:
        raise _impossible("dla_core", core, "0 or more")
    return core


def _impossible(name: str, value: Any, expected: str) -> Refusal:
    return Refusal("request", "key {!r} is {!r}; expected {}".format(name, value, expected))
