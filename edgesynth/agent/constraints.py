"""Layers that a builder has to keep in FP32 though it may compute in less: constraints of single layers.

TensorRT before 8.2 calls it strict types, from then on obeying precision constraints; from 11 on the types of
the graph decide, and nothing is to be said. Layers are called after the nodes of the ONNX file. Source:
*Reduced Precision* in NVIDIA's documentation of TensorRT, and the help of trtexec.
"""

import sys
from typing import Any, List, Sequence

from edgesynth.agent.errors import NetworkFailure

__all__ = ["keep_full", "options"]

_FLAGS = ("OBEY_PRECISION_CONSTRAINTS", "STRICT_TYPES")
_SPEC = ("--layerPrecisions", "--layerOutputTypes")
_OBEY = "--precisionConstraints"
_MARKS = ":,;*"


def keep_full(tensorrt: Any, network: Any, config: Any, names: Sequence[str]) -> None:
    """Have a builder compute some layers in FP32, and give what they make in FP32.

    What it calls otherwise is told on the error output: whether the engine is right all the same is for its
    verification to say.

    Args:
        tensorrt: The module.
        network: Parsed.
        config: Of the builder.
        names: Of the layers.

    Raises:
        NetworkFailure: This TensorRT has no such constraints, or calls none of the layers so.
    """
    if not names:
        return
    flag = next((name for name in _FLAGS if hasattr(tensorrt.BuilderFlag, name)), None)
    if flag is None:
        reason = "TensorRT {} does not support layers of another precision by flags".format(
            tensorrt.__version__
        )
        raise NetworkFailure("unsupported", reason)
    config.set_flag(getattr(tensorrt.BuilderFlag, flag))
    found, full = set(), tensorrt.DataType.FLOAT
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.name not in names:
            continue
        found.add(layer.name)
        layer.precision = full
        for place in range(layer.num_outputs):
            # Shapes and indices are integers, and stay so.
            if layer.get_output(place).dtype in (full, tensorrt.DataType.HALF):
                layer.set_output_type(place, full)
    if not found:
        raise NetworkFailure(
            "unsupported",
            "TensorRT {} does not support keeping {} in FP32: it calls no layer so".format(
                tensorrt.__version__, ", ".join(names)
            ),
        )
    for name in names:
        if name not in found:
            print("no layer is called {}, which is not kept in FP32".format(name), file=sys.stderr)


def options(names: Sequence[str], known: Sequence[str]) -> List[str]:
    """What trtexec is told for the same.

    Args:
        names: Of the layers.
        known: The options that this trtexec has.

    Raises:
        NetworkFailure: It has none for that, or a name cannot be written for it.
    """
    if not names:
        return []
    lacking = [option for option in (*_SPEC, _OBEY) if option not in known]
    if lacking:
        raise NetworkFailure(
            "unsupported",
            "this trtexec has no {}, so it keeps no layer in FP32 ({}); install TensorRT for Python (sudo "
            "apt install python3-libnvinfer), or ask for fp32".format(lacking[0], names[0]),
        )
    odd = [name for name in names if any(mark in name for mark in _MARKS)]
    if odd:
        raise NetworkFailure(
            "unsupported",
            "trtexec cannot be told of a layer called {!r}; name it without any of {}".format(odd[0], _MARKS),
        )
    spec = ",".join(name + ":fp32" for name in names)
    return [_OBEY + "=obey"] + [option + "=" + spec for option in _SPEC]
