"""Measure one network on one device: run, judge, repeat once, report."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgesynth.agent.tegrastats import Record, parse_line
from edgesynth.devices import BenchRequest, Device, Recording, Workload
from edgesynth.devices.profile import Rails, Sensor
from edgesynth.errors import InputError, LinkError
from edgesynth.metrics import Metric
from edgesynth.profiler.energy import Window, mean_power
from edgesynth.profiler.measurement import Measurement
from edgesynth.profiler.onnx_workload import workload_from_onnx
from edgesynth.profiler.plan import MeasurementPlan
from edgesynth.profiler.rails import distrust, step_mw, total_mw
from edgesynth.profiler.statistics import Figure, drift, mean_interval, quantile

__all__ = ["profile"]

_UNSTEADY = 0.05  # medians of fifths of the latency pass may differ by this share
_CLOCK_SHARE = 0.97  # below this share of the expected GPU clock a sample counts as throttled
_MISSING_SHARE = 0.1  # of the expected samples of a window
_THROTTLED_SHARE = 0.05  # of the samples of a window


@dataclass
class _Findings:
    """Figures so far, and every reason not to believe some of them."""

    figures: dict[str, Figure] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    rails: dict[str, float] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)


def profile(
    network: Workload | str | Path, device: Device, plan: MeasurementPlan | None = None
) -> Measurement:
    """Measure a network.

    Latency and power are separate passes, so that reading power cannot disturb single calls. A measurement
    whose figures cannot be trusted is repeated, then reported as ``inconclusive`` with the reason.

    Args:
        network: An ONNX file, or a workload on a device that runs workloads (a simulated board).
        device: An open device.
        plan: How long and how often; the search plan by default.

    Returns:
        The measurement. A network that cannot run on the device is a result too: ``failed``.

    Raises:
        InputError: The file is no usable ONNX model, or the device cannot compute in this precision.
        DeviceError: The device cannot be reached.
    """
    plan = plan or MeasurementPlan()
    device.profile.precision(plan.precision)
    name, body = _prepare(network, device)
    request = _request(body, device, plan)
    attempt = 0
    while True:
        measurement = _once(name, device, plan, dataclasses.replace(request, attempt=attempt))
        attempt += 1
        if measurement.status != "inconclusive" or attempt >= plan.attempts:
            return dataclasses.replace(measurement, attempts=attempt)
        device.clock.sleep(plan.cool_down_s)


def _prepare(network: Workload | str | Path, device: Device) -> tuple[str, dict[str, Any]]:
    """The network's name and the form the device's bench program takes it in."""
    if isinstance(network, Workload):
        if device.runs_files:
            raise InputError(
                f"{device.profile.name} runs ONNX files, not workloads; export {network.name!r} to ONNX first"
            )
        return network.name, network.to_json()
    path = Path(network)
    workload = workload_from_onnx(path)  # also refuses files that are no model, before the device is bothered
    if device.runs_files:
        return path.stem, {"model": device.send(path)}
    return path.stem, workload.to_json()


def _request(body: dict[str, Any], device: Device, plan: MeasurementPlan) -> BenchRequest:
    sensor = device.profile.sensor
    return BenchRequest(
        network=body,
        precision=plan.precision,
        batch=plan.batch,
        warm_up_s=plan.warm_up_s,
        latency_runs=plan.latency_runs,
        latency_limit_s=plan.latency_limit_s,
        idle_s=plan.idle_s if sensor else 0.0,
        load_s=plan.window_s + plan.settle_s if sensor else 0.0,
        rate_hz=min(plan.rate_hz, sensor.rate_hz) if sensor else plan.rate_hz,
        mode=device.mode.name,
    )


def _once(name: str, device: Device, plan: MeasurementPlan, request: BenchRequest) -> Measurement:
    try:
        recording = device.bench(request)
    except LinkError as error:
        return Measurement(name, "inconclusive", reason=str(error))
    if recording.failure:
        return Measurement(name, "failed", reason=recording.failure, conditions=recording.conditions)
    findings = _Findings(conditions=dict(recording.conditions))
    findings.conditions["precision"] = plan.precision
    findings.conditions["batch"] = plan.batch
    if recording.conditions.get("mode", device.mode.name) != device.mode.name:
        findings.doubts.append(f"power mode is {recording.conditions['mode']}, not {device.mode.name}")
    _judge_latency(recording, plan, findings)
    if device.profile.rails is not None and device.profile.sensor is not None:
        _judge_power(recording, device, request, plan, findings, device.profile.rails, device.profile.sensor)
    if recording.memory_bytes is not None:
        memory = float(recording.memory_bytes)
        findings.figures["memory_peak_bytes"] = Figure(memory, memory, memory, 1)
    source = device.source(plan.precision, plan.batch)
    metrics = {
        key: Metric(key, figure.value, device.provenance, figure.samples, (figure.low, figure.high), source)
        for key, figure in findings.figures.items()
    }
    return Measurement(
        name,
        "inconclusive" if findings.doubts else "ok",
        reason="; ".join(findings.doubts),
        metrics=metrics,
        rails=findings.rails,
        conditions=findings.conditions,
    )


def _judge_latency(recording: Recording, plan: MeasurementPlan, findings: _Findings) -> None:
    latencies = recording.latencies_ms
    findings.conditions["latency_runs"] = len(latencies)
    if len(latencies) < 10:
        findings.doubts.append(f"only {len(latencies)} calls were timed in {plan.latency_limit_s:g} s")
        return
    wander = drift(latencies)
    findings.conditions["latency_drift"] = round(wander, 4)
    if wander > _UNSTEADY:
        findings.doubts.append(
            f"latency was not steady: medians within the pass differ by {100 * wander:.1f} %; "
            "look for other load, throttling or clocks that still ramp"
        )
        return
    for key, share in (("latency_ms", 0.5), ("latency_p90_ms", 0.9), ("latency_p99_ms", 0.99)):
        figure = quantile(latencies, share)
        if figure is not None:  # too few calls for this percentile: left out rather than guessed
            findings.figures[key] = figure
    findings.figures["throughput_ips"] = mean_interval(latencies).map(lambda ms: 1e3 * plan.batch / ms)


def _judge_power(
    recording: Recording,
    device: Device,
    request: BenchRequest,
    plan: MeasurementPlan,
    findings: _Findings,
    rails: Rails,
    sensor: Sensor,
) -> None:
    phases = recording.phases
    window, calls = _window(recording, plan)
    if window is None:
        findings.doubts.append("the load was too short to integrate power over")
        return
    records = [(line.at_s, parse_line(line.text)) for line in recording.sensor]
    inside = [(at, record) for at, record in records if window.begin_s <= at <= window.end_s]
    readable = [(at, record) for at, record in inside if record.rails]
    expected = window.seconds * request.rate_hz
    findings.conditions.update(
        window_s=round(window.seconds, 3),
        power_samples=len(readable),
        power_step_mw=step_mw(rails, sensor),
        sensor=sensor.name,
    )
    if inside and not readable:
        findings.doubts.append("the power sensor's text holds no rail; read it with root rights")
        return
    if len(readable) < (1 - _MISSING_SHARE) * expected:
        findings.doubts.append(
            f"only {len(readable)} of about {expected:.0f} power samples could be read in {window.seconds:.1f} s"
        )
        return
    names = {name for _, record in readable for name in record.rails}
    means = {
        name: float(np.mean([record.rails[name] for _, record in readable if name in record.rails]))
        for name in sorted(names)
    }
    findings.rails.update({name: round(mean, 1) for name, mean in means.items()})
    doubt = distrust(means, rails, sensor) or _throttled([record for _, record in readable], device)
    if doubt:
        findings.doubts.append(doubt)
        if "GPU clock" in doubt:  # then the latencies are not those of this mode either
            findings.figures.clear()
        return
    samples = [(at, power) for at, record in records if (power := total_mw(record.rails, rails)) is not None]
    times = [at for at, _ in samples]
    powers = [power for _, power in samples]
    step = step_mw(rails, sensor)
    busy = mean_power(times, powers, window, step_mw=step, filter_s=sensor.filter_s)
    if busy is None or busy.low <= 0:
        findings.doubts.append("mean power cannot be told from zero")
        return
    seconds_per_sample = window.seconds / (calls * plan.batch)
    figures = findings.figures
    figures["power_mean_mw"] = busy
    peak = max(power for at, power in samples if window.begin_s <= at <= window.end_s)
    figures["power_peak_mw"] = Figure(peak, peak - step, peak + step, busy.samples)
    figures["energy_mj"] = busy.map(lambda mw: mw * seconds_per_sample)
    figures["inferences_per_joule"] = busy.map(lambda mw: 1e3 / (mw * seconds_per_sample))
    rest = (
        [
            figure
            for name, end in (("idle_before", "load"), ("idle_after", "end"))
            if (
                figure := mean_power(
                    times,
                    powers,
                    Window(phases[name] + (sensor.filter_s if name == "idle_after" else 0.0), phases[end]),
                    step_mw=step,
                    filter_s=sensor.filter_s,
                )
            )
        ]
        if plan.idle_s > 2 * sensor.filter_s
        else []
    )
    if rest:
        idle = sum(figure.value for figure in rest) / len(rest)
        spread = sum(figure.high - figure.value for figure in rest) / len(rest)
        findings.conditions["power_idle_mw"] = round(idle, 1)
        dynamic = Figure(
            busy.value - idle,
            busy.value - idle - float(np.hypot(busy.value - busy.low, spread)),
            busy.value - idle + float(np.hypot(busy.high - busy.value, spread)),
            busy.samples,
        )
        if dynamic.low > 0:
            figures["inferences_per_joule_dynamic"] = dynamic.map(lambda mw: 1e3 / (mw * seconds_per_sample))


def _window(recording: Recording, plan: MeasurementPlan) -> tuple[Window | None, int]:
    """The integrated window: between two counts, so that its calls are known exactly."""
    load = recording.phases.get("load")
    after = recording.phases.get("idle_after")
    if load is None or after is None:
        return None, 0
    counts = [(at, calls) for at, calls in recording.counts if load + plan.settle_s <= at <= after]
    if len(counts) < 2 or counts[-1][1] <= counts[0][1]:
        return None, 0
    return Window(counts[0][0], counts[-1][0]), counts[-1][1] - counts[0][1]


def _throttled(records: list[Record], device: Device) -> str:
    """Whether the GPU ran below the clock of its mode, in words, or nothing."""
    clocks = [record.gpu_clock_mhz for record in records if record.gpu_clock_mhz is not None]
    expected = device.mode.gpu_clock_mhz
    slow = [clock for clock in clocks if clock < _CLOCK_SHARE * expected]
    if not clocks or len(slow) <= _THROTTLED_SHARE * len(clocks):
        return ""
    return (
        f"GPU clock fell to {min(slow)} MHz in {len(slow)} of {len(clocks)} samples, {expected:.0f} MHz "
        "expected: the board throttles or its clocks are not fixed; cool it or run jetson_clocks"
    )
