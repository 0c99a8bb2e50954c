"""The process that builds an engine with TensorRT's Python API, on any TensorRT from 7.1 on."""

import json
import os
import sys
from typing import Any, Dict

from edgesynth.agent.batches import Batches, batches_of
from edgesynth.agent.board import offer_to_memory_killer
from edgesynth.agent.build_stages import watch_build
from edgesynth.agent.constraints import keep_full
from edgesynth.agent.dla import place_network, refuse_core
from edgesynth.agent.errors import NetworkFailure, Refusal
from edgesynth.agent.tensors import with_batch

__all__ = ["PLACED", "serve"]

PLACED = ".placed"
"""What is put behind the name of a plan: where the layers of one for a DLA run, as TensorRT answered."""


def serve() -> int:
    """Build what the request on standard input asks for; errors go to the error output, as TensorRT's do."""
    offer_to_memory_killer()
    request = json.loads(sys.stdin.readline())
    try:
        plan = build(request)
    except NetworkFailure as failure:
        print("error: {}: {}".format(failure.kind, failure.reason), file=sys.stderr)
        return 1
    except Refusal as refusal:
        print("refused: {}: {}".format(refusal.kind, refusal.reason), file=sys.stderr)
        return 1
    with open(request["plan"], "wb") as file:
        file.write(plan)
    return 0


def build(request: Dict[str, Any]) -> bytes:
    """The plan of an ONNX file.

    Args:
        request: ``model``, ``precision``, ``batches``, ``workspace_mb``, ``typed``, ``dla_core``,
            ``plan``, ``full``: layers that stay in FP32, and ``timings``: a file of what other builds
            measured, read and added to.

    Raises:
        NetworkFailure: TensorRT cannot read or build it.
        Refusal: There is no such core of a DLA.
    """
    import tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    if hasattr(tensorrt, "init_libnvinfer_plugins"):
        tensorrt.init_libnvinfer_plugins(logger, "")
    builder = tensorrt.Builder(logger)
    core = request["dla_core"]
    if core is not None:
        refuse_core(core, int(getattr(builder, "num_DLA_cores", 0)), tensorrt.__version__)
    creation = tensorrt.NetworkDefinitionCreationFlag
    flags = 1 << int(creation.EXPLICIT_BATCH) if hasattr(creation, "EXPLICIT_BATCH") else 0
    if request["typed"]:
        flags |= _typed(tensorrt)
    network = builder.create_network(flags)
    _parse(tensorrt.OnnxParser(network, logger), request["model"])
    config = builder.create_builder_config()
    workspace = request["workspace_mb"] << 20
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, workspace)
    else:
        config.max_workspace_size = workspace
    if not request["typed"]:
        _set_precision(tensorrt, config, request["precision"])
    keep_full(tensorrt, network, config, request["full"])
    batches = batches_of(request["batches"])
    if core is None:
        _set_shapes(builder, network, config, batches)
    else:
        _fix_shapes(network, batches.most)
        with open(request["plan"] + PLACED, "w") as file:
            json.dump(place_network(tensorrt, network, config, core), file)
    _read_timings(config, request["timings"])
    watch_build(tensorrt, config)
    if hasattr(builder, "build_serialized_network"):
        plan = builder.build_serialized_network(network, config)
    else:
        engine = builder.build_engine(network, config)
        plan = None if engine is None else engine.serialize()
    if plan is None:
        raise NetworkFailure("crash", "TensorRT built no engine; what it said stands above")
    _keep_timings(config, request["timings"])
    return bytes(plan)


def _parse(parser: Any, model: str) -> None:
    if hasattr(parser, "parse_from_file"):  # finds weights that lie beside the model
        accepted = parser.parse_from_file(model)
    else:
        with open(model, "rb") as file:
            accepted = parser.parse(file.read())
    if not accepted:
        told = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise NetworkFailure(
            "unsupported", "failed to parse the model: " + "; ".join(told or ["no reason given"])
        )


def _typed(tensorrt: Any) -> int:
    """The flag for precision from the graph; none where there is no other way.

    Raises:
        NetworkFailure: This TensorRT takes precision from flags only.
    """
    creation = tensorrt.NetworkDefinitionCreationFlag
    if hasattr(creation, "STRONGLY_TYPED"):
        return 1 << int(creation.STRONGLY_TYPED)
    if hasattr(tensorrt.BuilderFlag, "FP16"):
        reason = "TensorRT {} does not support precision in the graph; export for it".format(
            tensorrt.__version__
        )
        raise NetworkFailure("unsupported", reason)
    return 0


def _read_timings(config: Any, path: str) -> None:
    """Let the builder know what it has measured before; what cannot be read is measured again."""
    if not hasattr(config, "create_timing_cache"):
        return
    known = b""
    if os.path.exists(path):
        with open(path, "rb") as file:
            known = file.read()
    cache = config.create_timing_cache(known)
    if cache is None or config.set_timing_cache(cache, False) is False:
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _keep_timings(config: Any, path: str) -> None:
    if not hasattr(config, "get_timing_cache"):
        return
    cache = config.get_timing_cache()
    if cache is not None:
        with open(path + ".new", "wb") as file:
            file.write(bytes(cache.serialize()))
        os.replace(path + ".new", path)


def _set_precision(tensorrt: Any, config: Any, precision: str) -> None:
    """Allow what was asked for.

    Raises:
        NetworkFailure: This TensorRT has no such flag: the engine would be of another precision.
    """
    names = {"fp16": ("FP16",), "int8": ("INT8", "FP16")}.get(precision, ())
    for name in names:  # layers without INT8 kernels run in FP16
        if not hasattr(tensorrt.BuilderFlag, name):
            reason = "TensorRT {} does not support the flag {}; precision belongs into the graph".format(
                tensorrt.__version__, name
            )
            raise NetworkFailure("unsupported", reason)
        config.set_flag(getattr(tensorrt.BuilderFlag, name))


def _set_shapes(builder: Any, network: Any, config: Any, batches: Batches) -> None:
    """Say which sizes free axes have: one profile even for one size, as 7.1 and 8.2 demand."""
    profile = None
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        sizes = [with_batch(tensor.name, shape, samples) for samples in batches]
        if sizes[0] != shape:
            profile = profile or builder.create_optimization_profile()
            profile.set_shape(tensor.name, *sizes)
    if profile is not None:
        config.add_optimization_profile(profile)


def _fix_shapes(network: Any, batch: int) -> None:
    """Give free axes the batch as their size: a DLA takes no layer whose sizes a profile has to tell."""
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        fixed = with_batch(tensor.name, shape, batch)
        if fixed != shape:
            tensor.shape = fixed
