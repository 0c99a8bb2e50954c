"""The CPU of this machine is a real target: measured latency, and no energy that it cannot tell."""

from dataclasses import replace

import pytest
from fake_board import write_layer

from edgesynth.devices import open_device
from edgesynth.errors import InputError
from edgesynth.metrics import METRICS, Provenance
from edgesynth.profiler import MeasurementPlan, profile

pytest.importorskip("onnxruntime", reason="host-cpu runs ONNX Runtime")

PLAN = MeasurementPlan("fp32", warm_up_s=0.1, latency_runs=50, latency_limit_s=2.0, cool_down_s=0.0)


def test_latency_of_this_machine_is_measured(onnx_file):
    with open_device("host-cpu") as device:
        assert not device.has_energy
        result = profile(onnx_file, device, PLAN)

    assert result.status in {"ok", "inconclusive"}, result.reason  # other work on this machine may disturb it
    assert result.conditions["blocks"] >= result.conditions["blocks_at_speed"]
    assert result.conditions["memory_available_mb"] > 0
    assert not any(METRICS[name].energy for name in result.metrics)
    if result.status == "ok":
        assert result.metrics["latency_ms"].provenance is Provenance.MEASURED
        assert 0.001 < result.metrics["latency_ms"].value < 1000
        assert result.conditions["latency_runs"] >= 50
        assert f"reference load {result.conditions['speed_ms']:.4f} ms" in result.metrics["latency_ms"].source
        assert result.conditions["latency_as_timed_ms"] == pytest.approx(
            result.metrics["latency_ms"].value, rel=0.21
        )
    else:
        reasons = (
            "not steady",
            "other programs held",
            "the machine had one and the same speed",
            "had not settled",
            "while it was timed",
        )
        assert any(reason in result.reason for reason in reasons)
    assert 0.001 < result.conditions["speed_ms"] < 1000
    assert "18 convolutions" in result.conditions["reference"]


def test_layers_of_this_machine_are_told_as_it_runs_them(onnx_file):
    with open_device("host-cpu") as device:
        result = profile(onnx_file, device, replace(PLAN, layer_runs=5, attempts=1))

    names = [layer.name for layer in result.layers]
    assert names[-1] == "head"
    assert 3 <= len(names) < 10  # some of the six are fused, and layouts are changed between others
    assert all(0 <= layer.mean_ms < 100 for layer in result.layers)


def test_a_machine_of_another_speed_gives_no_figure_however_steady_it_is(onnx_file):
    with open_device("host-cpu") as device:
        device.reference_ms = 1e-4  # no machine is so fast
        result = profile(onnx_file, device, replace(PLAN, latency_limit_s=0.5))

    assert result.status == "inconclusive"
    assert result.conditions["blocks_at_speed"] == 0 < result.conditions["blocks"]
    assert result.attempts == PLAN.attempts
    assert not result.metrics
    assert device.reference_ms == 1e-4


@pytest.mark.slow
def test_the_first_trusted_measurement_of_a_session_sets_its_speed(onnx_file):
    with open_device("host-cpu") as device:
        results = [profile(onnx_file, device, PLAN) for _ in range(3)]
        speeds = [result.conditions["speed_ms"] for result in results if result.status == "ok"]

        assert device.reference_ms == (speeds[0] if speeds else None)
        assert len(set(speeds)) <= 1


@pytest.mark.parametrize("name", ["host-cpu", "jetson-tx2"])
def test_a_dynamic_batch_can_be_measured_and_a_fixed_one_is_said(onnx_file, onnx_model, tmp_path, name):
    import onnx
    from onnx import helper

    fixed = tmp_path / "fixed.onnx"
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])
    onnx.save(onnx_model([node], {"w": (8, 3, 1, 1)}, shape=(1, 3, 8, 8)), fixed)
    plan = replace(PLAN, batch=4, warm_up_s=0.0, latency_runs=20, attempts=1)
    with open_device(name) as device:
        assert profile(onnx_file, device, plan).status != "failed"
        result = profile(fixed, device, plan)

    assert result.status == "failed"
    assert "fixed batch of 1" in result.reason


def test_workloads_cannot_run_on_a_real_machine(workload):
    with open_device("host-cpu") as device, pytest.raises(InputError, match="export 'net' to ONNX"):
        profile(workload, device, PLAN)


def test_fp16_is_refused_with_the_reason(onnx_file):
    with open_device("host-cpu") as device, pytest.raises(InputError, match="compute in FP32"):
        profile(onnx_file, device, MeasurementPlan("fp16"))


def test_a_host_runs_a_file_as_it_is_and_says_in_what(tmp_path):
    write_layer(tmp_path / "half.onnx", "fp16")

    with open_device("host-cpu") as device:
        result = profile(tmp_path / "half.onnx", device, replace(PLAN, attempts=1))

    assert result.conditions["precision"] == "fp16"
    assert all(", fp16, batch 1" in metric.source for metric in result.metrics.values())
