"""The real builder of these tests, TensorRT for RTX: where there is one, and what a build has to show."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgesynth.deploy.delivery import Delivery, deliver
from edgesynth.deploy.onnx_graph import load_model
from edgesynth.deploy.rtx import RtxBuild
from edgesynth.devices import load_profile

PRECISIONS = ("fp32", "fp16", "int8")
# The release whose precision is in the graph, as it is for this builder: FP16 is built as FP16.
STRONGLY_TYPED = load_profile("jetson-thor")

# Only where NVIDIA publishes none: one that is not installed fails, with the command that installs it.
needs_builder = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="NVIDIA publishes TensorRT for RTX for Linux on x86 alone",
)


def delivered(source: Path, into: Path, precision: str, data: Any) -> Delivery:
    """Check, export, verify and really build one network, one sample per call.

    INT8 of a network trained for seconds may lose more than is let through; it has to be built all the same.
    """
    done = deliver(
        source, STRONGLY_TYPED, into, precision=precision, batch=1, data=data, samples=32, must_build=True
    )
    was_built(done.build)
    assert bool(done.export.calibrations) == (precision == "int8")
    if precision != "int8":
        assert done, done.failures
        assert precision_of(into) == precision
    return done


def was_built(build: RtxBuild | None) -> None:
    """Nothing but an engine will do: neither a builder that did not run nor one that said nothing."""
    assert build is not None
    assert build, build.errors
    assert build.version.startswith("1.")
    assert build.layers > 5
    assert build.bytes > 0


def precision_of(path: Path) -> str:
    """What a file computes in, by its own weights and operators."""
    graph = load_model(path).graph
    operators = Counter(node.op_type for node in graph.node)
    if operators["QuantizeLinear"]:
        return "int8"
    halves = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16]
    return "fp16" if halves else "fp32"
