"""A fixed load that tells how fast this machine is at the moment.

The speed of a shared or virtual machine changes without a clock that shows it, and a network that was timed
at one speed cannot be compared with one that was timed at another. The same known work, done between the
timed calls, shows it. It is recorded beside the figures and never used to correct them: networks do not all
slow down alike.
"""

from __future__ import annotations

import statistics
import time
from typing import Final

import numpy as np

from edgesynth.devices.runtimes import Runtime

__all__ = ["REFERENCE", "ReferenceLoad"]

_CHANNELS: Final = 64
_SIZE: Final = 16
_LAYERS: Final = 4
_FEWEST: Final = 5

REFERENCE: Final = f"{_LAYERS} convolutions 3x3, {_CHANNELS} channels, {_SIZE}x{_SIZE}, fp32"
"""The work of one run. Times of another work, or of another runtime, cannot be compared with its own."""


class ReferenceLoad:
    """A small convolutional network of fixed shape and weights, 38 M multiply-accumulates.

    Args:
        runtime: What runs the network that is timed, so that both have the same threads.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._session = runtime.open(_model())
        self._feeds = {"x": np.full((1, _CHANNELS, _SIZE, _SIZE), 0.5, np.float32)}

    def time(self, seconds: float) -> float:
        """Run for a while, and at least a few times.

        Args:
            seconds: How long.

        Returns:
            The median time of one run, ms.
        """
        end_s = time.perf_counter() + seconds
        taken_ms: list[float] = []
        begin_s = time.perf_counter()
        while len(taken_ms) < _FEWEST or begin_s < end_s:
            self._session.run(None, self._feeds)
            now_s = time.perf_counter()
            taken_ms.append(1e3 * (now_s - begin_s))
            begin_s = now_s
        return statistics.median(taken_ms)


def _model() -> bytes:
    """The network as ONNX; activations neither vanish nor grow from layer to layer."""
    from onnx import TensorProto, helper, numpy_helper

    noise = np.random.default_rng(0)
    shape = [1, _CHANNELS, _SIZE, _SIZE]
    nodes, weights = [], []
    for layer in range(_LAYERS):
        kernel = noise.standard_normal((_CHANNELS, _CHANNELS, 3, 3)) / np.sqrt(9 * _CHANNELS / 2)
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"w{layer}"))
        source, target = f"y{layer - 1}" if layer else "x", f"y{layer}"
        nodes.append(helper.make_node("Conv", [source, f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [target]))
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return bytes(model.SerializeToString())
