"""One network for one board, in whichever precision: exported, built there, verified there, bundled."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgesynth.deploy.batch_range import exported_batch
from edgesynth.deploy.bundle import ENGINE, NETWORK, VERIFICATION, Bundle, EngineKey, write_bundle
from edgesynth.deploy.delivery import Delivery, deliver
from edgesynth.deploy.engine import BuildFailed, board_of, build_engine, profile_as_found
from edgesynth.deploy.engine_check import verify_engine
from edgesynth.deploy.onnx_graph import load_model, value_of
from edgesynth.deploy.outcome import Deployment
from edgesynth.deploy.processing import PROCESSING, processing_of
from edgesynth.deploy.source import own_batch
from edgesynth.errors import InputError
from edgesynth.graph.recipe import RECIPE_FILE
from edgesynth.profiler import MeasurementPlan, profile
from edgesynth.scratch import Scratch

if TYPE_CHECKING:
    from torch import nn

    from edgesynth.agent.batches import Batches
    from edgesynth.deploy.target import DeviceExport
    from edgesynth.devices import Device, Precision
    from edgesynth.progress import Progress
    from edgesynth.tasks import Task

__all__ = ["Order"]

_EXPORTED: Final = "exported.onnx"


@dataclass(frozen=True)
class Order:
    """What is to be brought to which board, and how: all but the precision.

    Attributes:
        source: The FP32 file.
        device: The board, open.
        tell: Told what is being done.
        scratch: Where exported files are put.
        batches: Samples per call; ``None`` for what the source says.
        data: Real inputs.
        shapes: Sizes for free axes, by input.
        labels: Names of the classes; the data's by default.
        module: The PyTorch network the source was written from.
        samples: The most to take of the data.
        strict: Whether a precision below FP32 must be shown to keep the task's score.
        may_lose: How much of the score it may lose.
        build_limit_s: How long a build may take.
        cuda_graph: Whether calls are to be launched as a CUDA graph.
        inside: What else the engine is to do itself.
    """

    source: Path
    device: Device
    tell: Progress
    scratch: Path
    batches: Batches | None = None
    data: str | Task | None = None
    shapes: Mapping[str, Sequence[int]] | None = None
    labels: Sequence[str] | None = None
    module: nn.Module | None = None
    samples: int | None = None
    strict: bool = False
    may_lose: float = 0.01
    build_limit_s: float = 1800.0
    cuda_graph: bool = False
    inside: Sequence[str] = ()

    def make(self, precision: str) -> Deployment:
        """Export, build on the board and verify there, as far as it goes.

        Raises:
            InputError: The network, the data, the labels or the precision cannot be used.
            DeviceError: The board cannot be reached, or its TensorRT is missing.
        """
        with self.tell.phase(f"export {self.source.stem} in {precision} for {self.device.profile.title}"):
            delivery = deliver(
                self.source,
                profile_as_found(self.device),
                self.scratch / precision / _EXPORTED,
                precision=precision,
                batch=exported_batch(self.batches, own_batch(self.source)),
                data=self.data,
                shapes=self.shapes,
                module=self.module,
                samples=self.samples,
                strict=self.strict,
                may_lose=self.may_lose,
                inside=self.inside,
                most=1 if self.batches is None else self.batches.most,
            )
        done = Deployment(delivery)
        if not delivery or delivery.export is None or delivery.samples is None:
            return done
        self.names(delivery)
        return self._prove(done, delivery.export)

    def names(self, delivery: Delivery) -> tuple[str, ...]:
        """Names of the classes, the given ones or the data's.

        Raises:
            InputError: The two contradict each other, or there are more or fewer than outputs.
        """
        assert delivery.samples is not None
        assert delivery.export is not None
        known = delivery.samples.classes
        names = tuple(self.labels or known)
        first = value_of(load_model(delivery.export.path).graph.output[0].type).shape or ()
        # A task says itself what its classes are; without one they are the last axis of the outputs.
        count = len(known) or (first[-1] if first and isinstance(first[-1], int) else len(names))
        if names and count != len(names):
            raise InputError(f"there are {len(names)} labels for {count} outputs; give one for each")
        for index, (name, other) in enumerate(zip(names, known, strict=False)):
            if name != other:
                raise InputError(
                    f"label {index} is {name!r}, and {delivery.samples.source} calls that class {other!r}; "
                    "give the labels in the order of the outputs"
                )
        return names

    def _prove(self, done: Deployment, export: DeviceExport) -> Deployment:
        """Build on the board, and verify there."""
        assert done.delivery is not None
        assert done.delivery.samples is not None
        device, where = self.device, self.device.link.name
        try:
            with self.tell.phase(f"build on {where} with TensorRT {export.tensorrt or '?'}"):
                engine = build_engine(
                    device,
                    export,
                    batches=self.batches,
                    limit_s=self.build_limit_s,
                    hear=lambda stage: self.tell.note(f"build: {stage}"),
                )
        except BuildFailed as failure:
            said = f"the engine could not be built ({failure.kind}): {failure.reason}"
            return replace(done, failure=said, failure_kind=failure.kind)
        self.tell.note(engine.says)
        enclosed, module = done.delivery.enclosed, self.module
        by_module = module if enclosed is None or module is None else enclosed.by(module)
        with self.tell.phase(f"verify on {where}"):
            report, module_report = verify_engine(
                *(device, engine, export, enclosed.reference if enclosed else self.source),
                done.delivery.samples,
                strict=self.strict,
                may_lose=self.may_lose,
                cuda_graph=self.cuda_graph,
                module=by_module,
            )
        return replace(
            done,
            engine=engine,
            report=report,
            module_report=module_report,
            runner=engine.runner,
            cuda_graph=self.cuda_graph and not report.no_cuda_graph,
        )

    def measure(self, done: Deployment, window_s: float) -> Deployment:
        """Measure the engine, with power integrated over so many seconds."""
        assert done.engine is not None
        engine = done.engine
        plan = MeasurementPlan.report(
            self.precision_of(done), engine.batches.usual, window_s, cuda_graph=done.cuda_graph
        )
        with self.tell.phase(f"measure on {self.device.describe()}"):
            return replace(done, measurement=profile(self.source, self.device, plan, engine=engine.plan))

    def precision_of(self, done: Deployment) -> Precision:
        """What it was made in, as the device names it."""
        assert done.delivery is not None
        assert done.delivery.export is not None
        wanted = done.delivery.export.precision
        return next(name for name in self.device.profile.precisions if name == wanted)

    def bundle(self, done: Deployment, folder: Path, name: str) -> Bundle:
        """Fetch the engine, and write it and all that belongs to it to a folder."""
        delivery, engine = done.delivery, done.engine
        assert delivery is not None
        assert engine is not None
        assert delivery.samples is not None
        assert delivery.export is not None
        export, recipe = delivery.export, self.source.parent / RECIPE_FILE
        generated = self.source.name == NETWORK and recipe.is_file()
        labels = self.names(delivery)
        texts: dict[str, Any] = {
            PROCESSING: processing_of(
                export,
                done.report,
                delivery.samples,
                batches=engine.batches,
                labels=labels,
                verified_on=delivery.data,
                inside=None if delivery.enclosed is None else delivery.enclosed.inside,
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
            flags=(
                *export.flags,
                *(("STRONGLY_TYPED",) if export.strongly_typed else ()),
                *(("OBEY_PRECISION_CONSTRAINTS",) if export.full else ()),
            ),
            dla_core=engine.dla_core,
            module=str(engine.facts.get("module", "")),
            batches=None if engine.batches.fixed else engine.batches,
        )
        with Scratch() as scratch:
            plan = scratch.path / ENGINE
            self.device.link.get(posixpath.relpath(engine.plan, board_of(self.device).agent.folder), plan)
            proof = {} if done.report is None else done.report.to_json()
            proof["sha256"] = hashlib.sha256(plan.read_bytes()).hexdigest()
            texts[VERIFICATION] = {
                "export": delivery.to_json(),
                "engine": proof,
                "engine_module": None if done.module_report is None else done.module_report.to_json(),
                "passed_over": [tried.to_json() for tried in done.passed_over],
                "gain": None if done.gain is None else done.gain.to_json(),
                "placement": None if engine.placement is None else asdict(engine.placement),
            }
            files = {
                ENGINE: plan,
                NETWORK: export.path,
                **({RECIPE_FILE: recipe} if generated else {}),
            }
            device, graph = self.device.profile.name, done.cuda_graph
            return write_bundle(folder, name, key, device=device, files=files, texts=texts, cuda_graph=graph)
