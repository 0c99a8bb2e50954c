"""The process that builds an engine with TensorRT's Python API, on any TensorRT from 7.1 on."""

import json
import sys
from typing import Any, Dict

from edgesynth.agent.board import offer_to_memory_killer
from edgesynth.agent.engine import with_batch
from edgesynth.agent.errors import NetworkFailure

__all__ = ["serve"]


def serve() -> int:
    """Build what the request on standard input asks for; errors go to the error output, as TensorRT's do."""
    offer_to_memory_killer()
    request = json.loads(sys.stdin.readline())
    try:
        plan = build(request)
    except NetworkFailure as failure:
        print("error: {}: {}".format(failure.kind, failure.reason), file=sys.stderr)
        return 1
    with open(request["plan"], "wb") as file:
        file.write(plan)
    return 0


def build(request: Dict[str, Any]) -> bytes:
    """The plan of an ONNX file.

    Args:
        request: ``model``, ``precision``, ``batch``, ``workspace_mb``.

    Raises:
        NetworkFailure: TensorRT cannot read or build it.
    """
    import tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    if hasattr(tensorrt, "init_libnvinfer_plugins"):
        tensorrt.init_libnvinfer_plugins(logger, "")
    builder = tensorrt.Builder(logger)
    creation = tensorrt.NetworkDefinitionCreationFlag
    explicit = 1 << int(creation.EXPLICIT_BATCH) if hasattr(creation, "EXPLICIT_BATCH") else 0
    network = builder.create_network(explicit)
    _parse(tensorrt.OnnxParser(network, logger), request["model"])
    config = builder.create_builder_config()
    workspace = request["workspace_mb"] << 20
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, workspace)
    else:
        config.max_workspace_size = workspace
    _set_precision(tensorrt, config, request["precision"])
    _set_shapes(builder, network, config, request["batch"])
    if hasattr(builder, "build_serialized_network"):
        plan = builder.build_serialized_network(network, config)
    else:
        engine = builder.build_engine(network, config)
        plan = None if engine is None else engine.serialize()
    if plan is None:
        raise NetworkFailure("crash", "TensorRT built no engine; what it said stands above")
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


def _set_precision(tensorrt: Any, config: Any, precision: str) -> None:
    """Allow what was asked for; a TensorRT without these flags takes the precision from the graph."""
    names = {"fp16": ("FP16",), "int8": ("INT8", "FP16")}.get(precision, ())
    for name in names:  # layers without INT8 kernels run in FP16
        if hasattr(tensorrt.BuilderFlag, name):
            config.set_flag(getattr(tensorrt.BuilderFlag, name))


def _set_shapes(builder: Any, network: Any, config: Any, batch: int) -> None:
    """Fix free axes to the batch: one profile even for one free axis, as 7.1 and 8.2 demand."""
    profile = None
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        fixed = with_batch(tensor.name, shape, batch)
        if fixed != shape:
            profile = profile or builder.create_optimization_profile()
            profile.set_shape(tensor.name, fixed, fixed, fixed)
    if profile is not None:
        config.add_optimization_profile(profile)
