"""An engine on a board: built there, and run there on arrays of this machine."""

from __future__ import annotations

import json
import posixpath
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.agent.batches import Batches, batches_of
from edgesynth.agent.inference import TYPES
from edgesynth.deploy.parser_facts import opset_range
from edgesynth.deploy.runners import Arrays, joined
from edgesynth.devices.dla import Placement
from edgesynth.devices.release import parse_release
from edgesynth.errors import DeviceError, InputError, LinkError
from edgesynth.scratch import Scratch

if TYPE_CHECKING:
    from edgesynth.deploy.target import DeviceExport
    from edgesynth.devices import Board, Device, Profile
    from edgesynth.devices.stage import Hear

__all__ = [
    "TENSORRT_TYPES",
    "BuildFailed",
    "EngineOnBoard",
    "EngineOutputs",
    "EngineTensor",
    "board_of",
    "build_engine",
    "profile_as_found",
    "run_engine",
]

TENSORRT_TYPES: Final = {np.dtype(kind).name: name for name, kind in sorted(TYPES.items())}
"""TensorRT's names of types, by those of NumPy."""

_SCRATCH: Final = "scratch"
"""What is on its way, in the work folder of a board; the next run removes what is left."""
_BUILD_S: Final = 1800.0
_RUN_S: Final = 900.0
_PART_BYTES: Final = 128 << 20
"""Of inputs that are sent and run at a time: the board holds them in memory, and twice on its disk."""


class BuildFailed(Exception):
    """The board could not build the engine, or run it.

    Attributes:
        kind: ``out_of_memory``, ``unsupported``, ``timeout`` or ``crash``.
        reason: What it said.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


@dataclass(frozen=True)
class EngineOnBoard:
    """A plan that was built on a board, and what it belongs to.

    Attributes:
        plan: Its path there.
        batches: Samples per call.
        tensorrt: What built it.
        gpu: The chip.
        runner: ``tensorrt`` from Python, or ``trtexec``.
        kept: Whether it had been built before.
        build_s: How long the build took; ``None`` when it was kept.
        placement: Where its layers run, of one that was built for a core of a DLA.
        facts: Everything else the board told: workspace, whether earlier timings were known.
    """

    plan: str
    batches: Batches
    tensorrt: str
    gpu: str
    runner: str
    kept: bool
    build_s: float | None
    placement: Placement | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """Samples of the largest call."""
        return self.batches.most

    @property
    def dla_core(self) -> int | None:
        """The core of a DLA that it runs on; ``None`` of one for the GPU alone."""
        return None if self.placement is None else self.placement.core

    @property
    def says(self) -> str:
        """How it came about, and where its layers run."""
        where = "" if self.placement is None else f"; {self.placement.says}"
        if self.kept:
            return f"the board had built this engine before, with TensorRT {self.tensorrt}{where}"
        timings = "with earlier timings" if self.facts.get("timings_kept") else "the first build there"
        how = f"built in {self.build_s:g} s, {self.facts.get('workspace_mb')} MiB of workspace, {timings}"
        return how + where

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "batch": self.batch, "batches": list(self.batches)}


@dataclass(frozen=True)
class EngineTensor:
    """What an engine takes or gives, as the board told it.

    Attributes:
        dtype: NumPy's name of its element type, e.g. ``float32``.
        shape: Of one call.
    """

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def told(cls, kind: str, shape: Sequence[int]) -> EngineTensor:
        """From NumPy's short name of the type, e.g. ``<f4``."""
        return cls(np.dtype(kind).name, tuple(shape))


@dataclass(frozen=True)
class EngineOutputs:
    """What an engine gave.

    Attributes:
        arrays: Outputs by name.
        digits: To how many digits the board rounded floating-point numbers; 0 where they are exact.
        takes: The engine's inputs by name.
        gives: Its outputs by name.
        assumed: Outputs whose type nobody told, and which are taken for ``float32``.
        cuda_graph: Whether calls were launched as a CUDA graph.
        no_cuda_graph: Why not, where they were to be.
    """

    arrays: Mapping[str, NDArray[Any]]
    digits: int = 0
    takes: Mapping[str, EngineTensor] = field(default_factory=dict)
    gives: Mapping[str, EngineTensor] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    cuda_graph: bool = False
    no_cuda_graph: str = ""

    @property
    def rounding(self) -> float:
        """How far a value may be from the engine's own, relative to it."""
        return 5.0 * 10.0**-self.digits if self.digits else 0.0


def board_of(device: Device) -> Board:
    """The board of an open device.

    Raises:
        InputError: It is simulated, or no board, and builds no engine.
    """
    if device.board is None:
        raise InputError(
            f"{device.describe()} builds no TensorRT engine; give --link ssh://user@board, or local on it"
        )
    return device.board


def profile_as_found(device: Device) -> Profile:
    """The profile with the TensorRT that the board really has; a JetPack of another year brings another."""
    found, known = board_of(device).tensorrt, device.profile
    release = parse_release(found)
    if release is None or release == parse_release(known.software.tensorrt):
        return known
    _, highest = opset_range(release) or (0, known.compiler.opset)
    return replace(
        known,
        software=replace(known.software, tensorrt=found),
        compiler=replace(known.compiler, opset=min(known.compiler.opset, highest)),
    )


def build_engine(
    device: Device,
    export: DeviceExport,
    *,
    batches: Batches | None = None,
    limit_s: float = _BUILD_S,
    hear: Hear | None = None,
) -> EngineOnBoard:
    """Bring an exported file to a board and build its engine there, or find the one built before.

    Args:
        device: Open, and a board; one that was opened for a core of its DLA builds for that.
        export: What to build.
        batches: Samples per call that a free batch is built for; 1 by default.
        limit_s: How long the build may take.
        hear: Told of the builder's stages.

    Raises:
        BuildFailed: TensorRT cannot read the file, memory does not suffice, or it takes too long.
        DeviceError: The board cannot be reached, has no TensorRT or no space.
    """
    board = board_of(device)
    built_for = batches_of(export.batch) if isinstance(export.batch, int) else batches or batches_of(1)
    request = {
        "network": {"model": device.send(export.path)},
        "precision": export.precision,
        "batch": built_for.usual,
        "batches": built_for,
        "workspace_mb": device.profile.compiler.workspace_mb,
        "build_limit_s": limit_s,
        "typed": export.strongly_typed,
        "dla_core": device.dla_core,
        "full": list(export.full),
    }
    told = board.work("build", request, hear=hear)
    if told.failure:
        raise BuildFailed(told.failure_kind, told.failure)
    facts = dict(told.conditions)
    facts.pop("pid", None)
    try:
        return EngineOnBoard(
            plan=str(facts.pop("plan")),
            batches=built_for,
            tensorrt=str(facts.pop("tensorrt")),
            gpu=str(facts.pop("gpu")),
            runner=str(facts.pop("runner")),
            kept=bool(facts.pop("engine_kept")),
            build_s=facts.pop("build_s", None),
            placement=Placement.told(facts),
            facts=facts,
        )
    except KeyError as error:
        raise DeviceError(f"{device.link.name} built an engine and did not tell {error}; repeat") from error


def run_engine(
    device: Device,
    plan: str,
    batch: int | Batches,
    data: Arrays,
    kinds: Mapping[str, str] | None = None,
    *,
    calls: Sequence[int] = (),
    cuda_graph: bool = False,
    dla_core: int | None = None,
) -> EngineOutputs:
    """Load an engine from the board's disk, in a new process, and run it on arrays.

    More than a board should hold at once is sent and run in parts, each by a process of its own.

    Args:
        device: Open, and a board.
        plan: Its path there.
        batch: Samples per call; the number of samples must be a multiple, or one that calls of a range of
            sizes can have.
        data: Inputs by name, axis 0 the batch.
        kinds: TensorRT's names of the types of outputs, such as ``INT32``: old boards with ``trtexec`` alone
            cannot tell, and take what is not given here, or by the bundle that the plan is in, for ``FLOAT``.
            What the board or that bundle tells counts more than what is given here.
        calls: Samples of every call; as few calls as can be by default.
        cuda_graph: Whether calls are to be launched as a CUDA graph, where the engine can be recorded.
        dla_core: The core of the board's DLA that it was built for, if any.

    Raises:
        BuildFailed: It crashes, hangs, or does not fit into memory.
        InputError: An array does not fit the engine, or an output its type.
        DeviceError: The board cannot be reached, the engine belongs to another one, or takes other inputs.
    """
    batches, samples = batches_of(batch), _samples(data)
    each = sum(value[: batches.most].nbytes for value in data.values() if value.ndim)
    at_once = max(2, _PART_BYTES // max(1, each))
    sizes = list(calls) or batches.calls(samples or 0)
    asked = {
        "engine": plan,
        "batches": batches,
        "calls": sizes,
        "kinds": dict(kinds or {}),
        "cuda_graph": cuda_graph,
        "dla_core": dla_core,
    }
    if sum(sizes) != samples or len(sizes) <= at_once:
        return _run_part(device, asked, data)
    parts, begin = [], 0
    for first in range(0, len(sizes), at_once):
        part = sizes[first : first + at_once]
        end = begin + sum(part)
        some = {name: value[begin:end] for name, value in data.items()}
        parts.append(_run_part(device, {**asked, "calls": part}, some))
        begin = end
    whole = {name: joined([part.arrays[name] for part in parts]) for name in parts[0].arrays}
    return replace(parts[0], arrays=whole)


def _samples(data: Arrays) -> int | None:
    """How many samples every input has; ``None`` where they differ, which the board refuses."""
    counts = {len(value) if value.ndim else 0 for value in data.values()}
    return next(iter(counts)) if len(counts) == 1 else None


def _run_part(device: Device, asked: Mapping[str, Any], data: Arrays) -> EngineOutputs:
    """Send some samples, run the engine on them, and fetch what it gives."""
    board, link = board_of(device), device.link
    place = f"{_SCRATCH}/{secrets.token_hex(8)}"
    with Scratch() as scratch:
        inputs = {}
        for index, (name, value) in enumerate(data.items()):
            local = scratch.path / f"input-{index}.npy"
            np.save(local, np.ascontiguousarray(value), allow_pickle=False)
            link.put(local, f"{place}/{local.name}")
            inputs[name] = link.path(f"{place}/{local.name}")
        request = {**asked, "inputs": inputs, "outputs": link.path(place), "limit_s": _RUN_S}
        try:
            told = board.work("run", request)
        except DeviceError as error:
            said = str(error)
            for name, there in inputs.items():
                said = said.replace(there, f"the array for {name!r}" if name else "the array")
            if said == str(error):
                raise
            raise InputError(said) from error  # about an input, which the user knows by another name
        if told.failure:
            raise BuildFailed(told.failure_kind, told.failure)
        found, outputs = {}, told.conditions.get("outputs", ())
        for entry in outputs:
            name, file = str(entry["name"]), posixpath.basename(str(entry["path"]))
            link.get(f"{place}/{file}", scratch.path / file)
            found[name] = _read(scratch.path / file)
    link.run(["rm", "-rf", "--", link.path(place)])
    return EngineOutputs(
        found,
        int(told.conditions.get("digits", 0)),
        {
            str(entry["name"]): EngineTensor.told(entry["type"], entry["shape"])
            for entry in told.conditions.get("inputs", ())
        },
        {str(entry["name"]): EngineTensor.told(entry["type"], entry["call_shape"]) for entry in outputs},
        tuple(map(str, told.conditions.get("assumed", ()))),
        bool(told.conditions.get("cuda_graph", False)),
        str(told.conditions.get("no_cuda_graph", "")),
    )


def _read(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, OSError, json.JSONDecodeError) as error:
        raise LinkError(f"an output of the engine arrived damaged ({error}); repeat") from error
    return array
