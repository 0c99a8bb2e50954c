"""Measure one network on one device: run, judge, repeat once, report."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path
from typing import Any, Final

from edgesynth.devices import BenchRequest, Device, Precision, Recording, Workload
from edgesynth.errors import InputError, MeasurementError
from edgesynth.metrics import Metric
from edgesynth.profiler.judgement import Findings, PowerJudge, judge_latency
from edgesynth.profiler.measurement import LayerTime, Measurement
from edgesynth.profiler.onnx_workload import check_onnx, workload_from_onnx
from edgesynth.profiler.plan import MeasurementPlan
from edgesynth.profiler.surroundings import device_doubt, mode_doubt, settle_doubt, speed_doubt

__all__ = ["bench_request", "profile"]

_COUNT_SLACK_S: Final = 1.0  # calls are counted about this often, so the load outlasts the window by it


def profile(
    network: Workload | str | Path,
    device: Device,
    plan: MeasurementPlan | None = None,
    *,
    engine: str = "",
) -> Measurement:
    """Measure a network.

    Latency and power are separate passes, so that reading power cannot disturb single calls. A measurement
    whose figures cannot be trusted is repeated, then reported as ``inconclusive`` with the reason.

    Args:
        network: An ONNX file, or a workload on a device that runs workloads (a simulated board). For FP16 an
            FP32 file will do, whether the device takes precision from flags or from the graph.
        device: An open device.
        plan: How long and how often; the search plan by default.
        engine: Of a board: where on it an engine of the network is; it builds one by default.

    Returns:
        The measurement. A network that cannot run on the device is a result too: ``failed``.

    Raises:
        InputError: The file is no usable ONNX model, it or the device cannot compute in this precision, or
            the device has no CUDA graphs.
        DeviceError: The device cannot be reached.
    """
    plan = plan or MeasurementPlan()
    device.check_precision(plan.precision)
    if plan.cuda_graph and not device.has_cuda_graphs:
        raise InputError(
            f"{device.describe()} launches nothing as a CUDA graph: that is for TensorRT on a real board; "
            "measure without"
        )
    name, body = _prepare(network, device, plan.precision, engine)
    runs_in: str = plan.precision
    if not engine and not isinstance(network, Workload) and device.runs_files:
        runs_in = device.precision_of(Path(network), plan.precision)
    for attempt in range(plan.attempts):
        if attempt:
            device.clock.sleep(plan.cool_down_s)
        # Anew each time: a first attempt may have set the device's speed, and then given no figure of power.
        request = dataclasses.replace(bench_request(body, device, plan), attempt=attempt)
        measurement = _once(name, device, plan, request, runs_in)
        if measurement.status != "inconclusive":
            break
    return dataclasses.replace(measurement, attempts=attempt + 1)


def _prepare(
    network: Workload | str | Path, device: Device, precision: Precision, engine: str
) -> tuple[str, dict[str, Any]]:
    """The network's name and the form the device's bench program takes it in."""
    if isinstance(network, Workload):
        if device.runs_files:
            raise InputError(
                f"{device.profile.name} runs ONNX files, not workloads; export {network.name!r} to ONNX first"
            )
        return network.name, network.to_json()
    path = Path(network)
    if engine:
        return path.stem, {"model": engine}
    if not device.runs_files:
        return path.stem, workload_from_onnx(path).to_json()
    check_onnx(path)  # before the device is bothered
    return path.stem, {"model": device.send_for(path, precision)}


def bench_request(body: dict[str, Any], device: Device, plan: MeasurementPlan) -> BenchRequest:
    """What a device is asked for one attempt at a plan.

    Args:
        body: The network, in the form the device's bench program takes it in.
        device: Open.
        plan: How long and how often.
    """
    sensor = device.profile.sensor if plan.window_s else None
    return BenchRequest(
        network=body,
        precision=plan.precision,
        batch=plan.batch,
        warm_up_s=plan.warm_up_s,
        warm_up_limit_s=plan.warm_up_limit_s,
        latency_runs=plan.latency_runs,
        latency_limit_s=plan.latency_limit_s,
        idle_s=plan.idle_s if sensor else 0.0,
        load_s=plan.settle_s + plan.window_s + _COUNT_SLACK_S if sensor else 0.0,
        rate_hz=min(plan.rate_hz, sensor.rate_hz) if sensor else plan.rate_hz,
        mode=device.mode.name,
        layer_runs=plan.layer_runs,
        cuda_graph=plan.cuda_graph,
        speed_ms=device.reference_ms or 0.0,
    )


def _once(
    name: str, device: Device, plan: MeasurementPlan, request: BenchRequest, runs_in: str
) -> Measurement:
    try:
        recording = device.bench(request)
    except MeasurementError as error:
        return Measurement(name, "inconclusive", reason=str(error))
    conditions = {**recording.conditions, "precision": runs_in, "batch": plan.batch}
    if recording.failure:
        if recording.failure_kind:
            conditions["failure_kind"] = recording.failure_kind
        return Measurement(name, "failed", reason=recording.failure, conditions=conditions)
    if doubt := mode_doubt(recording.conditions, device.mode.name):
        return Measurement(name, "inconclusive", reason=doubt, conditions=conditions)
    if recording.gpu_latencies_ms:  # tells how much of the latency is the host's part
        conditions["latency_gpu_ms"] = round(statistics.median(recording.gpu_latencies_ms), 4)
    told = recording.conditions
    first = device.reference_ms is None
    other_speed = speed_doubt(told, first=first)
    unsuited = other_speed or settle_doubt(told)
    waited_share = told.get("waited_share")
    latency = judge_latency(recording.latencies_ms, plan, waited_share, unsuited, recording.medians_ms)
    if recording.references_ms:
        conditions["reference_ms"] = round(statistics.median(recording.references_ms), 5)
    power = _judge_power(recording, device, plan, request.rate_hz)
    if other_speed and not first:  # energy of another speed cannot be compared either
        power = dataclasses.replace(power, figures={})
    figures = {**({} if power.everywhere else latency.figures), **power.figures}
    if first and not latency.doubt:
        device.reference_ms = told.get("speed_ms")
    conditions.setdefault("cuda_graph", False)  # nothing else than a board has any
    source = device.source(runs_in, plan.batch) + (", CUDA graph" if conditions["cuda_graph"] else "")
    if "throughput_ips" in figures and "energy_mj" in figures:
        # The load ran at the speed that the machine had: as the clock said it, not as of another speed.
        as_timed_ms = told.get("latency_as_timed_ms")
        change = figures["latency_ms"].value / as_timed_ms if as_timed_ms else 1.0
        conditions["sampling_slowdown"] = _slowdown(
            change * figures["throughput_ips"].value, power, plan.batch
        )
    metrics = {
        key: Metric(key, figure.value, device.provenance, figure.samples, (figure.low, figure.high), source)
        for key, figure in figures.items()
    }
    if recording.memory_bytes is not None:
        metrics["memory_peak_bytes"] = Metric(
            "memory_peak_bytes", float(recording.memory_bytes), device.provenance, source=source
        )
    doubts = list(dict.fromkeys(findings.doubt for findings in (latency, power) if findings.doubt))
    return Measurement(
        name,
        "inconclusive" if doubts else "ok",
        reason="; ".join(doubts),
        metrics=metrics,
        rails=power.rails,
        conditions={**conditions, **latency.conditions, **power.conditions},
        layers=_layer_times(recording),
    )


def _layer_times(recording: Recording) -> tuple[LayerTime, ...]:
    total_ms = sum(ms for _, ms in recording.layers)
    return tuple(LayerTime(name, ms, ms / total_ms if total_ms else 0.0) for name, ms in recording.layers)


def _slowdown(throughput_ips: float, power: Findings, batch: int) -> float:
    """How much longer a call takes while power is sampled than in the latency pass, as a share."""
    sampled_ips = power.conditions["calls"] * batch / power.conditions["window_s"]
    return round(float(throughput_ips / sampled_ips) - 1, 4)


def _judge_power(recording: Recording, device: Device, plan: MeasurementPlan, rate_hz: float) -> Findings:
    rails, sensor = device.profile.rails, device.profile.sensor
    found = recording.conditions
    if rails is None or sensor is None or not plan.window_s:
        doubt = device_doubt(found, device.mode)
        return Findings(doubt=doubt, everywhere=bool(doubt))
    # While a DLA works the GPU rests, and lowers its clock: that is no throttling.
    gpu_rests = found.get("dla_core") is not None and found.get("clocks") != "fixed"
    return PowerJudge(rails, sensor, device.mode, plan, rate_hz, gpu_rests).judge(recording)
