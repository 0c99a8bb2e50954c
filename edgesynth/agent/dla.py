"""The deep learning accelerator (DLA) of Jetson Xavier and Orin: a core of it as the place where layers run.

What a DLA does not take runs on the GPU, which TensorRT calls GPU fallback and tells in warnings alone. So
layers are asked about one by one before the build, and the warnings are read after it: what the compiler of
the DLA turns down is known only then. Source: *Working with DLA* in the documentation of TensorRT.
"""

import re
from typing import Any, Dict, List, Optional, Sequence

from edgesynth.agent.errors import NetworkFailure, Refusal

__all__ = [
    "CORE_OPTION",
    "NO_RANGE",
    "core_options",
    "misfit",
    "place_engine",
    "place_network",
    "placement",
    "refuse_core",
    "refuse_missing_core",
]

CORE_OPTION = "--useDLACore"
NO_RANGE = (
    "a DLA takes layers of fixed sizes only, and of a range of batches all would run on the GPU; give one "
    "batch, or leave the DLA out"
)
"""Why an engine for a DLA takes one number of samples."""

_FALLBACK_OPTION = "--allowGPUFallback"
_MISFITS = {
    "fp32": "a DLA computes in fp16 and int8 only; ask for fp16",
    "int8": (
        "int8 is in the graph here, as Q/DQ pairs, and a DLA takes it by the ranges of a calibrator only; "
        "ask for fp16, or leave the DLA out"
    ),
}
_MOST_NAMES = 20
_LONGEST_FALLBACK = 80
_FELL_BACK = (  # before 8.4, since, and of a layer that is of another precision
    re.compile(
        r"Default DLA is enabled but layer (?P<name>.+?) is not supported on DLA, falling back to GPU"
    ),
    re.compile(r"Layer '(?P<name>.+?)' \((?P<kind>\w+)\): Unsupported on DLA"),
    re.compile(r"Switching (?!this layer)(?P<name>.+?) device type to GPU"),
)
_FULL = re.compile(r"DLA supports only (\d+) subgraphs per DLA core")
_NOTHING = re.compile(r"no layer in the network can run on DLA")
_MISSING = re.compile(r"Cannot create DLA engine, (\d+) not available")
_REFUSED = re.compile(r"^refused: dla: (.+)$", re.MULTILINE)


def misfit(precision: str) -> str:
    """Why an engine of this precision cannot run on a DLA; empty where it can."""
    return _MISFITS.get(precision, "")


def refuse_core(core: int, cores: Optional[int], tensorrt: str, advice: str = "use ") -> None:
    """Nothing, unless this board has no such core.

    Args:
        core: Counted from 0.
        cores: How many TensorRT says there are; ``None`` where it cannot be asked.
        tensorrt: Its version.
        advice: What to do with another place to run.

    Raises:
        Refusal: It has not; kind ``dla``.
    """
    if cores is None or core < cores:
        return
    has = "no DLA core" if not cores else "{} DLA core{}".format(cores, "s" if cores > 1 else "")
    raise Refusal(
        "dla",
        "TensorRT {} finds {} here, and no core {}; {}".format(
            tensorrt, has, core, advice + ("another one" if cores else "the GPU, without a DLA")
        ),
    )


def refuse_missing_core(said: str) -> None:
    """Nothing, unless a builder said that there is no such core: that says nothing about the network.

    Raises:
        Refusal: It did; kind ``dla``.
    """
    refused = _REFUSED.search(said)
    if refused is not None:
        raise Refusal("dla", refused.group(1))
    missing = _MISSING.search(said)
    if missing is not None:
        raise Refusal(
            "dla",
            "trtexec finds no DLA core {} here; use another one, or the GPU".format(missing.group(1)),
        )


def place_network(tensorrt: Any, network: Any, config: Any, core: int) -> Dict[str, Any]:
    """Have a network built for a core of the DLA as far as it takes the layers, and for the GPU besides.

    Args:
        tensorrt: The module.
        network: Parsed, its inputs of fixed sizes: a DLA takes no others.
        config: Of the builder, with its precision set.
        core: One that is there.

    Returns:
        ``layers``: how many the network has; ``gpu``: the kind of each one by name that will run on the GPU.

    Raises:
        NetworkFailure: The DLA takes none of them.
    """
    config.default_device_type = tensorrt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(tensorrt.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    left = {
        str(layer.name): str(getattr(layer.type, "name", layer.type))
        for layer in layers
        if not config.can_run_on_DLA(layer)
    }
    if len(left) == len(layers):
        raise NetworkFailure("unsupported", _none_taken("each of its {} layers".format(len(layers))))
    return {"layers": len(layers), "gpu": left}


def place_engine(runtime: Any, core: Optional[int], tensorrt: str) -> None:
    """Have an engine that is loaded next run on a core; nothing where it was built for the GPU alone.

    Raises:
        Refusal: This board has no such core; kind ``dla``.
    """
    if core is None:
        return
    refuse_core(core, int(getattr(runtime, "num_DLA_cores", 0)), tensorrt)
    runtime.DLA_core = core  # without it every engine runs on core 0


def core_options(core: Optional[int], known: Sequence[str]) -> List[str]:
    """Options of trtexec that build for a core of the DLA, and run there.

    Raises:
        Refusal: This trtexec has none; kind ``dla``.
    """
    if core is None:
        return []
    if CORE_OPTION not in known or _FALLBACK_OPTION not in known:
        raise Refusal("dla", "this trtexec has no {}, so it uses no DLA".format(CORE_OPTION))
    return ["{}={}".format(CORE_OPTION, core), _FALLBACK_OPTION]


def placement(core: int, asked: Dict[str, Any], said: str) -> Dict[str, Any]:
    """Facts about an engine that was built for a DLA.

    Args:
        core: On which.
        asked: What :func:`place_network` returned; empty where nobody could ask.
        said: What TensorRT said during the build.

    Returns:
        ``dla_core``; ``dla_layers``, how many layers the network has, ``None`` where that is not known;
        ``dla_fallback_count``, how many of them are known to run on the GPU; ``dla_fallback``, the first of
        those; ``dla_full``, whether the DLA was full, so that there may be more.

    Raises:
        NetworkFailure: The DLA takes no layer.
    """
    if _NOTHING.search(said) is not None:
        raise NetworkFailure("unsupported", _none_taken("every layer"))
    left = dict(asked.get("gpu", {}))
    for pattern in _FELL_BACK:
        for match in pattern.finditer(said):
            kind = match.groupdict().get("kind")
            left.setdefault(match.group("name"), kind or "")
    names = ["{} ({})".format(name, kind) if kind else name for name, kind in left.items()]
    return {
        "dla_core": core,
        "dla_layers": asked.get("layers"),
        "dla_fallback_count": len(names),
        "dla_fallback": [name[:_LONGEST_FALLBACK] for name in names[:_MOST_NAMES]],
        "dla_full": _FULL.search(said) is not None,
    }


def _none_taken(which: str) -> str:
    return (
        "a DLA does not support {} of this network, which would all run on the GPU; build it without the "
        "DLA".format(which)
    )
