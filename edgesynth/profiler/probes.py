"""Small networks that are each bound by one thing: launches, arithmetic of one kind, or memory."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgesynth.errors import MissingDependencyError

if TYPE_CHECKING:
    import onnx

__all__ = ["PROBES", "Layer", "Probe", "write_probe"]

_OPSET: Final = 13  # what the oldest board that is supported reads
_IR_VERSION: Final = 7


@dataclass(frozen=True)
class Layer:
    """One layer of a probe; its inputs are the outputs of the layer before.

    Attributes:
        operator: ``conv``, ``depthwise``, ``linear``, ``relu``, ``pool`` (global), or ``save`` and ``add``,
            which add what was saved.
        channels: Output channels.
        kernel: Side of a square kernel.
        stride: Of a convolution.
    """

    operator: str
    channels: int = 0
    kernel: int = 3
    stride: int = 1


@dataclass(frozen=True)
class Probe:
    """One network of the calibration.

    Attributes:
        name: Says what bounds it on most devices.
        shape: One sample: channels, height, width; or features.
        layers: In order.
        batch: Samples per call.
        held_out: Not fitted to: the error of the fit is told on it.
        core: Also measured by the quick calibration.
    """

    name: str
    shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    batch: int = 1
    held_out: bool = False
    core: bool = False


def _convolutions(channels: int, count: int, kernel: int = 3) -> tuple[Layer, ...]:
    return (Layer("conv", channels, kernel),) * count


def _depthwise(channels: int, count: int, kernel: int) -> tuple[Layer, ...]:
    return (Layer("depthwise", channels, kernel),) * count


def _inverted(channels: int, hidden: int, out: int, stride: int) -> tuple[Layer, ...]:
    """An inverted bottleneck, with its addition where the shape allows one."""
    body = (
        Layer("conv", hidden, 1),
        Layer("relu"),
        Layer("depthwise", hidden, 3, stride),
        Layer("relu"),
        Layer("conv", out, 1),
    )
    return (Layer("save"), *body, Layer("add")) if stride == 1 and channels == out else body


def _basic(channels: int) -> tuple[Layer, ...]:
    """A residual block of two convolutions."""
    pair = (Layer("conv", channels), Layer("relu"), Layer("conv", channels))
    return (Layer("save"), *pair, Layer("add"), Layer("relu"))


_HEAD: Final = (Layer("pool"), Layer("linear", 10))
_RESIDUAL: Final = (
    Layer("conv", 32),
    Layer("relu"),
    *_basic(32),
    Layer("conv", 64, stride=2),
    Layer("relu"),
    *_basic(64),
    Layer("conv", 128, stride=2),
    Layer("relu"),
    *_basic(128),
    *_HEAD,
)
_MOBILE: Final = (
    Layer("conv", 16, stride=2),
    Layer("relu"),
    *_inverted(16, 96, 24, 2),
    *_inverted(24, 144, 24, 1),
    *_inverted(24, 144, 40, 2),
    *_inverted(40, 240, 40, 1),
    *_HEAD,
)

PROBES: Final = (
    Probe("launches, 4", (8, 8, 8), _convolutions(8, 4), core=True),
    Probe("launches, 16", (8, 8, 8), _convolutions(8, 16)),
    Probe("launches, 48", (8, 8, 8), _convolutions(8, 48), core=True),
    Probe("convolution 64 of 56x56", (64, 56, 56), _convolutions(64, 2), core=True),
    Probe("convolution 128 of 28x28", (128, 28, 28), _convolutions(128, 4)),
    Probe("convolution 256 of 14x14", (256, 14, 14), _convolutions(256, 4)),
    Probe("convolution 64 of 28x28, batch 8", (64, 28, 28), _convolutions(64, 2), batch=8),
    Probe("convolution 1x1, 256 of 28x28", (256, 28, 28), _convolutions(256, 4, 1)),
    Probe("depthwise 5x5, 128 of 56x56", (128, 56, 56), _depthwise(128, 4, 5), core=True),
    Probe("depthwise 7x7, 64 of 56x56", (64, 56, 56), _depthwise(64, 4, 7)),
    Probe("depthwise 3x3, 256 of 28x28", (256, 28, 28), _depthwise(256, 6, 3)),
    Probe("linear 512, batch 128", (512,), (Layer("linear", 512),) * 4, batch=128, core=True),
    Probe("linear 1024, batch 64", (1024,), (Layer("linear", 1024),) * 2, batch=64),
    Probe("memory, weights of 2048x2048", (2048,), (Layer("linear", 2048),), core=True),
    Probe("memory, 1x1 of 8 of 224x224", (8, 224, 224), _convolutions(8, 3, 1), core=True),
    Probe("residual network of 32x32", (3, 32, 32), _RESIDUAL, held_out=True, core=True),
    Probe("residual network of 64x64, batch 4", (3, 64, 64), _RESIDUAL, batch=4, held_out=True),
    Probe("mobile network of 96x96", (3, 96, 96), _MOBILE, held_out=True, core=True),
    Probe("mobile network of 160x160", (3, 160, 160), _MOBILE, held_out=True),
)
"""Every network of a calibration, those it is fitted to first."""


def write_probe(probe: Probe, folder: Path) -> Path:
    """Write a probe as an ONNX file with random weights and a free batch.

    Raises:
        MissingDependencyError: ``onnx`` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("writing ONNX files needs onnx; pip install onnx") from error
    path = folder / f"probe-{zlib.crc32(repr(probe).encode()):08x}.onnx"
    onnx.save(_Writer(probe.shape).model(probe.layers), str(path))
    return path


class _Writer:
    """Strings layers together; the shape is that of one sample."""

    def __init__(self, shape: Sequence[int]) -> None:
        from onnx import TensorProto, helper

        self._helper = helper
        self._float = TensorProto.FLOAT
        self._random = np.random.default_rng(0)
        self._input = tuple(shape)
        self._shape = tuple(shape)
        self._last = self._saved = "input"
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def model(self, layers: Sequence[Layer]) -> onnx.ModelProto:
        """The whole network."""
        for layer in layers:
            getattr(self, f"_{layer.operator}")(layer)
        graph = self._helper.make_graph(
            self._nodes,
            "probe",
            [self._helper.make_tensor_value_info("input", self._float, ["n", *self._input])],
            [self._helper.make_tensor_value_info(self._last, self._float, ["n", *self._shape])],
            self._weights,
        )
        opsets = [self._helper.make_opsetid("", _OPSET)]
        return self._helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

    def _conv(self, layer: Layer, groups: int = 1) -> None:
        channels, height, width = self._shape
        inputs = channels // groups
        weight = self._weight((layer.channels, inputs, layer.kernel, layer.kernel), inputs * layer.kernel**2)
        self._node(
            "Conv",
            [self._last, weight],
            group=groups,
            kernel_shape=[layer.kernel, layer.kernel],
            strides=[layer.stride, layer.stride],
            pads=[layer.kernel // 2] * 4,
        )
        sides = [(side - 1) // layer.stride + 1 for side in (height, width)]
        self._shape = (layer.channels, *sides)

    def _depthwise(self, layer: Layer) -> None:
        self._conv(layer, groups=self._shape[0])

    def _linear(self, layer: Layer) -> None:
        weight = self._weight((self._shape[0], layer.channels), self._shape[0])
        bias = self._weight((layer.channels,), 100)
        self._node("Gemm", [self._last, weight, bias])
        self._shape = (layer.channels,)

    def _relu(self, layer: Layer) -> None:
        self._node("Relu", [self._last])

    def _pool(self, layer: Layer) -> None:
        self._node("GlobalAveragePool", [self._last])
        self._node("Flatten", [self._last])
        self._shape = self._shape[:1]

    def _save(self, layer: Layer) -> None:
        self._saved = self._last

    def _add(self, layer: Layer) -> None:
        self._node("Add", [self._last, self._saved])

    def _node(self, operator: str, inputs: list[str], **attributes: Any) -> None:  # noqa: ANN401
        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(self._helper.make_node(operator, inputs, [name], name=name, **attributes))
        self._last = name

    def _weight(self, shape: Sequence[int], fan_in: int) -> str:
        from onnx import numpy_helper

        name = f"weight_{len(self._weights)}"
        values = self._random.standard_normal(shape, dtype=np.float32) * (2.0 / fan_in) ** 0.5
        self._weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name
