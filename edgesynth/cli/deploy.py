"""``edgesynth deploy``: a network becomes a verified engine on a board, and back again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesynth.cli.data import DATA_HELP, read_data
from edgesynth.cli.options import AsJson, CudaGraph, DlaCore, Inside, Model, Quiet, Samples, Wait
from edgesynth.errors import DataError, InputError, RequirementsNotMet

if TYPE_CHECKING:
    from edgesynth.deploy.installation import Installed
    from edgesynth.deploy.outcome import Deployment
    from edgesynth.deploy.source import Network
    from edgesynth.devices import Device
    from edgesynth.tasks import Task

__all__ = ["deploy"]


def deploy(
    network: Annotated[
        str | None,
        typer.Argument(
            metavar="[NETWORK]",
            help="A generated network's folder, a run folder with --seed, an ONNX file, or a bundle.",
        ),
    ] = None,
    *,
    device: Annotated[str, typer.Option("--device", help="A device profile; edgesynth devices lists them.")],
    link: Annotated[str | None, typer.Option("--link", help="ssh://[user@]host[:port], or local.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say what is installed on the board.")] = False,
    rollback: Annotated[
        str | None,
        typer.Option("--rollback", metavar="NAME", help="Go back to the version before the current one."),
    ] = None,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="NAME", help="Remove all versions of a bundle.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Under which it is installed; the network's own by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of a run: the network to draw.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="fp32, fp16 or int8; by default the lowest that keeps the score and is measured to gain.",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch",
            metavar="N|LEAST..MOST|LEAST..USUAL..MOST",
            help="Samples per call, 1 unless the network says so; or a range, such as 1..8..16: one engine "
            "takes any number in it, and is fastest for the usual, by default the most.",
        ),
    ] = None,
    dla_core: DlaCore = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help=DATA_HELP),
    ] = None,
    samples: Samples = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="A file with the name of a class per line.")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option("--input", help="Sizes for free axes: 1x3x224x224, or NAME=1x3x224x224."),
    ] = None,
    model: Model = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Keep the bundle in this folder.")] = None,
    window_s: Annotated[
        float | None,
        typer.Option(
            "--measure", min=2.0, metavar="SECONDS", help="Measure the engine over so many seconds of load."
        ),
    ] = None,
    cuda_graph: CudaGraph = False,
    may_lose: Annotated[
        float,
        typer.Option(
            "--may-lose",
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="How much of the task's score a lower precision may lose; 0.01 is one point.",
        ),
    ] = 0.01,
    build_limit_s: Annotated[
        float,
        typer.Option("--build-limit", min=1.0, metavar="SECONDS", help="How long a build may take."),
    ] = 1800.0,
    inside: Inside = None,
    wait_s: Wait = 0.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Build a network's engine on a board, verify it there, and install it; or go back, list, remove."""
    from edgesynth.cli.output import warned
    from edgesynth.cli.progress import open_progress
    from edgesynth.deploy.batch_range import read_batches, refuse_range
    from edgesynth.devices import load_profile, open_device
    from edgesynth.devices.dla import check_core, check_precision

    _check_what(network, list_=list_, rollback=rollback, remove=remove)
    known = load_profile(device)
    known.precision(precision or known.default_precision)
    if dla_core is not None:
        check_core(known, dla_core, link)
        check_precision(known, precision or known.default_precision)
    batches = read_batches(batch)
    refuse_range(batches, dla_core=dla_core, cuda_graph=cuda_graph)
    if network is None:
        with open_device(device, link, wait_s=wait_s) as board, warned(board):
            _manage(board, rollback=rollback, remove=remove, as_json=as_json)
        return
    from edgesynth.cli.export import read_module, read_shapes
    from edgesynth.deploy.admission import admit
    from edgesynth.deploy.deployment import deploy as deploy_network

    progress = open_progress(quiet=quiet)
    names = None if labels is None else _read_labels(labels)
    source, task = _source(network, seed)
    samples_of = read_data(data, source if isinstance(source, Path) and source.is_file() else None) or task
    shapes = None if not shape or not isinstance(source, Path) else read_shapes(shape, source)
    if not _is_bundle(source):
        admit(
            source,
            known,
            precision=precision,
            batches=batches,
            data=samples_of,
            shapes=shapes,
            samples=samples,
            inside=inside or (),
        )
    module = read_module(model, network)
    with open_device(device, link, dla_core=dla_core, wait_s=wait_s) as board, warned(board):
        done = deploy_network(
            source,
            board,
            name=name,
            precision=precision,
            batch=batches,
            data=samples_of,
            samples=samples,
            shapes=shapes,
            labels=names,
            module=module,
            out=out,
            window_s=window_s,
            cuda_graph=cuda_graph,
            may_lose=may_lose,
            build_limit_s=build_limit_s,
            inside=inside or (),
            progress=progress,
        )
    _tell(done, as_json=as_json)
    if not done:
        more = len(done.failures) - 1
        raise RequirementsNotMet(
            f"{network} was not installed on {device}: {done.failures[0]}"
            + (f"; and {more} more" if more > 0 else "")
        )


def _check_what(network: str | None, *, list_: bool, rollback: str | None, remove: str | None) -> None:
    asked = [
        what
        for what, wanted in (
            ("NETWORK", network is not None),
            ("--list", list_),
            ("--rollback", rollback is not None),
            ("--remove", remove is not None),
        )
        if wanted
    ]
    if not asked:
        raise InputError("nothing to do: give a NETWORK, or --list, --rollback NAME or --remove NAME")
    if len(asked) > 1:
        raise InputError(f"{' and '.join(asked)} exclude each other; give one of them")


def _source(network: str, seed: int | None) -> tuple[Path | Network, Task | None]:
    """What is to be deployed, checked before a board is asked; of a run, with the data it was made for."""
    from edgesynth.cli.runs import draw_network, is_run
    from edgesynth.deploy.bundle import MANIFEST, read_bundle
    from edgesynth.deploy.onnx_graph import load_model
    from edgesynth.deploy.source import find_onnx

    path = Path(network)
    if is_run(path):
        if seed is None:
            raise InputError(f"{network} is a run; say which of its networks, with --seed NUMBER")
        return draw_network(path, seed)
    if seed is not None:
        raise InputError(f"--seed is for a run folder, and {network} is none; leave it out")
    if (path / MANIFEST).is_file():
        return read_bundle(path).folder, None
    load_model(find_onnx(path))
    return find_onnx(path), None


def _is_bundle(source: Path | Network) -> bool:
    """Whether it is a bundle's folder: all else that is a path is an ONNX file by now."""
    return isinstance(source, Path) and source.is_dir()


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the labels in {path} cannot be read: {error}; write one name per line") from error
    names = tuple(line for line in lines if line)
    if not names:
        raise DataError(f"{path} is empty; write one name per line")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} names {twice!r} twice; give every class a name of its own")
    return names


def _manage(device: Device, *, rollback: str | None, remove: str | None, as_json: bool) -> None:
    from edgesynth.cli.output import print_json, write
    from edgesynth.deploy.engine import board_of
    from edgesynth.deploy.installation import list_bundles, remove_bundle, roll_back

    board = board_of(device)
    if rollback is not None:
        found = roll_back(board, rollback)
        print_json(found.to_json()) if as_json else _tell_installed(found)
    elif remove is not None:
        remove_bundle(board, remove)
        print_json({"removed": remove}) if as_json else write(f"removed: {remove}")
    else:
        bundles = list_bundles(board)
        if as_json:
            print_json([bundle.to_json() for bundle in bundles])
        elif bundles:
            _list(bundles)
        else:
            write(f"nothing is installed on {device.link.name}")


def _list(bundles: Sequence[Installed]) -> None:
    from edgesynth.cli.output import print_table

    columns = ["name", "version", "before", "precision", "batch", "TensorRT", "MB", "state", "path"]
    rows = []
    for bundle in bundles:
        key = bundle.manifest.get("key", {})
        rows.append(
            [
                bundle.name,
                bundle.version,
                bundle.before or "-",
                str(key.get("precision", "-")) + _on_core(key),
                _batch_of(bundle.manifest),
                str(key.get("tensorrt", "-")),
                f"{bundle.bytes / 1e6:.2f}",
                bundle.problem or "ready",
                bundle.path,
            ]
        )
    print_table(columns, rows, right=(4, 6))


def _batch_of(manifest: Mapping[str, Any]) -> str:
    """Samples per call; a dash of a bundle that does not say."""
    from edgesynth.deploy.bundle import batches_in

    try:
        return batches_in(dict(manifest)).text
    except (KeyError, ValueError, TypeError):
        return "-"


def _on_core(key: Mapping[str, Any]) -> str:
    core = key.get("dla_core")
    return "" if core is None else f", DLA core {core}"


def _tell(done: Deployment, *, as_json: bool) -> None:
    from edgesynth.cli.output import print_json, print_metrics, print_table, write

    if as_json:
        print_json(done.to_json())
        return
    from edgesynth.cli.export import delivery_rows, verification_rows

    rows = [] if done.delivery is None else list(delivery_rows(done.delivery))
    if done.failure:
        rows.append(["engine", "failed", done.failure])
    if done.engine is not None:
        engine = done.engine
        how = "kept" if engine.kept else "built"
        where = "" if engine.placement is None else f"; {engine.placement.says}"
        what = f"TensorRT {engine.tensorrt} on {engine.gpu}, batch {engine.batches.text}{where}"
        rows.append(["engine", how, what])
    if done.report is not None:
        whose = "" if done.delivery is None else f" of {done.delivery.data}"
        for report in (done.report, done.module_report):
            if report is not None:
                rows += verification_rows(report, f"{report.samples}{whose or ' samples'}")
    if done.gain is not None:
        rows.append(["precision", done.gain.precision, done.gain.says])
    if rows:
        print_table(["step", "verdict", "what"], rows)
    if done.measurement is not None and done.measurement.metrics:
        print_metrics(done.measurement.metrics)
    if done.measurement is not None and done.measurement.status != "ok":
        print_table(["measurement", "reason"], [[done.measurement.status, done.measurement.reason]])
    if done.installed is not None:
        _tell_installed(done.installed)
    for note in done.notes:
        write(f"note: {note}")


def _tell_installed(found: Installed) -> None:
    from edgesynth.cli.output import write

    before = f", {found.before} before it" if found.before else ""
    write(f"installed: {found.name}, version {found.version}{before}")
    write(f"on the board: {found.path}")
