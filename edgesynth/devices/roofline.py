"""Time and energy of a workload on a profile: launch overhead, roofline, energy per operation.

A kernel takes the longest of three times (Williams, Waterman, Patterson, CACM 52(4), 2009, with a launch
term): the time to launch it, the time of its arithmetic at a share of the peak rate, and the time of its
memory traffic at a share of the peak bandwidth. Launches overlap with the kernels before them, which is
why the first term is a floor and not an addition: on a TX2, 16x16 and 32x32 inputs cost the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesynth.devices.fusion import kind_of
from edgesynth.devices.profile import Mode, Precision, Profile, needed
from edgesynth.devices.workload import LayerWork, Workload
from edgesynth.errors import DeviceError

__all__ = ["Estimate", "Roofline"]


@dataclass(frozen=True)
class Estimate:
    """What the model says of one inference call.

    Attributes:
        seconds: Time of one call, that is, of one batch.
        macs: Multiply-accumulates of the call.
        bytes: Memory traffic of the call.
        launch_bound: Share of the call's time that waits for launches rather than for work.
        memory_bytes: Device memory: weights plus the activations of the largest layer.
        kernels_s: Time of every kernel, in the order of the workload's.
    """

    seconds: float
    macs: int
    bytes: int
    launch_bound: float
    memory_bytes: int
    kernels_s: tuple[float, ...]


class Roofline:
    """The model of one device in one power mode.

    Args:
        profile: Must have ``gpu`` and ``simulation``.
        mode: Caps the clocks.

    Attributes:
        gpu_clock_mhz: The mode's cap.

    Raises:
        DeviceError: The profile has no parameters to simulate with.
        InputError: It leaves out a clock or bandwidth that is needed.
    """

    def __init__(self, profile: Profile, mode: Mode) -> None:
        if profile.gpu is None or profile.simulation is None:
            raise DeviceError(f"{profile.name} has no [gpu] and [simulation]; it cannot be simulated")
        self.profile = profile
        self.mode = mode
        self.parameters = profile.simulation
        self._lanes = profile.gpu.cuda_cores
        self.gpu_clock_mhz = needed(mode.gpu_clock_mhz, "modes.gpu_clock_mhz")
        cpu_clocks = [needed(m.cpu_clock_mhz, "modes.cpu_clock_mhz") for m in profile.modes]
        self._cpu_scale = max(cpu_clocks) / needed(mode.cpu_clock_mhz, "modes.cpu_clock_mhz")
        memory_clock = needed(mode.memory_clock_mhz, "modes.memory_clock_mhz")
        self._bytes_per_s = (
            needed(profile.memory.bandwidth_gb_s, "memory.bandwidth_gb_s")
            * 1e9
            * (memory_clock / needed(profile.memory.max_clock_mhz, "memory.max_clock_mhz"))
            * profile.simulation.memory_efficiency
        )

    def estimate(
        self, workload: Workload, precision: Precision, batch: int = 1, gpu_clock_mhz: float | None = None
    ) -> Estimate:
        """Time and work of one call.

        Args:
            workload: What to run.
            precision: A precision of the profile.
            batch: Samples per call.
            gpu_clock_mhz: The clock the GPU really runs at; the mode's cap by default.
        """
        compute = self.profile.precision(precision)
        clock_hz = 1e6 * (self.gpu_clock_mhz if gpu_clock_mhz is None else gpu_clock_mhz)
        peak = self._lanes * clock_hz * needed(compute.speedup, f"precisions.{precision}.speedup")
        launch_s = self.parameters.launch_us * 1e-6 * self._cpu_scale
        call_s = self.parameters.call_us * 1e-6 * self._cpu_scale
        absorbed: dict[str, int] = {}
        for layer in workload.layers:
            if layer.fused_into is not None:
                absorbed[layer.fused_into] = absorbed.get(layer.fused_into, 0) + layer.macs
        scale = compute.bytes / 4
        total_s = call_s
        waiting_s = call_s
        total_bytes = 0
        largest = 0.0
        kernels_s = []
        for layer in workload.kernels:
            moved = (layer.weight_bytes + batch * layer.activation_bytes) * scale
            macs = batch * (layer.macs + absorbed.get(layer.name, 0))
            work_s = max(macs / (peak * self._efficiency(layer)), moved / self._bytes_per_s)
            kernels_s.append(max(launch_s, work_s))
            total_s += kernels_s[-1]
            waiting_s += max(0.0, launch_s - work_s)
            total_bytes += int(moved)
            largest = max(largest, batch * layer.activation_bytes * scale)
        return Estimate(
            seconds=total_s,
            macs=workload.macs * batch,
            bytes=total_bytes,
            launch_bound=waiting_s / total_s,
            memory_bytes=int(workload.weight_bytes * scale + largest),
            kernels_s=tuple(kernels_s),
        )

    def idle_mw(self) -> dict[str, float]:
        """Power per part rail at rest."""
        return {name: rail.idle_mw for name, rail in self.parameters.rails.items()}

    def busy_mw(self, estimate: Estimate, precision: Precision, seconds: float) -> dict[str, float]:
        """Mean power per part rail while calls run back to back.

        Args:
            estimate: Of the call.
            precision: It ran in.
            seconds: Time of one call as it really ran.
        """
        mac_mw = estimate.macs * self.parameters.mac_pj[precision] * 1e-9 / seconds
        byte_mw = estimate.bytes * self.parameters.byte_pj * 1e-9 / seconds
        return {
            name: rail.active_mw + rail.mac_share * mac_mw + rail.byte_share * byte_mw
            for name, rail in self.parameters.rails.items()
        }

    def all_rails_mw(self, parts_mw: dict[str, float]) -> dict[str, float]:
        """The parts together with the rails at the input of the module, if it has such."""
        parameters, rails = self.parameters, self.profile.rails
        inputs = [] if rails is None else [name for name in rails.total if name not in parts_mw]
        if not inputs:
            return dict(parts_mw)
        total = parameters.rest_mw + sum(parts_mw.values()) / parameters.conversion_efficiency
        return {**parts_mw, **dict.fromkeys(inputs, total / len(inputs))}

    def _efficiency(self, layer: LayerWork) -> float:
        return self.parameters.efficiency.get(kind_of(layer), self.parameters.efficiency["linear"])
