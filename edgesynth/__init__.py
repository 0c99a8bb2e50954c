"""edgesynth: learned generators of efficient networks for NVIDIA Jetson, with the device in the loop.

    import edgesynth as es

    prototype = es.Prototype(module, example_input)
    requirements = es.Requirements({"accuracy": ">= 0.92", "macs": "<= 4e6"})
    device = es.open_device("jetson-tx2", link="simulated")
    result = es.synthesize(prototype, task, requirements, device, run_dir="runs/a")
    network = result.generator.generate(seed=7)

Every name below is imported when it is first used, so ``import edgesynth`` itself loads neither torch
nor anything else that is slow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from edgesynth.deploy.deployment import deploy
    from edgesynth.deploy.onnx import compare_with_runtime, export_onnx
    from edgesynth.devices import list_profiles, load_profile, open_device
    from edgesynth.errors import EdgesynthError
    from edgesynth.graph import Prototype
    from edgesynth.job import Job, load_job
    from edgesynth.metrics import Metric, MetricKind, Provenance, register_metric
    from edgesynth.space import Architecture, Choice, Space, Switch, Width
    from edgesynth.synthesis import (
        GeneratorInquisitor,
        InformationDensity,
        NetScore,
        Requirements,
        SynthesisSettings,
        load_generator,
        synthesize,
    )

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "Choice",
    "EdgesynthError",
    "GeneratorInquisitor",
    "InformationDensity",
    "Job",
    "Metric",
    "MetricKind",
    "NetScore",
    "Prototype",
    "Provenance",
    "Requirements",
    "Space",
    "Switch",
    "SynthesisSettings",
    "Width",
    "__version__",
    "compare_with_runtime",
    "deploy",
    "export_onnx",
    "list_profiles",
    "load_generator",
    "load_job",
    "load_profile",
    "open_device",
    "register_metric",
    "synthesize",
]

_HOMES: Final = {
    "Architecture": "edgesynth.space",
    "Choice": "edgesynth.space",
    "EdgesynthError": "edgesynth.errors",
    "GeneratorInquisitor": "edgesynth.synthesis",
    "InformationDensity": "edgesynth.synthesis",
    "Job": "edgesynth.job",
    "Metric": "edgesynth.metrics",
    "MetricKind": "edgesynth.metrics",
    "NetScore": "edgesynth.synthesis",
    "Prototype": "edgesynth.graph",
    "Provenance": "edgesynth.metrics",
    "Requirements": "edgesynth.synthesis",
    "Space": "edgesynth.space",
    "Switch": "edgesynth.space",
    "SynthesisSettings": "edgesynth.synthesis",
    "Width": "edgesynth.space",
    "compare_with_runtime": "edgesynth.deploy.onnx",
    "deploy": "edgesynth.deploy.deployment",
    "export_onnx": "edgesynth.deploy.onnx",
    "list_profiles": "edgesynth.devices",
    "load_generator": "edgesynth.synthesis",
    "load_job": "edgesynth.job",
    "load_profile": "edgesynth.devices",
    "open_device": "edgesynth.devices",
    "register_metric": "edgesynth.metrics",
    "synthesize": "edgesynth.synthesis",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: the names are of every kind
    """Import a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edgesynth' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    # The package of the same name is what stays here: submodules are found through it, and it can be called.
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted(__all__)
