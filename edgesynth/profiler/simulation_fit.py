"""Parameters of a simulated board from fitted terms, and from the power of every rail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.devices import Mode, Profile
from edgesynth.devices.profile import RailPower, Rails, Simulation
from edgesynth.profiler.roofline_fit import KINDS, Observation, least_squares

__all__ = ["Simulated", "simulation_from"]

# What a calibration cannot see, where no base profile says it.
_ASSUMED: Final = {
    "jitter": 0.004,
    "outlier_share": 0.02,
    "outlier_factor": 1.08,
    "noise_mw": 30.0,
    "temperature_c": 40.0,
}


@dataclass(frozen=True)
class Simulated:
    """A simulation, or why there is none.

    Attributes:
        simulation: Its parameters.
        missing: What keeps the device from being simulated; empty when nothing does.
        assumed: Keys that were not fitted and that no base profile gave.
    """

    simulation: Simulation | None
    missing: str = ""
    assumed: tuple[str, ...] = ()


def simulation_from(
    base: Profile,
    mode: Mode,
    terms: Mapping[str, float],
    power: Mapping[str, float],
    observations: Sequence[Observation],
) -> Simulated:
    """Express fitted terms as shares of the peaks that a profile gives.

    Args:
        base: Gives peaks, clocks and rails, and what a calibration cannot see.
        mode: The power mode that was measured in.
        terms: Of time.
        power: Of power; empty without energy.
        observations: Give the power of every rail.
    """
    missing = _missing(base, power, observations)
    if missing or base.gpu is None or base.rails is None:
        return Simulated(None, missing)
    # Rates were fitted in the precision that was measured first; the peak is that of FP32.
    speedup = base.precision(observations[0].precision).speedup or 1.0
    peak_gmacs_s = base.gpu.cuda_cores * (mode.gpu_clock_mhz or 0.0) / 1e3 * speedup
    slower = max(other.cpu_clock_mhz or 0.0 for other in base.modes) / (mode.cpu_clock_mhz or 1.0)
    clock_share = (mode.memory_clock_mhz or 0.0) / (base.memory.max_clock_mhz or 1.0)
    shares = {kind: terms[f"{kind}_gmacs_s"] / peak_gmacs_s for kind in KINDS}
    shares["memory"] = terms["bandwidth_gb_s"] / ((base.memory.bandwidth_gb_s or 0.0) * clock_share)
    worst = max(shares, key=lambda name: shares[name])
    if shares[worst] > 1:
        excess = f"{worst} reached {shares[worst]:.2f} times the peak that the profile gives"
        return Simulated(None, f"{excess}; correct the peak")
    known = base.simulation
    kept = {key: getattr(known, key) if known else value for key, value in _ASSUMED.items()}
    rails, rest_mw, conversion = _rails(base.rails, observations, power, base)
    usable = [str(name) for name, compute in base.precisions.items() if compute.supported]
    unseen = [name for name in usable if f"mac_{name}_pj" not in power]
    mac_pj = {name: power.get(f"mac_{name}_pj", power[_nearest(power)]) * conversion for name in usable}
    if known:
        mac_pj |= {name: known.mac_pj[name] for name in unseen if name in known.mac_pj}
    simulation = Simulation(
        call_us=terms["call_us"] / slower,
        launch_us=terms["launch_us"] / slower,
        efficiency={kind: shares[kind] for kind in KINDS},
        memory_efficiency=shares["memory"],
        mac_pj=mac_pj,
        byte_pj=power["byte_pj"] * conversion,
        rails=rails,
        rest_mw=rest_mw,
        conversion_efficiency=conversion,
        **kept,
    )
    assumed = () if known else tuple(_ASSUMED)
    assumed += tuple(f"mac_pj.{name}" for name in unseen if not (known and name in known.mac_pj))
    return Simulated(simulation, "", assumed)


def _missing(base: Profile, power: Mapping[str, float], observations: Sequence[Observation]) -> str:
    if base.gpu is None:
        return "the profile has no [gpu]"
    if base.rails is None or not power or not any(seen.rails_idle_mw for seen in observations):
        return "no power was measured"
    clocks = [(other.gpu_clock_mhz, other.cpu_clock_mhz, other.memory_clock_mhz) for other in base.modes]
    if any(None in found for found in clocks) or not all(other.cpu_online for other in base.modes):
        return "the profile does not know every clock and core of its power modes"
    memory = base.memory
    if None in (memory.size_mb, memory.bandwidth_gb_s, memory.max_clock_mhz):
        return "the profile does not know size, bandwidth and clock of the memory"
    speeds = {name: compute.speedup for name, compute in base.precisions.items() if compute.supported}
    lacking = [str(name) for name, speed in speeds.items() if speed is None]
    return f"the profile does not know the speedup of {', '.join(lacking)}" if lacking else ""


def _nearest(power: Mapping[str, float]) -> str:
    """The measured precision with the fewest bits, which stands for those that were not measured."""
    return [name for name in power if name.startswith("mac_")][-1]


def _rails(
    rails: Rails, observations: Sequence[Observation], power: Mapping[str, float], base: Profile
) -> tuple[dict[str, RailPower], float, float]:
    """Power of the modelled rails, what the total has besides, and the efficiency between them."""
    names = rails.parts or rails.total
    fitted = [entry for entry in observations if not entry.held_out and entry.power_mw > 0]
    seen = [entry for entry in fitted if entry.rails_idle_mw]
    rest_mw, conversion = 0.0, 1.0
    if not set(rails.total) <= set(names):
        parts = [sum(entry.rails_mw.get(name, 0.0) for name in names) for entry in seen]
        parts += [sum(entry.rails_idle_mw.get(name, 0.0) for name in names) for entry in seen]
        totals = [entry.power_mw for entry in seen] + [entry.idle_mw for entry in seen]
        slope, rest_mw = np.polyfit(parts, totals, 1)
        conversion = float(np.clip(1.0 / slope, 0.5, 1.0)) if slope > 0 else 1.0
        rest_mw = max(0.0, float(np.mean(np.array(totals) - np.array(parts) / conversion)))
    work = np.array([_work_mw(entry, power, base) for entry in seen]) * conversion
    rows = np.column_stack([np.ones(len(seen)), work])
    found: dict[str, NDArray[np.float64]] = {
        name: least_squares(rows, np.array([entry.rails_mw.get(name, 0.0) for entry in seen]))
        for name in names
    }
    sums = np.sum(list(found.values()), axis=0)
    return (
        {
            name: RailPower(
                idle_mw=round(float(np.mean([entry.rails_idle_mw.get(name, 0.0) for entry in seen])), 1),
                active_mw=round(float(active), 1),
                mac_share=round(float(of_macs / sums[1]), 4) if sums[1] > 0 else 1.0 / len(names),
                byte_share=round(float(of_bytes / sums[2]), 4) if sums[2] > 0 else 1.0 / len(names),
            )
            for name, (active, of_macs, of_bytes) in found.items()
        },
        rest_mw,
        conversion,
    )


def _work_mw(entry: Observation, power: Mapping[str, float], base: Profile) -> tuple[float, float]:
    """Power of arithmetic and of memory traffic at the total."""
    macs, moved = entry.work(base.precision(entry.precision).bytes)
    per_ms = 1e-6 / entry.load_ms
    return macs * power[f"mac_{entry.precision}_pj"] * per_ms, moved * power["byte_pj"] * per_ms
