"""From a network to a verified engine on a board; nothing is installed unless it is proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgesynth.agent.onnx_types import read_precision
from edgesynth.deploy.batch_range import read_batches, refuse_range
from edgesynth.deploy.bundle import (
    MANIFEST,
    NETWORK,
    Bundle,
    bundle_name,
    check_folder,
    check_name,
    read_bundle,
)
from edgesynth.deploy.bundle_check import engine_of, verify_bundle
from edgesynth.deploy.engine import board_of
from edgesynth.deploy.installation import bring_bundle, install_bundle
from edgesynth.deploy.ladder import descend
from edgesynth.deploy.onnx_graph import load_model
from edgesynth.deploy.order import Order
from edgesynth.deploy.outcome import Deployment
from edgesynth.deploy.source import Network, network_file
from edgesynth.deploy.target import is_quantised
from edgesynth.errors import InputError
from edgesynth.progress import NullProgress, Progress
from edgesynth.scratch import Scratch

if TYPE_CHECKING:
    from torch import nn

    from edgesynth.devices import Device
    from edgesynth.tasks import Task

__all__ = ["Deployment", "deploy"]


def deploy(
    network: str | Path | Network,
    device: Device,
    *,
    name: str | None = None,
    precision: str | None = None,
    batch: int | str | Sequence[int] | None = None,
    data: str | Task | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    labels: Sequence[str] | None = None,
    module: nn.Module | None = None,
    out: str | Path | None = None,
    samples: int | None = None,
    window_s: float | None = None,
    cuda_graph: bool = False,
    may_lose: float = 0.01,
    build_limit_s: float = 1800.0,
    inside: Sequence[str] = (),
    progress: Progress | None = None,
) -> Deployment:
    """Bring a network to a board: export, build there, verify there, install.

    Args:
        network: A generated network, its folder, an ONNX file, or the folder of a bundle, whose engine is run
            on the board and compared with its network once more, and which is installed as it is.
        device: An open board; see :func:`edgesynth.open_device`. One that was opened for a core of its DLA
            gets an engine for that core, which a bundle remembers.
        name: Under which it is installed; the network's own by default.
        precision: ``fp32``, ``fp16`` or ``int8``. Without it, what the file itself is in, or else the lowest
            that is proven and measured on the board to be faster or more efficient than the next higher one,
            see :func:`~edgesynth.deploy.ladder.descend`; the notes say why others were passed over. One that
            is asked for by name is refused where its values are wrong, and for the score only where that
            falls beyond the bound. A DLA has no higher precision to go back to than the device's own.
        batch: Samples per call; 1 where the network leaves it free. ``"1..16"`` or ``"1..8..16"`` builds for
            a range: for the least, the usual (the most by default) and the most.
        data: Real inputs, see :func:`~edgesynth.deploy.samples.load_samples`; INT8 needs them, and labels
            among them have the task's score compared too.
        shapes: Sizes for free axes, by input.
        labels: Names of the classes in the order of the outputs; the data's by default.
        module: The PyTorch network the file was written from, to compare with as well.
        out: Keep the bundle in this folder too.
        samples: The most to take of the data; see :func:`~edgesynth.deploy.delivery.deliver`.
        window_s: Measure the engine, with power integrated over so many seconds; not at all by default.
        cuda_graph: Have its runner launch calls as a CUDA graph; it is verified and measured so. Where the
            engine cannot be recorded it is deployed without, and the notes say why. Of no range of batches.
        may_lose: How much of the task's score a precision below FP32 may lose.
        build_limit_s: How long a build on the board may take.
        inside: What else the engine is to do itself, ``normalise`` or ``answer``, by the data; see
            :mod:`edgesynth.deploy.inside`.
        progress: Told what is being done.

    Returns:
        What became of it; a refusal and a difference are results, not errors.

    Raises:
        InputError: The network, the data or an option cannot be used, or the device builds no engines.
        DeviceError: The board cannot be reached, or its TensorRT is missing or another than the bundle's.
    """
    board, tell, batches = board_of(device), progress or NullProgress(), read_batches(batch)
    refuse_range(batches, dla_core=device.dla_core, cuda_graph=cuda_graph)
    if isinstance(network, str | Path) and (Path(network) / MANIFEST).is_file():
        bundle = read_bundle(Path(network))
        if name is not None and name != bundle.name:
            raise InputError(
                f"the bundle is called {bundle.name!r}; leave --name out, or deploy the network anew"
            )
        fixed = {
            "precision": precision,
            "batch": batches,
            "shapes": shapes,
            "labels": labels,
            "module": module,
            "out": out,
            "window_s": window_s,
        }
        given = [option for option, value in fixed.items() if value is not None]
        if given:
            raise InputError(
                f"{' and '.join(given)} cannot be given for the bundle {bundle.name!r}, which is installed "
                "as it is; leave out what was given, or deploy the network anew"
            )
        if cuda_graph and not bundle.manifest.get("cuda_graph"):
            raise InputError("the bundle was made to run without a CUDA graph; deploy the network anew")
        if inside:
            raise InputError("what is inside the bundle's engine was decided before; deploy the network anew")
        if device.dla_core is not None:
            raise InputError(
                f"the bundle {bundle.name!r} says itself where its engine runs; leave --dla out, or deploy "
                "the network anew"
            )
        return _install(bundle, device, tell, data, samples)
    if name is not None:
        check_name(name)
    if out is not None:
        check_folder(Path(out))
    if device.dla_core is not None:  # it has no higher precision to go back to
        precision = precision or device.profile.default_precision
        device.check_precision(precision)
    with Scratch() as scratch:
        source = network_file(network, scratch.path)
        own = "int8" if is_quantised(load_model(source)) else read_precision(str(source))
        precision = precision or (own if own in ("fp16", "int8") else None)
        order = Order(
            source,
            device,
            tell,
            scratch.path,
            batches=batches,
            data=data,
            shapes=shapes,
            labels=labels,
            module=module,
            samples=samples,
            strict=precision is None,
            may_lose=may_lose,
            build_limit_s=build_limit_s,
            cuda_graph=cuda_graph,
            inside=inside,
        )
        done = descend(order) if precision is None else order.make(precision)
        engine = done.engine
        if engine is None or done.failures:
            return done
        if window_s is not None:
            done = order.measure(done, window_s)
        called = name or bundle_name(source.parent.name if source.name == NETWORK else source.stem)
        with tell.phase(f"install {called} on {device.link.name}"):
            folder = Path(out) if out is not None else scratch.path / "bundle"
            bundle = order.bundle(done, folder, called)
            installed = install_bundle(board, bundle, engine=engine.plan)
    return replace(done, installed=installed, bundle=None if out is None else bundle.folder)


def _install(
    bundle: Bundle, device: Device, tell: Progress, data: str | Task | None, samples: int | None
) -> Deployment:
    """Bring a bundle that is there already; it becomes current only if its engine is right on this board."""
    board = board_of(device)
    with tell.phase(f"bring {bundle.name} to {device.link.name}"):
        engine = engine_of(bundle, device, bring_bundle(board, bundle))
    with tell.phase(f"verify on {device.link.name}"):
        report = verify_bundle(bundle, device, engine, data=data, samples=samples)
    done = Deployment(
        engine=engine,
        report=report,
        bundle=bundle.folder,
        runner=engine.runner,
        cuda_graph=bool(bundle.manifest.get("cuda_graph")),
    )
    if not report:
        return done
    with tell.phase(f"install {bundle.name} on {device.link.name}"):
        return replace(done, installed=install_bundle(board, bundle))
