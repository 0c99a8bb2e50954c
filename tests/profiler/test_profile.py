"""Measurements: right figures on a good board, and an honest refusal on a bad one."""

import dataclasses
import json
import time

import numpy as np
import pytest

from edgesynth.devices import Faults, Roofline, load_profile, open_device
from edgesynth.errors import DeviceError, InputError
from edgesynth.metrics import METRICS, Provenance
from edgesynth.profiler import Measurement, MeasurementPlan, profile

ENERGY = {name for name, kind in METRICS.items() if kind.energy}
LATENCY = {"latency_ms", "latency_p90_ms", "latency_p99_ms", "throughput_ips"}


def measured(workload, plan=None, **board):
    with open_device("jetson-tx2", **board) as device:
        return profile(workload, device, plan)


def test_every_device_metric_comes_with_interval_source_and_provenance(workload):
    result = measured(workload)

    assert result.status == "ok", result.reason
    assert set(result.metrics) == {name for name, kind in METRICS.items() if kind.source == "device"}
    for name, metric in result.metrics.items():
        assert metric.provenance is Provenance.SIMULATED
        assert metric.source == "jetson-tx2 simulated, MAXN, fp16, batch 1"
        if name != "memory_peak_bytes":
            low, high = metric.interval
            assert low <= metric.value <= high
            assert metric.samples > 1


@pytest.mark.parametrize(
    "plan", [MeasurementPlan(), MeasurementPlan.report(), MeasurementPlan("fp32", batch=8)]
)
@pytest.mark.parametrize("macs", [10_000, 40_000_000])
def test_figures_agree_with_the_physics_of_the_board(make_workload, plan, macs):
    tx2 = load_profile("jetson-tx2")
    model = Roofline(tx2, tx2.mode())
    call = model.estimate(make_workload(macs=macs), plan.precision, plan.batch)
    power = model.all_rails_mw(model.busy_mw(call, plan.precision, call.seconds))["VDD_IN"]

    metrics = measured(make_workload(macs=macs), plan).metrics

    assert metrics["latency_ms"].value == pytest.approx(1e3 * call.seconds, rel=0.01)
    assert metrics["throughput_ips"].value == pytest.approx(plan.batch / call.seconds, rel=0.01)
    assert metrics["power_mean_mw"].value == pytest.approx(power, rel=0.01)
    energy = power * call.seconds / plan.batch
    assert metrics["energy_mj"].value == pytest.approx(energy, rel=0.01)
    assert metrics["inferences_per_joule"].value == pytest.approx(1e3 / energy, rel=0.01)
    assert metrics["inferences_per_joule_dynamic"].value > metrics["inferences_per_joule"].value


def test_dynamic_energy_leaves_the_rest_out(workload):
    result = measured(workload)
    mean, idle = result.metrics["power_mean_mw"].value, result.conditions["power_idle_mw"]

    ratio = (
        result.metrics["inferences_per_joule_dynamic"].value / result.metrics["inferences_per_joule"].value
    )

    assert 1500 < idle < 3100
    assert ratio == pytest.approx(mean / (mean - idle), rel=0.001)


def test_power_intervals_cover_the_power_of_the_board(make_workload):
    tx2 = load_profile("jetson-tx2")
    model = Roofline(tx2, tx2.mode())
    covered = 0
    for seed in range(40):
        net = make_workload(macs=1_000_000 + 50_000 * seed)
        call = model.estimate(net, "fp16")
        low, high = measured(net, seed=seed).metrics["power_mean_mw"].interval
        covered += low <= model.all_rails_mw(model.busy_mw(call, "fp16", call.seconds))["VDD_IN"] <= high

    assert covered >= 35


def test_same_seed_same_measurement_other_seed_other_noise(workload):
    assert measured(workload, seed=5) == measured(workload, seed=5)
    assert measured(workload, seed=5).metrics != measured(workload, seed=6).metrics


def test_a_measurement_does_not_depend_on_those_before_it(workload, make_workload):
    with open_device("jetson-tx2") as device:
        profile(make_workload(3), device)
        later = profile(workload, device)

    assert later == measured(workload)


def test_what_sampling_costs_is_part_of_the_result(workload):
    slowdown = measured(workload).conditions["sampling_slowdown"]

    assert slowdown == pytest.approx(0.0, abs=0.01)  # nothing on a simulated board, but for its outliers


def telling_speed(device, kept):
    """A simulated board that tells of its speed as a host does: times half as much again as the clock's."""
    bench = device.bench

    def told(request):
        found = bench(request)
        raw_ms = float(np.median(found.latencies_ms))
        speed = {"speed_ms": 0.5, "blocks": 40, "blocks_at_speed": kept, "latency_as_timed_ms": raw_ms}
        return dataclasses.replace(
            found,
            latencies_ms=tuple(1.5 * ms for ms in found.latencies_ms) if kept else (),
            conditions={**found.conditions, **speed},
        )

    device.bench = told
    return device


def test_what_sampling_costs_is_not_what_another_speed_does(workload):
    with open_device("jetson-tx2") as device:
        found = profile(workload, telling_speed(device, kept=40))

    plain = measured(workload)
    assert found.metrics["throughput_ips"].value == pytest.approx(plain.metrics["throughput_ips"].value / 1.5)
    assert found.conditions["sampling_slowdown"] == pytest.approx(plain.conditions["sampling_slowdown"])


def test_energy_of_another_speed_is_left_out_as_latency_is(workload):
    with open_device("jetson-tx2") as device:
        alone = profile(workload, telling_speed(device, kept=0))
        device.reference_ms = 0.4
        later = profile(workload, device)

    assert "had one and the same speed in only 0" in alone.reason
    assert "energy_mj" in alone.metrics
    assert "speed of the first measurement in only 0" in later.reason
    assert set(later.metrics) == {"memory_peak_bytes"}


def test_json_makes_the_round_trip(workload):
    result = measured(workload)

    assert Measurement.from_json(json.loads(json.dumps(result.to_json()))) == result


@pytest.mark.parametrize(
    ("faults", "reason", "kept"),
    [
        (Faults(lost_rail="VDD_IN"), "no power rail VDD_IN", LATENCY),
        (Faults(mislabelled_rail="VDD_SYS_GPU"), "more than the total's", LATENCY),
        (Faults(garbage_share=0.5), "power samples", LATENCY),
        (Faults(throttle_to_mhz=828), "GPU clock fell to 828 MHz", set()),
        (Faults(drift=0.2), "latency was not steady", ENERGY),
        (Faults(hang=True), "printed nothing", set()),
        (Faults(crash=True), "Segmentation fault", set()),
    ],
    ids=["lost rail", "wrong label", "garbage", "throttling", "drift", "hang", "crash"],
)
def test_a_board_that_misbehaves_gives_no_figure_that_it_spoiled(workload, faults, reason, kept):
    result = measured(workload, faults=faults)

    assert result.status == "inconclusive"
    assert reason in result.reason
    assert result.attempts == 2
    assert set(result.metrics) - {"memory_peak_bytes"} == kept


def test_a_fault_that_passes_costs_one_repetition(workload):
    result = measured(workload, faults=Faults(throttle_to_mhz=828, benches=1))

    assert (result.status, result.attempts) == ("ok", 2)
    assert set(result.metrics) >= ENERGY


def test_little_garbage_is_survived(workload):
    result = measured(workload, faults=Faults(garbage_share=0.03))

    assert result.status == "ok"
    clean = measured(workload).metrics["energy_mj"].value
    assert result.metrics["energy_mj"].value == pytest.approx(clean, rel=0.01)


def test_a_network_that_does_not_fit_failed_and_is_not_repeated(workload):
    result = measured(workload, faults=Faults(out_of_memory=True))

    assert (result.status, result.attempts) == ("failed", 1)
    assert "out of memory" in result.reason
    assert result.metrics == {}


def test_too_few_calls_for_a_percentile_leave_it_out(workload):
    result = measured(workload, MeasurementPlan(latency_runs=100))

    assert result.status == "ok"
    assert "latency_p99_ms" not in result.metrics
    assert "latency_p90_ms" in result.metrics


def test_a_slow_network_is_timed_within_the_limit(make_workload):
    slow = make_workload(20, macs=4_000_000_000)
    result = measured(slow, MeasurementPlan(latency_limit_s=30))

    assert result.status == "ok", result.reason
    assert result.conditions["latency_runs"] * result.metrics["latency_ms"].value <= 31_000


def test_a_network_too_slow_for_the_window_is_inconclusive(make_workload):
    result = measured(make_workload(20, macs=10**11))

    assert result.status == "inconclusive"
    assert "calls" in result.reason


def test_int8_on_tx2_is_refused_before_anything_runs(workload):
    with open_device("jetson-tx2") as device:
        with pytest.raises(InputError, match="INT8"):
            profile(workload, device, MeasurementPlan("int8"))
        assert device.clock.monotonic() == 0


def test_an_onnx_file_can_be_measured_on_the_simulated_board(onnx_file):
    result = measured(onnx_file)

    assert (result.network, result.status) == ("small", "ok")


def test_files_that_are_no_models_are_bad_input(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_text("no")
    with open_device("jetson-tx2") as device, pytest.raises(InputError, match="ONNX"):
        profile(path, device)


def test_a_closed_device_is_a_device_failure(workload):
    device = open_device("jetson-tx2")
    device.close()

    with pytest.raises(DeviceError, match="closed"):
        profile(workload, device)


@pytest.mark.parametrize(
    "change", [{"batch": 0}, {"window_s": 0.5}, {"latency_runs": 3}, {"attempts": 0}, {"rate_hz": 0.0}]
)
def test_plans_that_cannot_give_a_figure_are_refused(change):
    with pytest.raises(InputError, match=next(iter(change))):
        dataclasses.replace(MeasurementPlan(), **change)


def test_profiling_is_fast_enough_for_a_search(make_workload):
    net = make_workload(60)
    with open_device("jetson-tx2") as device:
        profile(net, device)
        spent = []
        for _ in range(5):
            before = time.process_time()
            profile(net, device)
            spent.append(time.process_time() - before)

    assert min(spent) < 0.05  # 20 ms on an idle machine; other work shares this one
