"""Prove the engine of a bundle that is there already: on the board it goes to, by the network beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgesynth.deploy.batch_range import Batches, fitting
from edgesynth.deploy.bundle import ENGINE, NETWORK, VERIFICATION, Bundle, read_text
from edgesynth.deploy.engine import EngineOnBoard, board_of
from edgesynth.deploy.engine_check import verify_engine
from edgesynth.deploy.inside import stored_samples
from edgesynth.deploy.inside_record import Inside
from edgesynth.deploy.inside_reference import FileReference
from edgesynth.deploy.onnx_graph import default_opset, load_model
from edgesynth.deploy.output_check import TOLERANCES
from edgesynth.deploy.processing import PROCESSING
from edgesynth.deploy.runners import OnnxRunner
from edgesynth.deploy.samples import Samples, generated_samples, load_samples
from edgesynth.deploy.target import DeviceExport
from edgesynth.deploy.verify import VerifyReport
from edgesynth.devices.dla import Placement
from edgesynth.errors import DeviceError, InputError, LinkError

if TYPE_CHECKING:
    from edgesynth.devices import Device
    from edgesynth.tasks import Task

__all__ = ["engine_of", "verify_bundle"]

_GENERATED: Final = 32
_SAMPLES: Final = 256
"""The most samples taken of the user's data."""


def engine_of(bundle: Bundle, device: Device, plan: str) -> EngineOnBoard:
    """The engine of a bundle that was brought to a board.

    Args:
        bundle: Whole.
        device: Open, and a board.
        plan: Where the engine is there.

    Raises:
        LinkError: The board cannot be reached.
    """
    facts, _ = board_of(device).agent.info(("tensorrt", "trtexec_version"))
    key = bundle.manifest["key"]
    return EngineOnBoard(
        plan=plan,
        batches=bundle.batches,
        tensorrt=str(facts["tensorrt"] or facts["trtexec_version"] or key.get("tensorrt", "")),
        gpu=str(key.get("gpu", "")),
        runner="trtexec" if facts["tensorrt"] is None else "tensorrt",
        kept=True,
        build_s=None,
        placement=Placement.told(key),
    )


def verify_bundle(
    bundle: Bundle,
    device: Device,
    engine: EngineOnBoard,
    *,
    data: str | Task | None = None,
    samples: int | None = None,
) -> VerifyReport:
    """Load the engine from the board's disk, run it, and compare each output with the bundle's network.

    Args:
        bundle: Whole.
        device: Open, and a board.
        engine: Of the bundle, there.
        data: Real inputs; generated ones where there are none.
        samples: The most to take of them.

    Returns:
        The report. An engine that cannot be loaded is one that differs.

    Raises:
        InputError: The bundle has no network to compare with, or the data do not fit it.
        LinkError: The board cannot be reached.
    """
    key, path = bundle.manifest["key"], bundle.folder / NETWORK
    precision = str(key.get("precision", ""))
    if NETWORK not in bundle.manifest["files"] or precision not in TOLERANCES:
        lacks = f"holds no {NETWORK}" if precision in TOLERANCES else "does not say its precision"
        raise InputError(
            f"the bundle in {bundle.folder} {lacks}, so its engine cannot be compared with anything; deploy "
            "the network anew"
        )
    model, flags = load_model(path), tuple(map(str, key.get("flags", ())))
    export = DeviceExport(
        path=path,
        device=str(bundle.manifest.get("device", "")),
        tensorrt=engine.tensorrt,
        precision=precision,
        opset=default_opset(model),
        batch=engine.batch if engine.batches.fixed else "dynamic",
        bytes=path.stat().st_size,
        sha256=str(key.get("onnx", "")),
        inputs=tuple(value.name for value in model.graph.input),
        outputs=tuple(value.name for value in model.graph.output),
        flags=tuple(flag for flag in flags if flag not in ("STRONGLY_TYPED", "OBEY_PRECISION_CONSTRAINTS")),
        strongly_typed="STRONGLY_TYPED" in flags,
        full=_kept_full(bundle),
    )
    inside = Inside.told(read_text(bundle, PROCESSING) or {})
    chosen = _samples(path, engine.batches, data, samples, inside)
    reference = path if inside is None else FileReference(path, model, inside.answer)
    try:
        has_graph = bool(bundle.manifest.get("cuda_graph"))
        return verify_engine(device, engine, export, reference, chosen, cuda_graph=has_graph)[0]
    except LinkError:
        raise
    except DeviceError as error:
        return VerifyReport(
            file=ENGINE,
            sha256="",
            reference=NETWORK,
            runtime=f"TensorRT {engine.tensorrt} on {device.link.name}",
            precision=precision,
            samples=len(chosen),
            outputs=(),
            problems=(f"it does not run: {str(error).replace(engine.plan, ENGINE)}",),
        )


def _kept_full(bundle: Bundle) -> tuple[str, ...]:
    """Layers that the engine was built to keep in FP32: where it goes wrong is looked for with such ones."""
    told: Any = read_text(bundle, VERIFICATION)
    for part in ("export", "export", "full"):
        told = told.get(part) if isinstance(told, dict) else None
    return tuple(map(str, told)) if isinstance(told, list) else ()


def _samples(
    path: Path, batches: Batches, data: str | Task | None, limit: int | None, inside: Inside | None
) -> Samples:
    """What the engine is run on; a network whose batch is free takes as many as the engine."""
    inputs, most = OnnxRunner(path, optimise=False).inputs, batches.most
    kind, is_file = next(iter(inputs.values()))[0], isinstance(data, str) and data.endswith((".npy", ".npz"))
    if inside is not None and not is_file:
        # A task gives what the network itself takes: numbers, which are brought back to stored values.
        inputs = {name: ("tensor(float)", shape) for name, (_, shape) in inputs.items()}
    if data is None:
        chosen = generated_samples(inputs, most * max(1, _GENERATED // most))
    else:
        chosen = fitting(load_samples(data, inputs, max(limit or _SAMPLES, most)), batches)
    return chosen if inside is None else stored_samples(chosen, inside, kind)
