"""A GPU of this machine that says that it slows its clocks gives no figure, and its reasons are named."""

import json
import time

import pytest
from fake_nvml import FIRST, Library

from edgesynth.devices import BenchRequest, load_profile
from edgesynth.devices.bench import read_recording
from edgesynth.devices.counters import tell_power
from edgesynth.devices.link import Line
from edgesynth.devices.nvml import NvmlGpu
from edgesynth.profiler import MeasurementPlan
from edgesynth.profiler.judgement import PowerJudge
from edgesynth.profiler.surroundings import throttle_doubt

PLAN = MeasurementPlan("fp32", idle_s=0.1, window_s=2.0, settle_s=0.1)
READINGS = 60
POWER_CAP, THERMAL, IDLE = 0x04, 0x20, 0x01


def judged(library):
    """The load of a network on a GPU with this library, and what the profiler makes of it."""
    told = []
    gpu = NvmlGpu(library, lambda: FIRST)
    asked = BenchRequest(
        {"model": "net.onnx"}, "fp32", 1, 0.0, 0, 0.0, idle_s=0.1, load_s=0.9, rate_hz=40.0, mode="default"
    )
    tell_power(lambda: time.sleep(0.002), asked, gpu, lambda event, **values: told.append((event, values)))
    lines = [Line(0.0, json.dumps({"event": event, **values})) for event, values in [*told, ("end", {})]]
    recording = read_recording(lines)
    recording.conditions["load_waited_share"] = None  # whatever else this machine does
    mode = load_profile("nvidia-gpu").mode()
    return recording, PowerJudge(gpu.rails, gpu.sensor, mode, PLAN, rate_hz=10.0).judge(recording)


def test_a_gpu_that_does_not_throttle_is_believed():
    recording, found = judged(Library(bits=[IDLE] * READINGS))

    assert recording.conditions["load_throttled"] == {}
    assert found.doubt == ""
    assert found.figures["power_mean_mw"].value == pytest.approx(28_750)


def test_a_gpu_that_throttles_gives_no_figure_and_says_why():
    recording, found = judged(Library(bits=[0] * 15 + [POWER_CAP | THERMAL] * READINGS))

    shares = recording.conditions["load_throttled"]
    assert set(shares) == {"SW power cap", "SW thermal slowdown"}
    assert all(0.2 < share < 1.0 for share in shares.values())
    assert found.figures == {}
    assert found.everywhere
    assert "the GPU throttled (SW power cap in " in found.doubt
    assert "SW thermal slowdown in " in found.doubt


def test_a_single_reading_of_many_is_no_throttling():
    assert throttle_doubt({"throttled": [], "load_throttled": {"SW power cap": 0.04}}) == ""


def test_a_gpu_that_throttled_while_calls_were_timed_is_doubted():
    doubt = throttle_doubt({"throttled": ["HW slowdown"], "load_throttled": {}})

    assert "the GPU throttled (HW slowdown after the timed calls)" in doubt


def test_a_gpu_that_does_not_tell_is_not_said_to_be_calm():
    recording, found = judged(Library("reasons"))

    assert "load_throttled" not in recording.conditions
    assert found.doubt == ""


@pytest.mark.parametrize("conditions", [{}, {"throttled": []}])
def test_nothing_told_is_nothing_doubted(conditions):
    assert throttle_doubt(conditions) == ""
