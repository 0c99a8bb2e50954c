"""This machine as a device: its processor or its NVIDIA GPU, in a process of its own."""

from __future__ import annotations

import dataclasses
import sys

from edgesynth.devices.counters import PowerCounter
from edgesynth.devices.nvml import NvmlGpu, load_nvml
from edgesynth.devices.profile import Profile
from edgesynth.devices.rapl import Rapl
from edgesynth.devices.runtimes import runtime_of
from edgesynth.errors import SensorError

__all__ = ["bench_command", "open_counter", "with_counter"]


def bench_command(profile: Profile) -> tuple[str, ...]:
    """What runs the bench program of this machine.

    Raises:
        MissingDependencyError: What runs networks on it is not installed.
    """
    return (sys.executable, "-m", "edgesynth.devices.onnx_bench", runtime_of(profile))


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
        MissingDependencyError: What reads it is not installed.
    """
    try:
        counter = open_counter(profile.provider)
    except SensorError as error:
        return dataclasses.replace(profile, rails=None, sensor=None, no_energy_reason=str(error))
    return dataclasses.replace(profile, rails=counter.rails, sensor=counter.sensor, no_energy_reason="")
