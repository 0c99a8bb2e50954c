"""Prove that the engine on the board computes what the network computes, and say where it does not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray
from torch import nn

from edgesynth.agent.onnx_types import read_output_kinds
from edgesynth.deploy.batch_range import Batches, fitting
from edgesynth.deploy.divergence import Divergence, relative_error
from edgesynth.deploy.engine import BuildFailed, EngineOnBoard, build_engine, run_engine
from edgesynth.deploy.onnx_graph import load_model, value_of, with_types
from edgesynth.deploy.output_check import TOLERANCES
from edgesynth.deploy.runners import Arrays, OnnxRunner, tapped
from edgesynth.deploy.samples import Samples
from edgesynth.deploy.source import own_batch
from edgesynth.deploy.target import DeviceExport
from edgesynth.deploy.trial import Trial, in_every_size
from edgesynth.deploy.verify import Reference, VerifyReport, expected_outputs, reference_name, verify_outputs
from edgesynth.errors import DeviceError, InputError
from edgesynth.scratch import Scratch

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgesynth.devices import Device

__all__ = ["samples_for_board", "verify_engine"]

_MOST_BYTES: Final = 64 << 20
"""Of inputs that are sent to a board to compare outputs: seconds over a slow network."""
_MOST_SCORED_BYTES: Final = 640 << 20
"""Where the task's score is to be told too: 1024 images of 224x224, five seconds of a gigabit link."""
_RUNTIMES: Final = {"tensorrt": "TensorRT", "trtexec": "trtexec of TensorRT"}
_MOST_LOADS: Final = 32
"""Calls of an engine that is loaded for each: seconds apiece on a small board."""
_TAPS: Final = 16
"""Tensors inside the network that are looked at, where outputs differ."""


def samples_for_board(samples: Samples, batches: Batches, runner: str = "tensorrt", step: int = 1) -> Samples:
    """As many samples as are worth sending, in whole calls of the engine and more than one of them.

    Args:
        samples: All that there are.
        batches: Samples per call of the engine.
        runner: What runs it.
        step: Samples per call of what it is compared with.

    Raises:
        DataError: There are fewer than the largest call takes.
    """
    each = max(1, sum(value.nbytes for value in samples.data.values()) // len(samples))
    most = _MOST_BYTES if samples.score is None else _MOST_SCORED_BYTES
    whole = math.lcm(batches.most, step)
    count = min(len(samples), max(2 * whole, most // each))
    if runner == "trtexec":
        count = min(count, max(_MOST_LOADS * batches.most, whole))
    return fitting(samples.part(0, count), batches, step)


def verify_engine(
    device: Device,
    engine: EngineOnBoard,
    export: DeviceExport,
    reference: Path | Reference,
    samples: Samples,
    *,
    strict: bool = False,
    may_lose: float = 0.01,
    cuda_graph: bool = False,
    module: nn.Module | Reference | None = None,
) -> tuple[VerifyReport, VerifyReport | None]:
    """Run an engine, loaded from the board's disk anew, and compare each output with the network's.

    One for a range of batches is run on all samples in calls of the most, and on some again in calls of what
    is left, of the usual and of the least; each of these sizes is compared by itself.

    Args:
        device: Open, and a board.
        engine: On it.
        export: What the engine was built from.
        reference: The FP32 file that was exported, run by ONNX Runtime on this machine, or what else tells
            outputs.
        samples: Inputs, and what is true of them where that is known.
        strict: Whether a precision below FP32 must be shown to keep the task's score.
        may_lose: How much of the score it may lose.
        cuda_graph: Whether it is to launch calls as a CUDA graph, if it can; trtexec does not on inputs of
            ours.
        module: The PyTorch network that the reference was written from, or what tells outputs by it.

    Returns:
        The report by the file, and by the module where there is one. An engine that crashes or hangs is one
        that differs.

    Raises:
        DeviceError: The board cannot be reached, or the engine belongs to another one.
        InputError: The reference cannot run on the inputs.
    """
    step = own_batch(reference) if isinstance(reference, Path) else reference.step
    chosen = samples_for_board(samples, engine.batches, engine.runner, step)
    trial = Trial.of(engine.batches, len(chosen))
    report = VerifyReport(
        file=Path(engine.plan).name,
        sha256="",
        reference=reference.name,
        runtime=_runtime(engine, device),
        precision=export.precision,
        samples=len(chosen),
        outputs=(),
        sizes=() if engine.batches.fixed else trial.sizes,
    )
    exported = OnnxRunner(export.path, optimise=False)
    expected = expected_outputs(reference, exported, chosen.data)
    try:
        kinds = read_output_kinds(str(export.path))
        found = run_engine(
            device,
            engine.plan,
            engine.batches,
            trial.given(chosen.data),
            kinds,
            calls=[size for _, size in trial.calls],
            cuda_graph=cuda_graph and engine.runner == "tensorrt",
            dla_core=engine.dla_core,
        )
    except BuildFailed as failure:
        return dataclasses.replace(report, problems=(f"it does not run: {failure.reason}",)), None
    report = dataclasses.replace(
        report,
        runtime=f"{report.runtime}, as a CUDA graph" if found.cuda_graph else report.runtime,
        rounding=found.rounding,
        takes=found.takes,
        gives=found.gives,
        no_cuda_graph=found.no_cuda_graph,
    )
    advice = _advice(engine, len(chosen), len(samples))
    answers, module_report = trial.answers(found.arrays), None
    if module is not None:
        named = dataclasses.replace(report, reference=reference_name(module))
        module_report = verify_outputs(named, expected_outputs(module, exported, chosen.data), answers)
    report = verify_outputs(
        report,
        expected,
        answers,
        metric=chosen.score,
        metric_drop=may_lose,
        advice=advice,
        strict=strict,
    )
    if not engine.batches.fixed:
        report = in_every_size(report, expected, found.arrays, trial)
    wrong = [check for check in report.outputs if check.problem]
    if wrong:
        first = next((check.bad_sample for check in wrong if check.bad_sample is not None), 0)
        # Kernels may be others in another size of call, so it is looked for where it was found.
        size = engine.batch if any(check.batch is None for check in wrong) else wrong[0].batch or engine.batch
        start = min(first - first % size, len(chosen) - size)
        part = chosen.part(start, start + size)
        found_at = _divergence(device, export, part.data, engine.batches)
        report = dataclasses.replace(report, divergence=found_at)
    return report, module_report


def _runtime(engine: EngineOnBoard, device: Device) -> str:
    """What runs the engine, where, and on which core of a DLA."""
    where = f"{_RUNTIMES[engine.runner]} {engine.tensorrt} on {device.link.name}, {engine.gpu}"
    return where if engine.placement is None else f"{where}, {engine.placement.short}"


def _advice(engine: EngineOnBoard, sent: int, known: int) -> str:
    """How more samples get to the board; nothing where it was sent all that there were."""
    if sent + engine.batch > known:
        return ""
    if engine.runner == "trtexec":
        return (
            f"trtexec alone runs {_MOST_LOADS} calls here; install TensorRT for Python (sudo apt install "
            "python3-libnvinfer), or build with a larger --batch"
        )
    return f"{sent} of {known} are as many as are sent to a board; take a smaller input"


def _divergence(device: Device, export: DeviceExport, data: Arrays, batches: Batches) -> Divergence | None:
    """The first of some tensors inside the network, or else of its outputs, that an engine has wrong.

    An engine that gives such tensors back fuses fewer layers, so it may be right where the deployed one is
    wrong: then there is none.
    """
    model = load_model(export.path)
    limit = TOLERANCES[export.precision].rms
    names = _taps(model)
    wanted = tapped(model, names)
    with Scratch() as folder:
        path = folder.path / "tapped.onnx"
        path.write_bytes(wanted.SerializeToString())
        try:
            trusted = OnnxRunner(path, optimise=False)(data)
            engine = build_engine(device, dataclasses.replace(export, path=path), batches=batches)
            # Old boards' trtexec tells no types: outputs have the file's, and all else is floating-point.
            kinds = read_output_kinds(str(export.path))
            given = run_engine(device, engine.plan, engine.batches, data, kinds, dla_core=engine.dla_core)
            found = given.arrays
        except (BuildFailed, DeviceError, InputError):
            return None
    return _first_wrong(model, names, trusted, found, limit)


def _taps(model: ModelProto) -> list[str]:
    """Some tensors of numbers between inputs and outputs, evenly spread, in the order they are made in."""
    known = with_types(model).graph.value_info
    left_out = {value.name for value in known if value_of(value.type).type not in ("", "FLOAT", "FLOAT16")}
    left_out |= {value.name for value in model.graph.output}
    made = [
        name
        for node in model.graph.node
        if node.op_type not in {"Constant", "Cast", "QuantizeLinear", "DequantizeLinear", "Shape"}
        for name in node.output[:1]
        if name and name not in left_out
    ]
    stride = -(-len(made) // _TAPS) or 1
    return made[::-1][::stride][::-1]


def _first_wrong(
    model: ModelProto,
    names: list[str],
    trusted: Mapping[str, NDArray[Any]],
    found: Mapping[str, NDArray[Any]],
    limit: float,
) -> Divergence | None:
    makers = {name: node for node in model.graph.node for name in node.output}
    outputs = {value.name for value in model.graph.output}
    last = [name for name in makers if name in outputs]  # made by the layers behind the last tensor looked at
    for name in [*names, *last]:
        if name in found and name in trusted and trusted[name].dtype.kind in "fiu":
            error = relative_error(trusted[name], found[name])
            if error > limit:
                return Divergence(makers[name].name or name, makers[name].op_type, name, error)
    return None
