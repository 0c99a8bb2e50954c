"""From ``open_device`` to joules on a board that is not there, whose true power is known."""

import math
import sys
from dataclasses import replace

import pytest
from short_bench import short_bench

from edgesynth.agent.tegrastats import parse_line
from edgesynth.devices import LocalLink, open_device
from edgesynth.devices.catalog import find_profile
from edgesynth.devices.jetson import install_agent
from edgesynth.errors import DeviceError, SensorError
from edgesynth.metrics import Provenance
from edgesynth.profiler import MeasurementPlan, profile
from edgesynth.profiler.energy import Window, integrate_mj

CURVE = {"mean_mw": 6000, "swing_mw": 2500, "period_s": 1.7}
QUICK = MeasurementPlan(
    warm_up_s=0.05,
    latency_runs=400,
    latency_limit_s=0.5,
    idle_s=0.0,
    window_s=2.0,
    settle_s=0.1,
    rate_hz=10.0,
    cool_down_s=0.0,
    attempts=1,
)


def true_mj(begin_s, end_s):
    """The integral of the curve that the board's tegrastats prints."""
    turn = 2 * math.pi / CURVE["period_s"]
    swing = (math.cos(turn * begin_s) - math.cos(turn * end_s)) / turn
    return CURVE["mean_mw"] * (end_s - begin_s) + CURVE["swing_mw"] * swing


@pytest.mark.slow
def test_a_known_power_curve_comes_back_as_its_joules(here, model):
    here.set("tegrastats", curve=CURVE)
    with open_device("jetson-tx2", link="local") as device:
        request = short_bench(device, model, idle_s=0.3, load_s=2 * CURVE["period_s"])
        recording = device.bench(request)

    samples = [(line.at_s, parse_line(line.text).rails["VDD_IN"]) for line in recording.sensor]
    window = Window(recording.counts[0][0], recording.counts[-1][0])
    found = integrate_mj([at for at, _ in samples], [power for _, power in samples], window)
    assert window.seconds > 2.0
    assert found == pytest.approx(true_mj(window.begin_s, window.end_s), rel=0.01)


def test_the_profiler_measures_a_board_like_any_device(here, model):
    here.set("tegrastats", curve={"mean_mw": 6000, "swing_mw": 0})
    here.set("tensorrt", call_ms=20.0)
    with open_device("jetson-tx2", link="local", mode="MAXN", clocks="fixed") as device:
        # On a busy machine a call of 20 ms is unsteady at times, and rightly told inconclusive.
        measurement = profile(model, device, replace(QUICK, attempts=5))

    assert measurement.status == "ok", measurement.reason
    metrics = measurement.metrics
    assert metrics["latency_ms"].value == pytest.approx(20.0, rel=0.15)
    assert metrics["latency_ms"].provenance is Provenance.MEASURED
    calls_per_s = 1e3 * metrics["power_mean_mw"].value / metrics["energy_mj"].value / 1e3
    assert metrics["power_mean_mw"].value == pytest.approx(6000, rel=0.01)
    assert metrics["inferences_per_joule"].value == pytest.approx(calls_per_s / 6.0, rel=0.01)
    assert 25 < calls_per_s <= 50
    assert measurement.conditions["root"] == str(here.root)  # nobody takes it for a real board
    assert measurement.conditions["mode"] == "MAXN"
    assert measurement.conditions["mode_before"] == "MAXP_CORE_ARM"
    assert measurement.conditions["latency_gpu_ms"] == pytest.approx(20.0, rel=0.02)
    assert here.present_mode() == "MAXP_CORE_ARM"
    assert here.present_clocks() == here.clocks
    here.wait_until_quiet()


@pytest.mark.parametrize(
    ("control", "message"),
    [
        pytest.param({"throttle_at": 12}, "GPU clock fell to 726 MHz", id="throttle"),
        pytest.param({"garbage_every": 3}, "power samples", id="garbage"),
        pytest.param({"cpu_mw": 9000}, "shows 9000 mW, more than the", id="label"),
    ],
)
@pytest.mark.slow
def test_a_board_that_misbehaves_gives_no_figure(here, model, control, message):
    here.set("tegrastats", **control)
    with open_device("jetson-tx2", link="local", mode="MAXN") as device:
        measurement = profile(model, device, QUICK)

    assert measurement.status == "inconclusive"
    assert message in measurement.reason
    assert "energy_mj" not in measurement.metrics


def test_a_board_that_shows_no_power_is_doubted_by_what_it_says_of_itself(here, model, tmp_path):
    shipped = find_profile("jetson-tx2-nx").read_text()
    (tmp_path / "bare.toml").write_text(shipped[: shipped.index("[rails]")])
    here.write("sys/class/thermal/cooling_device0/type", "gpu-throttle-alert")
    here.write("sys/class/thermal/cooling_device0/cur_state", "1")
    with open_device(str(tmp_path / "bare.toml"), link="local", mode="MAXN") as device:
        hot = profile(model, device, QUICK)
        here.write("sys/class/thermal/cooling_device0/cur_state", "0")
        here.write("proc/meminfo", "MemTotal: 4047208 kB\nMemAvailable: 51200 kB\n")
        short = profile(model, device, QUICK)

    for found, doubt in ((hot, "gpu-throttle-alert is active"), (short, "only 50 MB of memory to spare")):
        assert found.status == "inconclusive"
        assert doubt in found.reason
        assert "latency_ms" not in found.metrics


@pytest.mark.slow
def test_a_board_is_measured_in_the_mode_it_is_in(here, model):
    with open_device("jetson-tx2", link="local") as device:
        measurement = profile(model, device, QUICK)

    # The latency may be unsteady on a busy machine, which says nothing of the power.
    assert measurement.conditions["mode"] == "MAXP_CORE_ARM"
    assert "MAXP_CORE_ARM" in measurement.metrics["energy_mj"].source


def test_a_board_in_a_mode_that_the_profile_lacks_is_called_by_its_name(here):
    here.write("etc/nvpmodel.conf", "< POWER_MODEL ID=3 NAME=CUSTOM >\n")

    with open_device("jetson-tx2", link="local") as device:
        assert device.mode.name == "CUSTOM"
        assert device.mode.gpu_clock_mhz is None


def test_a_network_that_cannot_be_built_is_a_result(here, model):
    here.set("tensorrt", build="unsupported")
    with open_device("jetson-tx2", link="local") as device:
        measurement = profile(model, device, QUICK)

    assert measurement.status == "failed"
    assert "UNSUPPORTED_NODE" in measurement.reason
    assert measurement.conditions["failure_kind"] == "unsupported"


def test_a_board_without_a_rail_is_a_device_failure_and_no_result(here, model):
    here.set("tegrastats", lost=["VDD_IN"])
    with (
        open_device("jetson-tx2", link="local") as device,
        pytest.raises(SensorError, match="no power rail VDD_IN"),
    ):
        profile(model, device, QUICK)


def test_the_agent_is_brought_once_per_content(here, tmp_path):
    link = LocalLink(tmp_path / "work")
    first = install_agent(link)
    (file,) = (tmp_path / "work/agent").iterdir()
    kept = file.stat().st_mtime_ns
    again = install_agent(link)

    assert first.command == again.command == ("python3", str(file))
    assert file.stat().st_mtime_ns == kept
    file.write_bytes(b"cut short")
    assert install_agent(link).info(("soc",))[0] == {"soc": "tegra186"}
    link.close()


def test_a_python_with_tensorrt_is_preferred(here, monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python3"
    python.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    other = tmp_path / "bin/python3.12"
    other.write_text(f'#!/bin/sh\necho "a module that it always loads"\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/nowhere")
    monkeypatch.setattr("edgesynth.devices.jetson._PYTHONS", ("python3", "python3.12"))
    link = LocalLink(tmp_path / "work")

    assert install_agent(link).command[0] == "python3.12"
    link.close()


def test_a_board_without_python_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("edgesynth.devices.jetson._PYTHONS", ("python3.nowhere",))
    link = LocalLink(tmp_path / "work")

    with pytest.raises(DeviceError, match=r"no Python 3\.6.*python3\.nowhere.*install python3"):
        install_agent(link)
    link.close()


def test_a_machine_that_is_no_jetson_is_refused(here):
    (here.root / "proc/device-tree/compatible").unlink()

    with pytest.raises(DeviceError, match=r"is no NVIDIA Jetson TX2.*names no Tegra"):
        open_device("jetson-tx2", link="local")


def test_a_board_of_another_kind_is_refused(here):
    here.write("proc/device-tree/compatible", "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0")

    with pytest.raises(DeviceError, match=r"\(sm 8\.7\), and profile jetson-tx2 is of sm 6\.2"):
        open_device("jetson-tx2", link="local")


def test_an_agent_that_gives_no_answer_is_a_link_failure(here, tmp_path):
    link = LocalLink(tmp_path / "work")
    agent = install_agent(link)

    with pytest.raises(DeviceError, match=r"gave no answer to 'nonsense'.*usage"):
        agent.ask("nonsense")
    link.close()
