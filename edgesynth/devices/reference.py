"""A fixed load that tells how fast this machine is at the moment.

The speed of a shared or virtual machine changes without a clock that shows it, and a network that was timed
at one speed cannot be compared with one that was timed at another. The same known work, done between the
timed calls, shows it; see :mod:`edgesynth.devices.speed`.
"""

from __future__ import annotations

import statistics
import time
from typing import Final

import numpy as np

from edgesynth.devices.runtimes import Runtime

__all__ = ["REFERENCE", "ReferenceLoad"]

_STAGES: Final = ((16, 32), (32, 16), (64, 8))  # channels and pixels on a side
_LAYERS: Final = 6  # of a stage
_FEWEST: Final = 5

REFERENCE: Final = f"{len(_STAGES) * _LAYERS} convolutions 3x3, 16 to 64 channels, 32x32 to 8x8, fp32"
"""The work of one run. Times of another work, or of another runtime, cannot be compared with its own."""


class ReferenceLoad:
    """A small convolutional network of fixed shape and weights, 40 M multiply-accumulates.

    Many layers, and both few and many channels, because what slows a machine does not slow every kind of
    work alike: fewer and larger layers follow the networks that are measured less well.

    Args:
        runtime: What runs the network that is timed, so that both have the same threads.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._session = runtime.open(_model())
        channels, size = _STAGES[0]
        self._feeds = {"x": np.full((1, channels, size, size), 0.5, np.float32)}

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
    nodes, weights = [], []
    source, channels = "x", _STAGES[0][0]
    for stage, (wider, _) in enumerate(_STAGES):
        for layer in range(_LAYERS):
            kernel = noise.standard_normal((wider, channels, 3, 3)) / np.sqrt(9 * channels / 2)
            name = f"{stage}_{layer}"
            weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"w{name}"))
            stride = 2 if wider != channels else 1
            nodes.append(
                helper.make_node(
                    "Conv", [source, f"w{name}"], [f"c{name}"], pads=[1] * 4, strides=[stride] * 2
                )
            )
            nodes.append(helper.make_node("Relu", [f"c{name}"], [f"y{name}"]))
            source, channels = f"y{name}", wider
    first, last = ([1, width, side, side] for width, side in (_STAGES[0], _STAGES[-1]))
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, first)],
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, last)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return bytes(model.SerializeToString())
