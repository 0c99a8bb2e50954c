"""``edgesynth run``: an engine on a board, on arrays of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesynth.cli.options import AsJson, DlaCore, Wait
from edgesynth.errors import DataError, DeviceError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgesynth.deploy.batch_range import Batches
    from edgesynth.deploy.engine import EngineOutputs
    from edgesynth.devices import Device

__all__ = ["run"]


def run(
    engine: Annotated[
        str,
        typer.Argument(
            metavar="ENGINE", help="The name of a bundle on the board, a bundle's folder, or a plan."
        ),
    ],
    inputs: Annotated[
        list[str], typer.Argument(metavar="[NAME=]FILE.npy...", help="One array per input of the network.")
    ],
    *,
    device: Annotated[str, typer.Option("--device", help="A device profile; edgesynth devices lists them.")],
    link: Annotated[str | None, typer.Option("--link", help="ssh://[user@]host[:port], or local.")] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="A folder for the outputs; none is kept by default.")
    ] = None,
    batch: Annotated[
        str,
        typer.Option(
            "--batch",
            metavar="N|LEAST..MOST",
            help="Of a plan: samples per call, or the range that it was built for, such as 1..16.",
        ),
    ] = "1",
    dla_core: DlaCore = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="NAME=TYPE",
            help="Of a plan: what an output is of, e.g. best=int32; once per output. trtexec before 8.6 does "
            "not tell, and without this its outputs are taken for float32. bool, float16, float32, int32, "
            "int64, int8 or uint8.",
        ),
    ] = None,
    cuda_graph: Annotated[
        bool | None,
        typer.Option(
            "--cuda-graph/--no-cuda-graph",
            help="Launch calls as a CUDA graph, or not; by default as a bundle was deployed, and a plan not.",
        ),
    ] = None,
    wait_s: Wait = 0.0,
    as_json: AsJson = False,
) -> None:
    """Run an engine on a board, on arrays of this machine."""
    from edgesynth.cli.output import warned
    from edgesynth.deploy.batch_range import Batches, read_batches
    from edgesynth.deploy.engine import BuildFailed, run_engine
    from edgesynth.devices import load_profile, open_device
    from edgesynth.devices.dla import check_core

    said, batches = _read_types(types or ()), read_batches(batch)
    arrays = _read(inputs)
    if dla_core is not None:
        check_core(load_profile(device), dla_core, link)
    with open_device(device, link, wait_s=wait_s) as board, warned(board):
        asked = _find(engine, board, batches or Batches(1, 1, 1), dla_core)
        names = asked.inputs
        if names and list(arrays) == [""]:
            arrays = {names[0]: arrays[""]}
        if names and set(arrays) != set(names):
            raise InputError(f"{engine} takes the inputs {list(names)}, there are arrays for {list(arrays)}")
        try:
            found = run_engine(
                board,
                asked.plan,
                asked.batches,
                arrays,
                {**said, **asked.kinds},
                cuda_graph=asked.cuda_graph if cuda_graph is None else cuda_graph,
                dla_core=asked.dla_core,
            )
        except BuildFailed as failure:
            raise DeviceError(f"{engine} does not run on {board.link.name}: {failure.reason}") from failure
    _check_types(said, found, engine)
    _tell(found, out, as_json=as_json)


def _read_types(texts: Sequence[str]) -> dict[str, str]:
    """TensorRT's names of the types of outputs that were named."""
    from edgesynth.deploy.engine import TENSORRT_TYPES

    said: dict[str, str] = {}
    for text in texts:
        name, _, kind = text.rpartition("=")
        if not name:
            raise InputError(f"--type takes NAME=TYPE, such as best=int32, not {text!r}")
        if kind not in TENSORRT_TYPES:
            known = ", ".join(sorted(TENSORRT_TYPES))
            raise InputError(f"{kind!r} is no type of TensorRT; those are {known}")
        if name in said:
            raise InputError(f"--type says {name!r} twice; an output is of one type")
        said[name] = TENSORRT_TYPES[kind]
    return said


def _check_types(said: Mapping[str, str], given: EngineOutputs, engine: str) -> None:
    """Refuse a type that was said of an output which is of another, or is not there."""
    from edgesynth.deploy.engine import TENSORRT_TYPES

    for name, kind in said.items():
        if name not in given.gives:
            raise InputError(f"{engine} has no output {name!r}; its outputs are {', '.join(given.gives)}")
        dtype = given.gives[name].dtype
        if TENSORRT_TYPES[dtype] != kind:
            asked = next(known for known, of_kind in TENSORRT_TYPES.items() if of_kind == kind)
            raise InputError(f"the output {name!r} of {engine} is {dtype}, not {asked}; leave its --type out")


def _read(texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    import numpy as np

    arrays = {}
    for text in texts:
        name, _, path = text.rpartition("=")
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} cannot be read: {error}; write it with numpy.save") from error
        if not isinstance(array, np.ndarray):
            raise DataError(f"{path} holds several arrays; give one .npy file per input, NAME=FILE.npy")
        arrays[name] = array
    if "" in arrays and len(texts) > 1:
        raise InputError("say which input each array is for: NAME=FILE.npy")
    return arrays


@dataclass(frozen=True)
class _Asked:
    """An engine on the board.

    Attributes:
        plan: Its file.
        batches: Samples per call.
        dla_core: The core of the DLA that it was built for, if any.
        cuda_graph: Whether it was deployed to run as a CUDA graph.
        inputs: Their names, as far as they are known here.
        kinds: Types of its outputs, as far as they are known here.
    """

    plan: str
    batches: Batches
    dla_core: int | None
    cuda_graph: bool = False
    inputs: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)


def _find(engine: str, device: Device, batches: Batches, dla_core: int | None) -> _Asked:
    """The plan on the board, and what is known of it; a bundle says itself what a plan does not."""
    from edgesynth.deploy.bundle import ENGINE, MANIFEST, batches_in, read_bundle
    from edgesynth.deploy.engine import board_of
    from edgesynth.deploy.installation import list_bundles
    from edgesynth.deploy.processing import input_names

    board, path = board_of(device), Path(engine)
    if (path / MANIFEST).is_file():
        bundle = read_bundle(path)
        own = _own_core(bundle.manifest, dla_core, engine)
        graph = bool(bundle.manifest.get("cuda_graph"))
        plan = device.send(path / ENGINE)
        return _Asked(plan, bundle.batches, own, graph, input_names(bundle), bundle.output_kinds)
    if path.is_file():
        return _Asked(device.send(path), batches, dla_core)
    known = {bundle.name: bundle for bundle in list_bundles(board)}
    if engine not in known:
        there = f"there are {', '.join(known)}" if known else "none is installed there"
        raise InputError(
            f"{engine} is no file, no bundle's folder, and no bundle on {device.link.name}; {there}"
        )
    if known[engine].problem:
        raise DeviceError(known[engine].problem)
    manifest = known[engine].manifest
    own = _own_core(manifest, dla_core, engine)
    graph = bool(manifest.get("cuda_graph"))
    return _Asked(f"{known[engine].path}/{ENGINE}", batches_in(dict(manifest)), own, graph)


def _own_core(manifest: Mapping[str, Any], asked: int | None, engine: str) -> int | None:
    """The core that a bundle's engine was built for."""
    own: int | None = manifest["key"].get("dla_core")
    if asked is not None and asked != own:
        where = "the GPU alone" if own is None else f"DLA core {own}"
        raise InputError(f"the engine of {engine} was built for {where}; leave --dla out, or deploy it anew")
    return own


def _tell(given: EngineOutputs, out: Path | None, *, as_json: bool) -> None:
    import numpy as np

    from edgesynth.cli.output import print_json, print_table, write
    from edgesynth.runs.faults import disk_faults

    found = given.arrays
    files = ["-"] * len(found)
    if out is not None:
        files = [str(out / f"output-{index}.npy") for index in range(len(found))]
        with disk_faults(out):
            out.mkdir(parents=True, exist_ok=True)
            for file, value in zip(files, found.values(), strict=True):
                np.save(file, value, allow_pickle=False)
    told = list(zip(found.items(), files, strict=True))
    if as_json:
        print_json(
            [
                {
                    "name": name,
                    "type": str(value.dtype),
                    "shape": list(value.shape),
                    "file": file,
                    "digits": given.digits,
                    "type_known": name not in given.assumed,
                    "cuda_graph": given.cuda_graph,
                }
                for (name, value), file in told
            ]
        )
        return
    print_table(
        ["output", "type", "shape", "first values", "file"],
        [
            [
                name,
                str(value.dtype),
                "x".join(map(str, value.shape)),
                " ".join(f"{number:.4g}" for number in value.reshape(-1)[:5]),
                file,
            ]
            for (name, value), file in told
        ],
    )
    if given.cuda_graph:
        write("note: launched as a CUDA graph")
    if given.no_cuda_graph:
        write(f"note: launched without a CUDA graph: {given.no_cuda_graph}")
    if given.digits:
        write(f"note: this board's trtexec gives decimals of {given.digits} digits")
    if given.assumed:
        write(
            f"note: it does not tell types, and {', '.join(given.assumed)} may be of another than float32; "
            "say of which, with --type NAME=TYPE, or run the engine from its bundle, which knows them"
        )
