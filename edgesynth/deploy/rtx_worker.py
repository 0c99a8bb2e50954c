"""The process that builds: reads one request as JSON on stdin, answers with one line of JSON on stdout.

Run as a file by :mod:`edgesynth.deploy.rtx`, so that it imports nothing but the builder, and a crash is its
own.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any


def main() -> None:
    """Build the engine of one request."""
    request = json.load(sys.stdin)
    trt = importlib.import_module(request["module"])
    sys.stdout.write(json.dumps(_build(trt, request)) + "\n")


def _build(trt: Any, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - the builder's module has no types
    messages: list[str] = []

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            if severity.name in {"ERROR", "INTERNAL_ERROR"}:
                messages.append(" ".join(message.split()))

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    answer: dict[str, Any] = {"version": trt.__version__, "layers": 0, "seconds": 0.0, "bytes": 0}
    started = time.monotonic()
    if not parser.parse_from_file(request["path"]):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        return {**answer, "errors": [_line(error) for error in errors] or messages}
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    free = False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if -1 in shape[1:]:
            return {
                **answer,
                "errors": [f"input {tensor.name} has free axes besides the batch: {list(shape)}"],
            }
        if shape[:1] == (-1,):
            free = True
            sizes = ((size, *shape[1:]) for size in (1, request["batch"], max(request["batch"], 8)))
            profile.set_shape(tensor.name, *sizes)
    if free:
        config.add_optimization_profile(profile)
    for name in request["capabilities"]:
        config.num_compute_capabilities += 1
        config.set_compute_capability(
            getattr(trt.ComputeCapability, name), config.num_compute_capabilities - 1
        )
    engine = builder.build_serialized_network(network, config)
    answer.update(layers=network.num_layers, seconds=time.monotonic() - started)
    if engine is None:
        return {**answer, "errors": messages or ["the builder gave no engine and no reason"]}
    return {**answer, "bytes": engine.nbytes, "errors": []}


def _line(error: Any) -> str:  # noqa: ANN401 - the parser's own class
    where = f"{error.node_name()} ({error.node_operator()}): " if error.node_operator() else ""
    return where + " ".join(error.desc().split())


if __name__ == "__main__":
    main()
