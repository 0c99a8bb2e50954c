"""What a power pass says of boards whose rails or clocks are not like those of a TX2."""

import pytest

from edgesynth.devices import Line, Recording, load_profile
from edgesynth.profiler import MeasurementPlan
from edgesynth.profiler.judgement import PowerJudge, judge_latency, other_speed

MODULE = "VDD_GPU 3132mW/3132mW VDD_CPU_SOC_MSS 9397mW/9397mW VIN_SYS_5V0 5680mW/5680mW"


@pytest.fixture
def plan():
    return MeasurementPlan(settle_s=1.0, window_s=10.0)


def recording(texts):
    """Twelve seconds of load with a text every 0.1 s, and a hundred calls per second."""
    sensor = tuple(Line(0.1 * index, text) for index, text in enumerate(texts))
    counts = tuple((float(second), 100 * second) for second in range(13))
    return Recording(sensor=sensor, phases={"load": 0.0, "idle_after": 12.0, "end": 12.0}, counts=counts)


def judge(name, mode, plan):
    profile = load_profile(name)
    return PowerJudge(profile.rails, profile.sensor, profile.mode(mode), plan, rate_hz=10.0)


def test_a_thor_without_its_input_rail_is_measured_as_a_module(plan):
    found = judge("jetson-thor", "120W", plan).judge(recording([MODULE] * 121))

    assert found.doubt == ""
    assert found.figures["power_mean_mw"].value == pytest.approx(18209)
    assert found.conditions["power_total"] == "VDD_GPU + VDD_CPU_SOC_MSS + VIN_SYS_5V0 (module)"
    assert found.conditions["power_step_mw"] == 393


def test_one_line_cut_short_does_not_change_what_is_measured(plan):
    texts = [f"{MODULE} VIN 31000mW/31000mW"] * 121
    texts[50] = MODULE

    found = judge("jetson-thor", "120W", plan).judge(recording(texts))
    assert found.doubt == ""
    assert found.figures["power_mean_mw"].value == pytest.approx(31000)
    assert found.figures["power_peak_mw"].value == 31000
    assert found.conditions["power_total"] == "VIN (board with its carrier)"
    assert found.conditions["power_step_mw"] == 10


@pytest.mark.parametrize(("mode", "throttled"), [("MAXN", True), ("MODE_15W", False)])
def test_a_board_throttles_only_below_a_clock_that_is_known(plan, mode, throttled):
    text = (
        "GR3D_FREQ 99%@[600,600] VDD_GPU_SOC 5139mW/5139mW VDD_CPU_CV 3268mW/3268mW VIN_SYS_5V0 5500mW/5500mW"
    )

    found = judge("jetson-agx-orin", mode, plan).judge(recording([text] * 121))
    assert found.throttled == throttled
    assert ("power_mean_mw" in found.figures) != throttled


def test_a_profile_of_another_module_gives_no_figure(plan):
    found = judge("jetson-nano", "MAXN", plan).judge(recording([MODULE] * 121))

    assert found.figures == {}
    assert "prints the power rails VDD_CPU_SOC_MSS, VDD_GPU, VIN_SYS_5V0 and lacks POM_5V_IN" in found.doubt


@pytest.mark.parametrize(("waited_share", "trusted"), [(None, True), (0.02, True), (1.5, False)])
def test_latencies_beside_other_load_are_doubted_however_even_they_are(plan, waited_share, trusted):
    found = judge_latency([1.0] * 500, plan, waited_share)

    assert ("latency_ms" in found.figures) == trusted
    assert ("other programs held the processor" in found.doubt) != trusted


@pytest.mark.parametrize(("slow_ms", "trusted"), [(0.2, True), (0.206, True), (0.248, False)])
def test_latencies_of_a_machine_that_changes_its_speed_are_doubted(plan, slow_ms, trusted):
    references = [0.2] * 10 + [slow_ms] * 11

    found = judge_latency([1.0] * 500, plan, 0.0, references)
    assert ("latency_ms" in found.figures) == trusted
    assert ("the machine's speed changed by 19 % during the measurement" in found.doubt) != trusted
    assert found.conditions["reference_ms"] == slow_ms
    assert found.conditions["reference_drift"] == pytest.approx(slow_ms / 0.2 - 1, rel=0.3)


def test_the_cause_of_unsteady_latencies_is_told_before_the_effect(plan):
    latencies, references = [1.0] * 250 + [1.3] * 250, [0.2] * 10 + [0.26] * 11

    assert "latency was not steady" in judge_latency(latencies, plan).doubt
    assert "the machine's speed changed" in judge_latency(latencies, plan, 0.0, references).doubt
    assert "other programs held" in judge_latency(latencies, plan, 1.0, references).doubt


def test_measurements_of_two_speeds_are_told_apart():
    assert other_speed(0.205, 0.2) == ""
    assert "takes 0.2800 ms, 40.0% more than then" in other_speed(0.28, 0.2)
    assert "takes 0.2000 ms, 28.6% less than then" in other_speed(0.2, 0.28)


def test_power_beside_other_load_is_doubted(plan):
    text = f"{MODULE} VIN 31000mW/31000mW"
    alone = recording([text] * 121)
    beside = Recording(
        conditions={"load_waited_share": 0.5}, sensor=alone.sensor, phases=alone.phases, counts=alone.counts
    )

    assert judge("jetson-thor", "120W", plan).judge(alone).doubt == ""
    assert "other programs held" in judge("jetson-thor", "120W", plan).judge(beside).doubt
