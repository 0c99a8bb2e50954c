"""Which nodes of a network leave the range of FP16, found by running it in FP32 on calibration inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgesynth.deploy.onnx_graph import sites
from edgesynth.deploy.runners import Arrays, OnnxRunner, run_in_parts
from edgesynth.devices.half import HALF_MAX, Kept

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["find_overflows"]


def find_overflows(model: ModelProto, data: Arrays) -> tuple[Kept, ...]:
    """Nodes whose tensors leave the range of FP16 when the model runs on these inputs.

    Args:
        model: In FP32.
        data: Calibration inputs by name, axis 0 the batch.

    Raises:
        InputError: The model cannot run on them.
    """
    found = []
    floats = [site for site in sites(model) if site.depth == 0]
    names = [
        name
        for site in floats
        for name in site.node.output
        if site.scope.value(name).type in {"FLOAT", ""} and name
    ]
    made = run_in_parts(OnnxRunner(model, names, optimise=False), data)
    largest = {
        name: float(np.max(np.abs(value), initial=0.0))
        for name, value in made.items()
        if value.dtype.kind == "f"
    }
    for site in floats:
        reach = max((largest.get(name, 0.0) for name in site.node.output), default=0.0)
        inward = max((largest.get(name, 0.0) for name in site.node.input), default=0.0)
        # A NaN compares false, and is no overflow of ours: the FP32 model has it.
        if max(reach, inward) > HALF_MAX:
            reason = "its result" if reach > HALF_MAX else "its input"
            found.append(
                Kept(site.name, site.node.op_type, f"{reason} leaves the range of FP16", max(reach, inward))
            )
    return tuple(found)
