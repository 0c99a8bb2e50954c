"""An ONNX file run by torch, called like an inference session of ONNX Runtime.

For machines whose torch knows the GPU and whose ONNX Runtime does not. Operators are called one by one, as
torch's eager mode does; what depends on shapes alone is computed once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesynth.devices.onnx_file import DEFAULT_DOMAINS
from edgesynth.devices.torch_arguments import Inputs, Unsupported
from edgesynth.devices.torch_operators import OPERATORS
from edgesynth.errors import DeviceError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["TorchSession"]

_OLDEST: Final = 13
_REMEDY: Final = "install onnxruntime-gpu, which runs it (pip install 'edgesynth[gpu]')"
_KINDS: Final = {1: "float", 2: "uint8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "double"}


@dataclass(frozen=True)
class _Input:
    """As ONNX Runtime says of an input."""

    name: str
    type: str
    shape: list[int | str | None]


@dataclass(frozen=True)
class _Node:
    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class TorchSession:
    """A network on one device.

    Args:
        model: Path of an ONNX file, or its bytes.
        device: Of torch: ``cuda`` or ``cpu``.

    Raises:
        DeviceError: It has an operator that is not run here.
    """

    def __init__(self, model: str | bytes, device: str) -> None:
        import onnx
        from onnx import numpy_helper

        loaded = onnx.load_model_from_string(model) if isinstance(model, bytes) else onnx.load(model)
        self._device = torch.device(device)
        _check(loaded)
        weights = {each.name: torch.tensor(numpy_helper.to_array(each)) for each in loaded.graph.initializer}
        nodes = [_read(node) for node in loaded.graph.node]
        for node in nodes:
            if node.operator == "Constant":
                weights[node.outputs[0]] = torch.tensor(node.attributes["value"])
        self._nodes = [node for node in nodes if node.operator != "Constant"]
        factors = {name for node in self._nodes if node.operator == "Resize" for name in node.inputs[1:]}
        # Whole numbers are shapes, axes and indices: they are wanted where Python is, as factors are.
        self._weights = {
            name: value.to(self._device)
            if value.is_floating_point() and value.ndim and name not in factors
            else value
            for name, value in weights.items()
        }
        self._outputs = [value.name for value in loaded.graph.output]
        self._inputs = [
            _Input(
                value.name,
                f"tensor({_KINDS.get(value.type.tensor_type.elem_type, 'of another kind')})",
                [
                    size.dim_value if size.HasField("dim_value") else size.dim_param or None
                    for size in value.type.tensor_type.shape.dim
                ],
            )
            for value in loaded.graph.input
            if value.name not in self._weights
        ]
        self._last_use = {name: index for index, node in enumerate(self._nodes) for name in node.inputs}
        self._wanted = {*self._last_use, *self._outputs} - {""}
        self._known: dict[str, Tensor] = {}
        self._known_of: object = None

    def get_inputs(self) -> list[_Input]:
        """What it takes."""
        return self._inputs

    def run(self, outputs: None, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Copy inputs to the device, compute, and copy the outputs back.

        Raises:
            DeviceError: It has an operator that is not run here in this way.
        """
        del outputs
        shapes = {name: value.shape for name, value in feeds.items()}
        if shapes != self._known_of:
            self._known, self._known_of = dict(self._weights), shapes
        with torch.inference_mode():
            values = self._moved(feeds)
            self._compute(values)
            found = [values[name] if name in values else self._known[name] for name in self._outputs]
            return [np.asarray(value.cpu()) for value in found]

    def time_layers(self, feeds: Mapping[str, NDArray[Any]], runs: int) -> list[tuple[str, float]]:
        """Name and mean time in ms of every operator that runs, in order; what is computed once is not in it.

        On a GPU it is the time of its stream, which waits where a launch takes longer than what is launched.

        Args:
            feeds: Inputs by name.
            runs: Calls to average over; one more loads everything.

        Raises:
            DeviceError: It has an operator that is not run here in this way.
        """
        self.run(None, feeds)
        names: list[str] = []
        taken_ms = np.zeros(0)
        with torch.inference_mode():
            for _ in range(runs):
                values = self._moved(feeds)  # before the clock runs: it is no part of the first operator
                stopwatch = _Stopwatch(self._device)
                self._compute(values, stopwatch.lap)
                names, spans_ms = stopwatch.read()
                taken_ms = np.array(spans_ms) + (taken_ms if len(taken_ms) else 0.0)
        return list(zip(names, (taken_ms / runs).tolist(), strict=True))

    def _moved(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(value).to(self._device) for name, value in feeds.items()}

    def _run(self, node: _Node, taken: Inputs) -> Sequence[Tensor]:
        """The outputs of one operator, without those that nobody takes."""
        made = OPERATORS[node.operator](taken, node.attributes)
        given = [made] if isinstance(made, Tensor) else made
        for name in node.outputs[len(given) :]:
            if name in self._wanted:
                raise Unsupported(f"its output {name!r} is asked for too")
        return given

    def _compute(self, values: dict[str, Tensor], ran: Callable[[str], None] = lambda name: None) -> None:
        known = self._known
        for index, node in enumerate(self._nodes):
            if node.outputs[0] in known:
                continue
            taken = [known.get(name, values.get(name)) if name else None for name in node.inputs]
            try:
                given = self._run(node, taken)
            except Unsupported as why:
                raise DeviceError(
                    f"torch is not asked to run this {node.operator}: {why}; {_REMEDY}"
                ) from why
            fixed = node.operator == "Shape" or all(name in known for name in node.inputs if name)
            where = known if fixed else values
            where.update(zip(node.outputs, given, strict=False))
            ran(node.name)
            for name in node.inputs:
                if self._last_use[name] == index and name not in self._outputs:
                    values.pop(name, None)


class _Stopwatch:
    """Tells how long each operator took, by the clock of where it runs."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._names: list[str] = []
        self._marks = [self._mark()]

    def lap(self, name: str) -> None:
        """An operator of this name has been run, or launched."""
        self._names.append(name)
        self._marks.append(self._mark())

    def read(self) -> tuple[list[str], list[float]]:
        """Names, and times in ms."""
        if self._on_gpu:
            torch.cuda.synchronize()
        return self._names, [
            begin.elapsed_time(end) if self._on_gpu else 1e3 * (end - begin)
            for begin, end in itertools.pairwise(self._marks)
        ]

    def _mark(self) -> Any:  # noqa: ANN401 - an event of the GPU, or seconds
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def _check(model: ModelProto) -> None:
    opset = max((each.version for each in model.opset_import if not each.domain), default=0)
    if opset < _OLDEST:
        raise DeviceError(
            f"torch is not asked to run operator sets before {_OLDEST}, and this is {opset}; {_REMEDY}"
        )
    unknown = {
        node.op_type
        for node in model.graph.node
        if node.op_type not in (*OPERATORS, "Constant") or node.domain not in DEFAULT_DOMAINS
    }
    if unknown:
        raise DeviceError(f"torch is not asked to run {', '.join(sorted(unknown))}; {_REMEDY}")


def _read(node: NodeProto) -> _Node:
    from onnx import TensorProto, helper, numpy_helper

    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    read: dict[str, Any] = {
        key: value.decode() if isinstance(value, bytes) else value for key, value in attributes.items()
    }
    if node.op_type == "Constant" and "value" not in read:
        raise DeviceError(f"torch is not asked to run a Constant of {', '.join(read)}; {_REMEDY}")
    for name, value in read.items():
        if isinstance(value, TensorProto):
            read[name] = numpy_helper.to_array(value)
    return _Node(node.name or node.op_type, node.op_type, tuple(node.input), tuple(node.output), read)
