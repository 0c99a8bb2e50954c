"""From any network to a file a device takes: pre-flight, export, verification, and a real builder.

Fails closed: the file is kept only when nothing was refused and every output agrees.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from torch import nn

from edgesynth.agent.onnx_types import read_precision
from edgesynth.deploy.acceptance import HIGHEST
from edgesynth.deploy.batch_range import Batches, fitting, refuse_shared_outputs
from edgesynth.deploy.inside import Enclosed, check_steps, enclose
from edgesynth.deploy.onnx_graph import batch_of, load_model
from edgesynth.deploy.preflight import Preflight, preflight
from edgesynth.deploy.rtx import RtxBuild, build_with_rtx, rtx_missing
from edgesynth.deploy.runners import OnnxRunner
from edgesynth.deploy.samples import Samples, generated_samples, load_samples
from edgesynth.deploy.source import own_batch
from edgesynth.deploy.target import Batch, DeviceExport, export_for_device, is_quantised, prepare
from edgesynth.deploy.verify import VerifyReport, verify
from edgesynth.errors import InputError, MissingDependencyError
from edgesynth.runs.atomic import write_atomic
from edgesynth.runs.faults import disk_faults
from edgesynth.scratch import Scratch

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgesynth.devices import Profile
    from edgesynth.tasks import Task

__all__ = ["Delivery", "chosen_samples", "deliver", "prepared"]

_SAMPLES: Final = 256
"""The most samples taken of the user's data, where only outputs are compared."""
_SCORED: Final = 1024
"""Where the task's score is to accept a precision: that it loses less than 1 % takes 400 at the least."""
_CALIBRATED: Final = 128
"""The most samples that ranges of INT8 are chosen on; the rest judges."""
_GENERATED: Final = 32
_NUMBERS: Final = 1 << 28
"""Of outputs that are held to be compared: a gigabyte on either side."""
_COARSE: Final = (
    "FP16 spoils the outputs on these inputs, whatever half of the layers stays in FP32: imitated by "
    "rounding what layers take and make, which the runtime here does not do in every FP16 graph; stay with "
    "fp32"
)


@dataclass(frozen=True)
class Delivery:
    """What became of a network; true exactly when it may go to the device.

    Attributes:
        preflight: What is known about it on the device.
        export: The file, or ``None`` when it was refused before.
        report: Its verification, by the file it came from.
        module_report: Its verification by the PyTorch module, where there is one.
        build: What a real builder made of it; ``None`` without one.
        data: What it was verified on.
        kept: Whether the file is where it was asked for.
        samples: The same, themselves, as the file takes them.
        enclosed: The network with more inside it, where that was asked for.
    """

    preflight: Preflight
    export: DeviceExport | None = None
    report: VerifyReport | None = None
    module_report: VerifyReport | None = None
    build: RtxBuild | None = None
    data: str = ""
    kept: bool = False
    samples: Samples | None = field(default=None, repr=False)
    enclosed: Enclosed | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """Why it may not go to the device, one line each."""
        refused = [
            f"{found.node or 'the file'}{f' ({found.operator})' if found.operator else ''}: {found.reason}"
            for found in self.preflight.refusals
        ]
        for report in (self.report, self.module_report):
            refused += report.failures if report is not None else ()
        if self.export is not None and self.export.coarse and self.export.strongly_typed:
            refused.append(_COARSE)  # where flags make FP16, the board decides
        if self.build is not None and not self.build:
            refused += [f"TensorRT for RTX: {error}" for error in self.build.errors]
        return tuple(dict.fromkeys(refused))  # the module may differ in the very same way

    @property
    def metric_name(self) -> str:
        """What outputs were scored by; empty where nothing was known to score them by."""
        score = None if self.samples is None else self.samples.score
        return "" if score is None else score.name

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        parts = {
            "preflight": self.preflight,
            "export": self.export,
            "verify": self.report,
            "verify_module": self.module_report,
            "build": self.build,
        }
        return {
            "passed": bool(self),
            "failures": list(self.failures),
            "data": self.data,
            "kept": self.kept,
            "inside": None if self.enclosed is None else self.enclosed.inside.to_json(),
            **{name: None if part is None else part.to_json() for name, part in parts.items()},
        }


def deliver(
    source: str | os.PathLike[str],
    profile: Profile,
    path: str | os.PathLike[str] | None,
    *,
    precision: str = "fp32",
    batch: Batch | None = None,
    data: str | Task | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    module: nn.Module | None = None,
    must_build: bool = False,
    samples: int | None = None,
    strict: bool = False,
    may_lose: float = 0.01,
    inside: Sequence[str] = (),
    most: int = 1,
) -> Delivery:
    """Check, export, verify and build one network for one device.

    Args:
        source: An FP32 ONNX file.
        profile: The device.
        path: Where the file is kept; ``None`` keeps none.
        precision: ``fp32``, ``fp16`` or ``int8``.
        batch: Samples per call, ``dynamic``, or as the source has it.
        data: Real inputs, see :func:`~edgesynth.deploy.samples.load_samples`; INT8 needs them.
        shapes: Sizes for free axes, by input.
        module: The PyTorch network the source was written from, to compare with as well.
        must_build: Refuse to go on without a real builder.
        samples: The most to take of the data; 256, or 1024 where the task's score is to tell whether a
            precision below FP32 will do.
        strict: Whether such a precision must be shown to keep the task's score; see
            :mod:`edgesynth.deploy.acceptance`.
        may_lose: How much of the task's score it may lose.
        inside: What else the graph is to do itself; see :mod:`edgesynth.deploy.inside`.
        most: Samples of the largest call of an engine for a range of batches.

    Raises:
        InputError: The source, the data or an option cannot be used.
        MissingDependencyError: A builder is demanded and not installed.
        RunError: The file cannot be written.
    """
    if must_build and (missing := rtx_missing()):
        raise MissingDependencyError(missing)
    check_steps(inside)
    found, model = prepared(source, profile, precision=precision, batch=batch, shapes=shapes)
    if read_precision(str(source)) == "fp16" != precision:
        raise InputError(f"{Path(source).name} computes in fp16 itself; ask for that, or export it in fp32")
    if model is None or not found:
        return Delivery(found)
    step, enclosed = own_batch(Path(source)), None
    chosen = chosen_samples(model, data, precision, samples, most=most, step=step)
    if inside:
        enclosed = enclose(model, Path(source), chosen, inside, profile)
        model, chosen = enclosed.model, enclosed.samples
        if not (found := preflight(enclosed.whole(), profile, precision=precision)):
            return Delivery(replace(found, file=Path(source).name))
        if not (proof := enclosed.proof()):
            return Delivery(found, report=proof, enclosed=enclosed)
    calibration = chosen
    if precision == "int8" and not is_quantised(model):
        # What ranges were chosen on cannot tell how good they are.
        calibration, chosen = chosen.apart(_whole_calls(model, most, step), _CALIBRATED)
    if enclosed is not None:
        chosen = enclosed.finished(chosen)
    with Scratch() as folder:
        scratch = folder.path / (Path(path).name if path else "network.onnx")
        export = export_for_device(
            model,
            profile,
            scratch,
            precision=precision,
            data=calibration.data if calibration.real else None,
            metric=calibration.score,
            finish=None if enclosed is None else enclosed.finish,
        )
        found = preflight(scratch, profile, precision=precision)
        # Where a flag of the builder makes FP16, the file itself computes in FP32 still.
        in_file = "fp32" if precision == "fp16" and not export.strongly_typed else precision
        options: dict[str, Any] = {
            "precision": in_file,
            "opset": export.opset,
            "batch": export.batch if isinstance(export.batch, int) else 0,
            "metric": chosen.score,
            "metric_drop": may_lose,
            "strict": strict,
        }
        delivery = Delivery(
            found,
            export,
            verify(scratch, enclosed.reference if enclosed else source, chosen.data, **options),
            None
            if module is None
            else verify(scratch, enclosed.by(module) if enclosed else module, chosen.data, **options),
            None if rtx_missing() else build_with_rtx(scratch, batch=options["batch"] or most),
            data=f"{len(chosen)} samples, {chosen.source}",
            samples=chosen,
            enclosed=enclosed,
        )
        if path is None or not delivery:
            return delivery
        with disk_faults(Path(path)):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(Path(path), scratch.read_bytes())
    return replace(delivery, export=replace(export, path=Path(path)), kept=True)


def prepared(
    source: str | os.PathLike[str],
    profile: Profile,
    *,
    precision: str,
    batch: Batch | None,
    shapes: Mapping[str, Sequence[int]] | None,
) -> tuple[Preflight, ModelProto | None]:
    """What is known about the source once it is in the device's opset, and the source so.

    Raises:
        InputError: It cannot be read, or not be made what is asked for.
    """
    found = preflight(source, profile, precision=precision)
    if any("data file" in refusal.reason for refusal in found.refusals):
        return found, None
    try:
        model = prepare(load_model(source), profile, batch=batch, shapes=shapes)
    except InputError:
        if found.refusals:
            return found, None
        raise
    again = preflight(model, profile, precision=precision, folder=Path(source).parent)
    return replace(again, file=Path(source).name), model


def chosen_samples(
    model: ModelProto,
    data: str | Task | None,
    precision: str,
    limit: int | None,
    *,
    most: int = 1,
    step: int = 1,
) -> Samples:
    """What a network is verified on, and calibrated where it is to be.

    Args:
        model: As it is to run on the device.
        data: Real inputs; generated ones where there are none.
        precision: What it is to run in.
        limit: The most to take.
        most: Samples of the largest call, where that is not the model's own.
        step: What their number must be a multiple of besides: samples per call of what it is compared with.

    Raises:
        InputError: The data cannot be used, or INT8 has none to be calibrated on.
    """
    if precision == "int8" and data is None and not is_quantised(model):
        raise InputError("INT8 needs real inputs to calibrate on; give --data with some dozens of samples")
    runner, needed = OnnxRunner(model), _whole_calls(model, most, step)
    _check_batches(runner)
    if data is None:
        chosen = generated_samples(runner.inputs, needed * max(1, _GENERATED // needed))
    else:
        found = load_samples(data, runner.inputs, max(limit or _SCORED, needed))
        if limit is None:
            most_told = _SAMPLES if found.score is None or precision == HIGHEST else _SCORED
            found = found.part(0, max(min(most_told, _held(runner)), needed))
        chosen = fitting(found, Batches(1, most, most), math.lcm(batch_of(model) or 1, step))
    if most > 1 and batch_of(model) is None:
        refuse_shared_outputs(runner, chosen.data)
    return chosen


def _check_batches(runner: OnnxRunner) -> None:
    """Refuse inputs that do not all count the same samples along axis 0."""
    first = {
        name: "no axis" if not shape else shape[0] if isinstance(shape[0], int) else "free"
        for name, (_, shape) in runner.inputs.items()
    }
    if len(set(first.values())) > 1 or "no axis" in first.values():
        told = ", ".join(f"{name!r} {size}" for name, size in first.items())
        raise InputError(
            f"axis 0 of every input counts samples, and here it is not the same ({told}); give every input "
            "such an axis in the export, or fix its value"
        )


def _held(runner: OnnxRunner) -> int:
    """Samples whose outputs can be held and compared at once, and some dozens however large those are."""
    shapes = [shape[1:] for _, shape in runner.output_types.values()]
    each = sum(math.prod(size for size in shape if isinstance(size, int)) for shape in shapes)
    return max(_GENERATED, _NUMBERS // max(1, each))


def _whole_calls(model: ModelProto, most: int, step: int) -> int:
    """Samples that are a call of the largest size at the least, and whole calls of every fixed one."""
    each = math.lcm(batch_of(model) or 1, step)
    return -(-most // each) * each
