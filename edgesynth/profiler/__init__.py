"""Measure a network on a device: plan, rails, energy, statistics, judgement.

``profile(network, device, plan)`` gives a :class:`Measurement` whose figures carry their provenance and their
95 % confidence interval; what cannot be trusted is left out and said.
"""

from edgesynth.profiler.calibration import CalibratedDevice, ProbeResult, calibrate
from edgesynth.profiler.measurement import LayerTime, Measurement, Status
from edgesynth.profiler.onnx_workload import check_onnx, workload_from_onnx
from edgesynth.profiler.plan import MeasurementPlan
from edgesynth.profiler.profile import profile

__all__ = [
    "CalibratedDevice",
    "LayerTime",
    "Measurement",
    "MeasurementPlan",
    "ProbeResult",
    "Status",
    "calibrate",
    "check_onnx",
    "profile",
    "workload_from_onnx",
]
