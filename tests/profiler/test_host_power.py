"""Energy of this machine: counters of a known power come back as joules through the whole protocol."""

import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from counter_tree import CounterTree

from edgesynth.devices import BenchRequest, open_device
from edgesynth.errors import EdgesynthError, MissingDependencyError, SensorError
from edgesynth.metrics import Provenance
from edgesynth.profiler import MeasurementPlan, profile
from edgesynth.profiler.judgement import PowerJudge

pytest.importorskip("onnxruntime", reason="host-cpu runs ONNX Runtime")

PLAN = MeasurementPlan(
    "fp32",
    warm_up_s=0.1,
    latency_runs=50,
    latency_limit_s=2.0,
    idle_s=0.7,
    window_s=2.0,
    settle_s=0.3,
    rate_hz=10.0,
    cool_down_s=0.0,
    attempts=1,
)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    (tmp_path / "powercap").mkdir()
    monkeypatch.setenv("EDGESYNTH_POWERCAP", str(tmp_path / "powercap"))
    return CounterTree(tmp_path / "powercap")


def judged_alone(recording, device):
    """Power as judged on a machine that has nothing else to do, which the one of the tests may have."""
    conditions = {**recording.conditions, "load_waited_share": None}
    judge = PowerJudge(device.profile.rails, device.profile.sensor, device.mode, PLAN, PLAN.rate_hz)
    return judge.judge(replace(recording, conditions=conditions))


@pytest.mark.slow
def test_a_known_power_comes_back_as_its_joules(tree, onnx_file):
    tree.add("intel-rapl:0", "package-0", power_mw=42_000)
    tree.add("intel-rapl:0:0", "core", power_mw=30_000)
    with tree, open_device("host-cpu") as device:
        assert device.has_energy
        recording = device.bench(
            BenchRequest(
                network={"model": device.send(onnx_file)},
                precision="fp32",
                batch=1,
                warm_up_s=0.1,
                latency_runs=50,
                latency_limit_s=2.0,
                idle_s=PLAN.idle_s,
                load_s=PLAN.settle_s + PLAN.window_s,
                rate_hz=PLAN.rate_hz,
                mode="default",
            )
        )
        found = judged_alone(recording, device)

    assert found.doubt == ""
    assert found.figures["power_mean_mw"].value == pytest.approx(42_000, rel=0.03)
    true_mj = 42_000 * found.conditions["window_s"] / found.conditions["calls"]
    assert found.figures["energy_mj"].value == pytest.approx(true_mj, rel=0.03)
    assert found.conditions["power_idle_mw"] == pytest.approx(42_000, rel=0.03)
    assert found.conditions["power_total"] == "PACKAGE_0 (processor alone)"
    assert found.conditions["sensor"] == "RAPL"
    assert found.rails["CORE_0"] == pytest.approx(30_000, rel=0.03)
    assert 0 <= recording.conditions["sampler_cpu_share"] < 0.2
    assert device.provenance is Provenance.MEASURED


@pytest.mark.slow
def test_two_programs_on_one_processor_are_found_out(onnx_file):
    """Every processor has something else to do, so the calls must wait for one."""
    burn = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(burn) for _ in range(2 * os.cpu_count())]
    try:
        with open_device("host-cpu") as device:
            result = profile(onnx_file, device, replace(PLAN, latency_runs=2000))
    finally:
        for process in busy:
            process.kill()
            process.wait()

    assert result.status == "inconclusive"
    assert "other programs held the processor" in result.reason or "not steady" in result.reason
    assert result.conditions["waited_share"] > 0.1


def test_counters_that_have_gone_are_told_before_anything_is_timed(tree, onnx_file):
    tree.add("intel-rapl:0", "package-0")
    with open_device("host-cpu") as device:
        (tree.root / "intel-rapl:0/energy_uj").write_text("nonsense")
        with pytest.raises(SensorError, match="an energy counter of this processor cannot be read"):
            profile(onnx_file, device, PLAN)


@pytest.mark.slow
def test_counters_that_go_away_under_way_give_no_figure(tree, onnx_file):
    tree.add("intel-rapl:0", "package-0")
    place = tree.root / "intel-rapl:0/energy_uj"
    with open_device("host-cpu") as device:
        breaking = threading.Timer(2.0, lambda: place.write_text("nonsense"))
        breaking.start()
        result = profile(onnx_file, device, replace(PLAN, window_s=3.0))
        breaking.join()

    assert result.status == "inconclusive"
    assert "could not be read any more" in result.reason
    assert result.metrics == {}


def test_a_gpu_without_its_extra_names_it():
    runtime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        pytest.skip("the installed ONNX Runtime knows CUDA")

    with pytest.raises(MissingDependencyError, match=r"knows no CUDA; .*pip install 'edgesynth\[gpu\]'"):
        open_device("nvidia-gpu")


@pytest.mark.gpu
def test_a_network_on_a_real_gpu_has_latency_and_energy(onnx_file):
    try:
        device = open_device("nvidia-gpu")
    except EdgesynthError as error:
        pytest.skip(str(error))
    with device:
        result = profile(onnx_file, device, MeasurementPlan("fp32", window_s=5.0))

    assert result.status == "ok", result.reason
    assert result.metrics["inferences_per_joule"].value > 0
    assert result.conditions["power_total"] == "GPU_BOARD (graphics board alone)"
