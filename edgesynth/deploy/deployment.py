"""From a network to a verified engine on a board; nothing is installed unless it is proven."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgesynth.deploy.acceptance import HIGHEST, Acceptance
from edgesynth.deploy.batch_range import Batches, exported_batch, read_batches, refuse_range
from edgesynth.deploy.bundle import (
    ENGINE,
    MANIFEST,
    NETWORK,
    Bundle,
    EngineKey,
    bundle_name,
    check_folder,
    check_name,
    read_bundle,
    write_bundle,
)
from edgesynth.deploy.bundle_check import engine_of, verify_bundle
from edgesynth.deploy.delivery import Delivery, deliver
from edgesynth.deploy.engine import (
    BuildFailed,
    EngineOnBoard,
    board_of,
    build_engine,
    profile_as_found,
)
from edgesynth.deploy.engine_check import verify_engine
from edgesynth.deploy.inexact import Inexact
from edgesynth.deploy.installation import bring_bundle, install_bundle
from edgesynth.deploy.onnx_graph import load_model, value_of
from edgesynth.deploy.outcome import Deployment
from edgesynth.deploy.processing import PROCESSING, processing_of
from edgesynth.deploy.samples import Samples
from edgesynth.deploy.source import Network, network_file, own_batch
from edgesynth.deploy.target import DeviceExport
from edgesynth.errors import InputError
from edgesynth.graph.recipe import RECIPE_FILE
from edgesynth.profiler import MeasurementPlan, profile
from edgesynth.progress import NullProgress, Progress
from edgesynth.scratch import Scratch

if TYPE_CHECKING:
    from torch import nn

    from edgesynth.devices import Device, Precision
    from edgesynth.tasks import Task

__all__ = ["Deployment", "deploy"]

_EXPORTED: Final = "exported.onnx"


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
    progress: Progress | None = None,
) -> Deployment:
    """Bring a network to a board: export, build there, verify there, install.

    Args:
        network: A generated network, its folder, an ONNX file, or the folder of a bundle, whose engine is run
            on the board and compared with its network once more, and which is installed as it is.
        device: An open board; see :func:`edgesynth.open_device`. One that was opened for a core of its DLA
            gets an engine for that core, which a bundle remembers.
        name: Under which it is installed; the network's own by default.
        precision: ``fp32``, ``fp16`` or ``int8``. Without it FP16 where the device has it, unless its values
            are too far off or out of its range, or the data have labels and FP16 is not shown to keep the
            task's score (see :mod:`edgesynth.deploy.acceptance`): then FP32, and the notes say why. One that
            is asked for by name is refused where its values are wrong, and for the score only where that
            falls beyond the bound; and so is FP16 for a DLA.
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
        if cuda_graph and not bundle.manifest.get("cuda_graph"):
            raise InputError("the bundle was made to run without a CUDA graph; deploy the network anew")
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
    wanted = (precision,) if precision else tuple(dict.fromkeys((device.profile.default_precision, HIGHEST)))
    passed_over: tuple[Acceptance | Inexact, ...] = ()
    names: tuple[str, ...] = ()
    with Scratch() as scratch:
        source = network_file(network, scratch.path)
        for chosen in wanted:
            with tell.phase(f"export {source.stem} for {device.profile.title}"):
                delivery = deliver(
                    source,
                    profile_as_found(device),
                    scratch.path / _EXPORTED,
                    precision=chosen,
                    batch=exported_batch(batches, own_batch(source)),
                    data=data,
                    shapes=shapes,
                    module=module,
                    samples=samples,
                    strict=precision is None,
                    most=1 if batches is None else batches.most,
                )
            done = Deployment(delivery, passed_over=passed_over)
            ready = _Ready(done, source, device, tell, precision is None, cuda_graph, batches)
            if delivery:
                names = ready.labels(labels)
                done = ready.prove(window_s)
            refusal = done.refusal
            if refusal is None or chosen == wanted[-1]:
                break
            passed_over = (*passed_over, refusal)
            tell.note(f"{chosen} is not chosen: {refusal.says}")
        if done.engine is None or not done.report:
            return done
        called = name or bundle_name(source.parent.name if source.name == NETWORK else source.stem)
        with tell.phase(f"install {called} on {device.link.name}"):
            folder = Path(out) if out is not None else scratch.path / "bundle"
            bundle = ready.bundle(done, done.engine, folder, called, names)
            installed = install_bundle(board, bundle, engine=done.engine.plan)
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


@dataclass(frozen=True)
class _Ready:
    """A network that may go to the board, on its way there.

    Attributes:
        done: Its way so far.
        source: The FP32 file that it comes from.
        device: The board.
        tell: Told what is being done.
        strict: Whether a lower precision must be shown to keep the task's score.
        cuda_graph: Whether calls are to be launched as a CUDA graph.
        batches: Samples per call, as asked for.
    """

    done: Deployment
    source: Path
    device: Device
    tell: Progress
    strict: bool
    cuda_graph: bool
    batches: Batches | None

    @property
    def delivery(self) -> Delivery:
        """Its way to a file."""
        assert self.done.delivery is not None
        return self.done.delivery

    @property
    def export(self) -> DeviceExport:
        """What is to be built."""
        assert self.delivery.export is not None
        return self.delivery.export

    @property
    def samples(self) -> Samples:
        """What it is verified on."""
        assert self.delivery.samples is not None
        return self.delivery.samples

    def labels(self, given: Sequence[str] | None) -> tuple[str, ...]:
        """Names of the classes, the given ones or the data's.

        Raises:
            InputError: The two contradict each other, or there are more or fewer than outputs.
        """
        known = self.samples.classes
        names = tuple(given or known)
        first = value_of(load_model(self.export.path).graph.output[0].type).shape or ()
        # A task says itself what its classes are; without one they are the last axis of the outputs.
        count = len(known) or (first[-1] if first and isinstance(first[-1], int) else len(names))
        if names and count != len(names):
            raise InputError(f"there are {len(names)} labels for {count} outputs; give one for each")
        for index, (name, other) in enumerate(zip(names, known, strict=False)):
            if name != other:
                raise InputError(
                    f"label {index} is {name!r}, and {self.samples.source} calls that class {other!r}; "
                    "give the labels in the order of the outputs"
                )
        return names

    def prove(self, window_s: float | None) -> Deployment:
        """Build on the board, verify and measure there, as far as it goes."""
        device, where, done = self.device, self.device.link.name, self.done
        try:
            with self.tell.phase(f"build on {where} with TensorRT {self.export.tensorrt or '?'}"):
                engine = build_engine(
                    *(device, self.export),
                    batches=self.batches,
                    hear=lambda stage: self.tell.note(f"build: {stage}"),
                )
        except BuildFailed as failure:
            said = f"the engine could not be built ({failure.kind}): {failure.reason}"
            return replace(done, failure=said)
        self.tell.note(engine.says)
        with self.tell.phase(f"verify on {where}"):
            report = verify_engine(
                *(device, engine, self.export, self.source, self.samples),
                strict=self.strict,
                cuda_graph=self.cuda_graph,
            )
        graph = self.cuda_graph and not report.no_cuda_graph
        done = replace(done, engine=engine, report=report, runner=engine.runner, cuda_graph=graph)
        if report and window_s is not None:
            plan = MeasurementPlan.report(self._precision, engine.batches.usual, window_s, cuda_graph=graph)
            with self.tell.phase(f"measure on {device.describe()}"):
                done = replace(done, measurement=profile(self.source, device, plan, engine=engine.plan))
        return done

    @property
    def _precision(self) -> Precision:
        return next(name for name in self.device.profile.precisions if name == self.export.precision)

    def bundle(
        self, done: Deployment, engine: EngineOnBoard, folder: Path, name: str, labels: Sequence[str]
    ) -> Bundle:
        """Fetch the engine, and write it and all that belongs to it to a folder."""
        export, recipe = self.export, self.source.parent / RECIPE_FILE
        generated = self.source.name == NETWORK and recipe.is_file()
        texts: dict[str, Any] = {
            PROCESSING: processing_of(
                export,
                done.report,
                self.samples,
                batches=engine.batches,
                labels=labels,
                verified_on=self.delivery.data,
            )
        }
        if done.measurement is not None:
            texts["measurements.json"] = done.measurement.to_json()
        if labels:
            texts["labels.json"] = list(labels)
        key = EngineKey(
            onnx=export.sha256,
            tensorrt=engine.tensorrt,
            gpu=engine.gpu,
            precision=export.precision,
            batch=engine.batch,
            flags=(*export.flags, *(("STRONGLY_TYPED",) if export.strongly_typed else ())),
            dla_core=engine.dla_core,
            module=str(engine.facts.get("module", "")),
            batches=None if engine.batches.fixed else engine.batches,
        )
        with Scratch() as scratch:
            plan = scratch.path / ENGINE
            self.device.link.get(posixpath.relpath(engine.plan, board_of(self.device).agent.folder), plan)
            proof = {} if done.report is None else done.report.to_json()
            proof["sha256"] = hashlib.sha256(plan.read_bytes()).hexdigest()
            texts["verification.json"] = {
                "export": self.delivery.to_json(),
                "engine": proof,
                "passed_over": [tried.to_json() for tried in done.passed_over],
                "placement": None if engine.placement is None else asdict(engine.placement),
            }
            files = {
                ENGINE: plan,
                NETWORK: export.path,
                **({RECIPE_FILE: recipe} if generated else {}),
            }
            device, graph = self.device.profile.name, done.cuda_graph
            return write_bundle(folder, name, key, device=device, files=files, texts=texts, cuda_graph=graph)
