"""Energy of this machine: counters of a known power come back as joules through the whole protocol."""

import threading
from dataclasses import replace

import pytest
from counter_tree import CounterTree

from edgesynth.devices import open_device
from edgesynth.errors import EdgesynthError, MissingDependencyError, SensorError
from edgesynth.metrics import Provenance
from edgesynth.profiler import MeasurementPlan, profile

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


def test_a_known_power_comes_back_as_its_joules(tree, onnx_file):
    tree.add("intel-rapl:0", "package-0", power_mw=42_000)
    tree.add("intel-rapl:0:0", "core", power_mw=30_000)
    with tree, open_device("host-cpu") as device:
        assert device.has_energy
        result = profile(onnx_file, device, PLAN)

    metrics, conditions = result.metrics, result.conditions
    assert metrics["power_mean_mw"].value == pytest.approx(42_000, rel=0.03)
    true_mj = 42_000 * conditions["window_s"] / conditions["calls"]
    assert metrics["energy_mj"].value == pytest.approx(true_mj, rel=0.03)
    assert metrics["energy_mj"].provenance is Provenance.MEASURED
    assert conditions["power_idle_mw"] == pytest.approx(42_000, rel=0.03)
    assert conditions["power_total"] == "PACKAGE_0 (processor alone)"
    assert conditions["sensor"] == "RAPL"
    assert 0 <= conditions["sampler_cpu_share"] < 0.2
    if result.status == "ok":  # other work on this machine may have made latency unsteady
        assert conditions["sampling_slowdown"] > -1.0
    assert result.rails["CORE_0"] == pytest.approx(30_000, rel=0.03)


def test_counters_that_have_gone_are_told_before_anything_is_timed(tree, onnx_file):
    tree.add("intel-rapl:0", "package-0")
    with open_device("host-cpu") as device:
        (tree.root / "intel-rapl:0/energy_uj").write_text("nonsense")
        with pytest.raises(SensorError, match="an energy counter of this processor cannot be read"):
            profile(onnx_file, device, PLAN)


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
