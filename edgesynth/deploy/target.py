"""One ONNX file for one device: the opset its parser reads, the batch asked for, precision where it belongs.

TensorRT before 10.12 takes an FP32 file and a builder flag for FP16; later ones take precision from the types
of the graph. INT8 is explicit Q/DQ everywhere. What is written is read back, checked and loaded first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.folding import fold_constants
from edgesynth.deploy.inside_graph import exact_nodes
from edgesynth.deploy.lowering import is_quantised, lower
from edgesynth.deploy.onnx_graph import default_opset, load_model
from edgesynth.deploy.opset import convert_opset
from edgesynth.deploy.quantisation import METHODS, Calibration, Metric
from edgesynth.deploy.runners import NUMPY_TYPES, Arrays, OnnxRunner, first_line
from edgesynth.devices.half import Kept
from edgesynth.devices.release import half_is_in_graph, parse_release
from edgesynth.errors import InputError
from edgesynth.runs.atomic import write_atomic
from edgesynth.runs.faults import disk_faults

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgesynth.devices import Profile

__all__ = ["Batch", "DeviceExport", "export_for_device", "is_quantised", "prepare"]

Batch = int | Literal["dynamic"]
"""A fixed number of samples per call, or a free one."""


@dataclass(frozen=True)
class DeviceExport:
    """A file written for a device, as read back from disk.

    Attributes:
        path: Where it is.
        device: The profile's name.
        tensorrt: Its release.
        precision: What it is to run in.
        opset: The default operator set the file declares.
        batch: Samples per call, or ``dynamic``.
        bytes: Its size.
        sha256: Hex digest of its content.
        inputs: Graph inputs in call order.
        outputs: Graph outputs in return order.
        flags: Flags the builder must set, by TensorRT's name; none when precision is in the graph.
        strongly_typed: Whether the builder takes precision from the graph.
        kept: Nodes that stay in a higher precision, and why.
        full: Names of nodes that the builder must be told to keep in FP32, beside its flags.
        calibrations: INT8: the ways to choose ranges that were compared, the chosen one first.
        coarse: Whether FP16, imitated, spoils the outputs whatever stays higher.
    """

    path: Path
    device: str
    tensorrt: str
    precision: str
    opset: int
    batch: Batch
    bytes: int
    sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    flags: tuple[str, ...]
    strongly_typed: bool
    kept: tuple[Kept, ...] = ()
    full: tuple[str, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
    coarse: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "path": str(self.path)}


def prepare(
    model: ModelProto,
    profile: Profile,
    *,
    batch: Batch | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    opset: int | None = None,
) -> ModelProto:
    """A copy of a model in the opset of a device, with the batch and sizes that are wanted.

    Args:
        model: Any.
        profile: The device.
        batch: Fix the batch at this, or free it; ``None`` leaves it as it is.
        shapes: Sizes for free axes, one whole shape per input name.
        opset: Another opset than the profile's.

    Raises:
        InputError: The opset cannot be converted, or a shape does not fit its input.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # Old exporters list weights among the inputs, which would make them arguments once they are renamed.
    weights = {tensor.name for tensor in copy.graph.initializer}
    for value in [value for value in copy.graph.input if value.name in weights]:
        copy.graph.input.remove(value)
    wanted = opset or profile.compiler.opset
    # An older opset is read as well; only what the file must have is converted.
    if default_opset(copy) > wanted or (opset and default_opset(copy) != opset):
        copy = convert_opset(copy, wanted)
    copy = fold_constants(copy)
    # A parser may refuse a file of a newer layout than it was built with, whatever the file uses of it.
    copy.ir_version = min(copy.ir_version, 8 if default_opset(copy) <= 17 else 10)
    _fix_sizes(copy, shapes or {})
    if batch is not None:
        _set_batch(copy, batch)
    _name_nodes(copy)
    return copy


def export_for_device(
    source: str | os.PathLike[str] | ModelProto,
    profile: Profile,
    path: str | os.PathLike[str],
    *,
    precision: str = "fp32",
    batch: Batch | None = None,
    data: Arrays | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    methods: Sequence[str] = tuple(METHODS),
    metric: Metric | None = None,
    finish: Callable[[ModelProto], None] | None = None,
) -> DeviceExport:
    """Write the file that the TensorRT of a device is to build.

    Args:
        source: An FP32 ONNX file, such as :func:`~edgesynth.deploy.onnx.export_onnx` writes, or a model; one
            that holds Q/DQ pairs already is taken as INT8 as it is.
        profile: The device.
        path: The file to write; its folder is made when missing. It appears whole or not at all.
        precision: ``fp32``, ``fp16`` or ``int8``.
        batch: Samples per call, ``dynamic``, or as the source has it.
        data: Real inputs by name, axis 0 the batch. INT8 is calibrated on them; layers that a precision
            spoils are looked for with them, and stay higher.
        shapes: Sizes for free axes, by input.
        methods: INT8: ways to choose ranges to compare.
        metric: INT8: a score of the outputs on ``data`` that decides instead of their error.
        finish: Changes the model once it is in its precision; what it adds and calls exact stays in FP32.

    Raises:
        InputError: The source is damaged, the device does not compute in this precision (with the profile's
            reason), data are missing, or the file cannot be made.
        RunError: The file cannot be written.
    """
    profile.precision(precision)
    release = parse_release(profile.software.tensorrt)
    typed = release is not None and half_is_in_graph(release)
    model = prepare(
        load_model(source) if isinstance(source, str | os.PathLike) else source,
        profile,
        batch=batch,
        shapes=shapes,
    )
    found = lower(model, precision, typed=typed, data=data, methods=methods, metric=metric)
    model, kept, full = found.model, found.kept, found.full
    if finish is not None:
        before = {node.name for node in model.graph.node}
        finish(model)
        added = tuple(each for each in exact_nodes(model) if each.node not in before)
        if precision != "fp32":
            kept = (*kept, *added)
            full = full if typed else (*full, *(each.node for each in added))
    return _write(
        model,
        Path(path),
        profile,
        DeviceExport(
            path=Path(path),
            device=profile.name,
            tensorrt=profile.software.tensorrt,
            precision=precision,
            opset=0,
            batch=_batch_of(model),
            bytes=0,
            sha256="",
            inputs=tuple(value.name for value in model.graph.input),
            outputs=tuple(value.name for value in model.graph.output),
            flags=found.flags,
            strongly_typed=typed,
            kept=kept,
            full=full,
            calibrations=found.calibrations,
            coarse=found.coarse,
        ),
    )


def _write(model: ModelProto, path: Path, profile: Profile, export: DeviceExport) -> DeviceExport:
    """Check what is to be written by reading it back, then write it at once."""
    import onnx

    # Where the file came from is nobody's business, and equal networks must be equal files.
    model.doc_string = ""
    payload = model.SerializeToString(deterministic=True)
    again = onnx.load_model_from_string(payload)
    try:
        onnx.checker.check_model(again, full_check=True)
    except Exception as error:
        raise InputError(
            f"the file for {profile.name} is not well-formed: {first_line(error)}; not kept"
        ) from error
    written = default_opset(again)
    if written > profile.compiler.opset:
        raise InputError(
            f"{path.name} came out as opset {written}, {profile.name} reads up to {profile.compiler.opset}"
        )
    OnnxRunner(again)  # refuses what no runtime can load
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, payload)
    digest = hashlib.sha256(payload).hexdigest()
    return DeviceExport(**{**export.__dict__, "opset": written, "bytes": len(payload), "sha256": digest})


def _name_nodes(model: ModelProto) -> None:
    """Name the nodes that have no name: a builder is told of layers by the names of their nodes."""
    taken = {node.name for node in model.graph.node}
    for index, node in enumerate(model.graph.node):
        if not node.name:
            names = (f"{node.op_type}_{index}{'_' * more}" for more in count())
            node.name = next(name for name in names if name not in taken)
            taken.add(node.name)


def _fix_sizes(model: ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    values = {value.name: value for value in model.graph.input}
    for name, shape in shapes.items():
        if name not in values:
            raise InputError(f"there is no input {name!r}; the inputs are {', '.join(values)}")
        axes = values[name].type.tensor_type.shape.dim
        known = [
            axis.dim_value if axis.HasField("dim_value") and axis.dim_value >= 0 else None for axis in axes
        ]
        if len(shape) != len(known) or any(
            a not in {None, b} for a, b in zip(known[1:], shape[1:], strict=True)
        ):
            given = "x".join(map(str, shape))
            raise InputError(
                f"{given} does not fit the input {name!r}, {'x'.join(str(a or '?') for a in known)}"
            )
        for axis, size in zip(list(axes)[1:], shape[1:], strict=True):
            axis.dim_value = size
    if shapes:
        _forget_shapes(model)


def _set_batch(model: ModelProto, batch: Batch) -> None:
    """Fix or free axis 0; a free one is proven by running two sizes, since a shape may be fixed inside."""
    was = _batch_of(model)
    if was == batch:
        return
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        if not axes:
            continue
        if batch == "dynamic":
            axes[0].dim_param = "batch"
        else:
            axes[0].dim_value = batch
    _forget_shapes(model)
    if was != "dynamic":
        _prove_batch(model, (2, 3) if batch == "dynamic" else (int(batch),), was)


def _prove_batch(model: ModelProto, sizes: Sequence[int], was: Batch) -> None:
    problem = ""
    try:
        runner = OnnxRunner(model)
        for size in sizes:
            found = runner(_zeros(runner, size))
            if any(value.shape[:1] != (size,) for value in found.values()):
                problem = f"{size} samples give outputs with another first axis"
    except InputError as error:
        problem = str(error)
    if problem:
        raise InputError(
            f"the batch is fixed at {was} inside the network ({problem}); export it with a free one"
        )


def _zeros(runner: OnnxRunner, batch: int) -> dict[str, NDArray[Any]]:
    return {
        name: np.zeros(
            [batch, *(s if isinstance(s, int) else 1 for s in shape[1:])], NUMPY_TYPES.get(kind, np.float32)
        )
        for name, (kind, shape) in runner.inputs.items()
    }


def _forget_shapes(model: ModelProto) -> None:
    """Drop declared shapes that follow from the inputs', which have changed."""
    import onnx

    del model.graph.value_info[:]
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.output}
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    known = {value.name: value for value in inferred.graph.output}
    for value in model.graph.output:
        value.CopyFrom(known.get(value.name, value))
        if not value.type.tensor_type.HasField("shape"):
            # Every output needs a shape; what cannot be inferred is free.
            value.type.tensor_type.shape.SetInParent()
            for _ in range(ranks[value.name]):
                value.type.tensor_type.shape.dim.add()


def _batch_of(model: ModelProto) -> Batch:
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        if axes:
            fixed = axes[0].HasField("dim_value") and axes[0].dim_value > 0
            return int(axes[0].dim_value) if fixed else "dynamic"
    return "dynamic"
