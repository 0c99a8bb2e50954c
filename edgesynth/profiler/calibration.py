"""Calibrate a device: measure small networks on it, fit the roofline, and say how well it fits.

The fit is judged on networks that it has not seen. What comes out is a profile: the terms as they were found
(``[calibration]``) and, where the peaks and clocks of the device are known, a ``[simulation]`` made of them.
"""

from __future__ import annotations

import dataclasses
import datetime
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgesynth.devices import Device, Precision, Profile, Workload
from edgesynth.devices.profile import Calibration
from edgesynth.errors import MeasurementError
from edgesynth.metrics import Provenance
from edgesynth.profiler.measurement import Measurement
from edgesynth.profiler.onnx_workload import workload_from_onnx
from edgesynth.profiler.plan import MeasurementPlan
from edgesynth.profiler.probes import PROBES, Probe, write_probe
from edgesynth.profiler.profile import profile as measure
from edgesynth.profiler.roofline_fit import Observation, TimeFit, fit_power, fit_times
from edgesynth.profiler.simulation_fit import simulation_from
from edgesynth.progress import NullProgress, Progress
from edgesynth.scratch import Scratch

__all__ = ["CalibratedDevice", "ProbeResult", "calibrate"]

_ASSUMED: Final = "int8"  # needs a calibration of its own, or a network that is quantised already


@dataclass(frozen=True)
class ProbeResult:
    """One network of a calibration.

    Attributes:
        name: Of the probe.
        precision: It ran in.
        batch: Samples per call.
        held_out: Whether the fit has not seen it.
        status: Of its measurement.
        reason: Why there is no figure.
        latency_ms: As measured, or simulated, on the device.
        fitted_latency_ms: As the fitted roofline computes it.
        energy_mj: As measured or simulated; ``None`` without energy.
        fitted_energy_mj: As the fitted roofline computes it.
    """

    name: str
    precision: Precision
    batch: int
    held_out: bool
    status: str
    reason: str = ""
    latency_ms: float | None = None
    fitted_latency_ms: float | None = None
    energy_mj: float | None = None
    fitted_energy_mj: float | None = None


@dataclass(frozen=True)
class CalibratedDevice:
    """What a calibration gives.

    Attributes:
        profile: The base profile with ``[calibration]``, and with ``[simulation]`` where it can be.
        calibration: The terms, their spread and the errors.
        results: Every network.
        notes: Where each changed figure of the profile is from, by dotted path.
        not_simulated: Why the profile has no new ``[simulation]``; empty when it has.
    """

    profile: Profile
    calibration: Calibration
    results: tuple[ProbeResult, ...]
    notes: Mapping[str, str]
    not_simulated: str


def calibrate(
    device: Device,
    base: Profile,
    *,
    name: str,
    window_s: float = 10.0,
    quick: bool = False,
    probes: Sequence[Probe] = PROBES,
    progress: Progress | None = None,
) -> CalibratedDevice:
    """Measure a device with probe networks and refine its profile.

    Args:
        device: An open device.
        base: The profile to refine; figures that are not measured are kept.
        name: Of the new profile.
        window_s: How long power is integrated per network.
        quick: The fewest networks, in the device's default precision alone.
        probes: What to measure.
        progress: Told of every network.

    Raises:
        MeasurementError: Too few networks gave figures, or no held-out one did.
        DeviceError: The device failed.
    """
    chosen = [probe for probe in probes if probe.core or not quick]
    precisions = _precisions(base, quick=quick)
    observations: list[Observation] = []
    results: list[ProbeResult] = []
    with (
        Scratch() as scratch,
        (progress or NullProgress()).phase("calibrate", len(chosen) * len(precisions)) as phase,
    ):
        for probe in chosen:
            path = write_probe(probe, scratch.path)
            workload = workload_from_onnx(path)
            for precision in precisions:
                network = path if device.runs_files else workload  # which saves reading the file again
                found = measure(network, device, _plan(precision, probe.batch, window_s, device))
                seen = _observe(probe, workload, precision, found)
                facts = (probe.name, precision, probe.batch, probe.held_out, found.status, found.reason)
                results.append(ProbeResult(*facts))
                observations += [seen] if seen is not None else []
                phase.advance()
            path.unlink()
    try:
        fit = fit_times(observations, base)
    except MeasurementError as error:
        lost = next((result for result in results if result.status != "ok"), None)
        why = f" ({lost.name}: {lost.reason})" if lost else ""
        raise MeasurementError(f"{error}{why}") from error
    power, power_spread = fit_power(observations, base)
    results = _with_figures(results, observations, fit, power, base)
    calibration = _calibration(device, results, {**fit.terms, **power}, {**fit.spread, **power_spread})
    simulation = simulation_from(base, device.mode, fit.terms, power, observations)
    notes = _notes(calibration, simulation.assumed)
    refined = dataclasses.replace(base, name=name, calibration=calibration)
    if simulation.simulation is not None:
        links = base.links if "simulated" in base.links else (*base.links, "simulated")
        faster = {
            key: dataclasses.replace(compute, speedup=fit.terms.get(f"{key}_speedup", compute.speedup))
            for key, compute in base.precisions.items()
        }
        refined = dataclasses.replace(
            refined, simulation=simulation.simulation, precisions=faster, links=links
        )
    return CalibratedDevice(refined, calibration, tuple(results), notes, simulation.missing)


def _precisions(base: Profile, *, quick: bool) -> list[Precision]:
    """Those to measure, the one of the peak rates first."""
    if quick:
        return [base.default_precision]
    return [key for key, compute in base.precisions.items() if compute.supported and key != _ASSUMED]


def _plan(precision: Precision, batch: int, window_s: float, device: Device) -> MeasurementPlan:
    sensor = device.profile.sensor
    idle_s = max(window_s / 5, 4 * sensor.filter_s, 1.0) if sensor else 0.0
    return MeasurementPlan(
        precision,
        batch,
        warm_up_s=0.5,
        latency_runs=300,
        latency_limit_s=5.0,
        idle_s=idle_s,
        window_s=window_s,
        rate_hz=10.0,
        cool_down_s=2.0,
    )


def _observe(
    probe: Probe, workload: Workload, precision: Precision, found: Measurement
) -> Observation | None:
    latency, power = found.metrics.get("latency_ms"), found.metrics.get("power_mean_mw")
    if found.status != "ok" or latency is None:
        return None
    conditions = found.conditions
    return Observation(
        name=probe.name,
        workload=workload,
        precision=precision,
        batch=probe.batch,
        call_ms=latency.value,
        load_ms=1e3 * conditions["window_s"] / conditions["calls"] if power else 0.0,
        power_mw=power.value if power else 0.0,
        idle_mw=conditions.get("power_idle_mw", 0.0),
        rails_mw=found.rails,
        rails_idle_mw=conditions.get("rails_idle_mw", {}),
        held_out=probe.held_out,
    )


def _with_figures(
    results: Sequence[ProbeResult],
    observations: Sequence[Observation],
    fit: TimeFit,
    power: Mapping[str, float],
    base: Profile,
) -> list[ProbeResult]:
    """The results with what was measured and what the fit makes of it."""
    found = {
        (seen.name, seen.precision): (seen, ms) for seen, ms in zip(observations, fit.call_ms, strict=True)
    }
    filled = []
    for result in results:
        seen, fitted_ms = found.get((result.name, result.precision), (None, 0.0))
        if seen is None:
            filled.append(result)
            continue
        filled.append(dataclasses.replace(result, latency_ms=seen.call_ms, fitted_latency_ms=fitted_ms))
        if power and seen.power_mw > 0:
            macs, moved = seen.work(base.precision(seen.precision).bytes)
            picojoules = macs * power[f"mac_{seen.precision}_pj"] + moved * power["byte_pj"]
            constant_mj = power["active_mw"] * fitted_ms / 1e3
            filled[-1] = dataclasses.replace(
                filled[-1],
                energy_mj=seen.power_mw * seen.load_ms / 1e3 / seen.batch,
                fitted_energy_mj=(constant_mj + 1e-9 * picojoules) / seen.batch,
            )
    return filled


def _calibration(
    device: Device, results: Sequence[ProbeResult], terms: Mapping[str, float], spread: Mapping[str, float]
) -> Calibration:
    unseen = [result for result in results if result.held_out and result.latency_ms]
    if not unseen:
        raise MeasurementError(
            "no network that the fit has not seen gave a latency, so its error cannot be told; "
            f"the last one: {results[-1].reason or results[-1].status}"
        )
    latency = [_error(result.fitted_latency_ms, result.latency_ms) for result in unseen]
    energy = [_error(result.fitted_energy_mj, result.energy_mj) for result in unseen if result.energy_mj]
    return Calibration(
        provenance="simulated" if device.provenance is Provenance.SIMULATED else "measured",
        source=f"{device.profile.name} {device.link.name}, {device.mode.name}",
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        networks=sum(1 for result in results if result.latency_ms and not result.held_out),
        held_out=len(unseen),
        latency_error=statistics.median(latency),
        latency_worst=max(latency),
        energy_error=statistics.median(energy) if energy else None,
        terms=dict(terms),
        spread=dict(spread),
    )


def _error(computed: float | None, seen: float | None) -> float:
    return abs((computed or 0.0) / (seen or 1.0) - 1.0)


def _notes(calibration: Calibration, assumed: Sequence[str]) -> dict[str, str]:
    """What stands beside each figure that is new."""
    notes = {}
    for name in calibration.terms:
        share = calibration.spread.get(name)
        if share is not None:
            notes[f"calibration.terms.{name}"] = f"+- {share:.1%}"
        else:
            notes[f"calibration.terms.{name}"] = "spread not known, or only the least that was reached"
    notes["simulation"] = (
        f"[fitted] to {calibration.networks} {calibration.provenance} networks; see [calibration]"
    )
    notes |= {f"simulation.{key}": "[assumed]" for key in assumed}
    for name in calibration.terms:
        if name.endswith("_speedup"):
            notes[f"precisions.{name.removesuffix('_speedup')}.speedup"] = "[fitted]"
    return notes
