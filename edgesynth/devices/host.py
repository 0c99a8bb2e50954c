"""This machine as a device: its processor or its NVIDIA GPU through ONNX Runtime, in a process of its own."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from edgesynth.devices.counters import PowerCounter
from edgesynth.devices.nvml import NvmlGpu, load_nvml
from edgesynth.devices.profile import Profile
from edgesynth.devices.rapl import Rapl
from edgesynth.errors import MissingDependencyError, SensorError

__all__ = ["bench_command", "open_counter", "with_counter"]


def bench_command(profile: Profile) -> tuple[str, ...]:
    """What runs the bench program of this machine."""
    return (sys.executable, "-m", "edgesynth.devices.onnx_bench", profile.provider)


def open_counter(provider: str) -> PowerCounter:
    """What tells the power of this machine while it runs networks.

    Args:
        provider: ``cpu`` or ``cuda``.

    Raises:
        SensorError: Nothing tells it, or this user may not read it.
        DeviceError: There is no GPU.
        MissingDependencyError: What reads it is not installed.
    """
    return NvmlGpu(load_nvml()) if provider == "cuda" else Rapl()


def with_counter(profile: Profile) -> Profile:
    """The profile of this machine with the power counters that it has, or with why it has none.

    Args:
        profile: What holds on every machine.

    Raises:
        DeviceError: There is no GPU, and the profile needs one.
        MissingDependencyError: What runs networks on it is not installed.
    """
    if profile.provider == "cuda":
        _check_runtime()
    try:
        counter = open_counter(profile.provider)
    except SensorError as error:
        return dataclasses.replace(profile, rails=None, sensor=None, no_energy_reason=str(error))
    return dataclasses.replace(profile, rails=counter.rails, sensor=counter.sensor, no_energy_reason="")


def _check_runtime() -> None:
    """Refuse to go on without an ONNX Runtime that knows CUDA."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "running networks on an NVIDIA GPU needs onnxruntime-gpu; pip install 'edgesynth[gpu]'"
        ) from error
    runtime: Any = onnxruntime
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        raise MissingDependencyError(
            f"the installed onnxruntime {runtime.__version__} knows no CUDA; "
            "pip uninstall onnxruntime, then pip install 'edgesynth[gpu]'"
        )
