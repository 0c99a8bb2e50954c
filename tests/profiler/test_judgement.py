"""What a power pass says of boards whose rails or clocks are not like those of a TX2."""

import re
from dataclasses import replace

import numpy as np
import pytest

from edgesynth.devices import Line, Recording, load_profile
from edgesynth.profiler import MeasurementPlan
from edgesynth.profiler.judgement import PowerJudge, judge_latency
from edgesynth.profiler.surroundings import speed_doubt

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
    assert found.conditions["power_step_mw"] == 680.7  # of three rails


def test_one_line_cut_short_does_not_change_what_is_measured(plan):
    texts = [f"{MODULE} VIN 31000mW/31000mW"] * 121
    texts[50] = MODULE

    found = judge("jetson-thor", "120W", plan).judge(recording(texts))
    assert found.doubt == ""
    assert found.figures["power_mean_mw"].value == pytest.approx(31000)
    assert found.figures["power_peak_mw"].value == 31000
    assert found.conditions["power_total"] == "VIN (board with its carrier)"
    assert found.conditions["power_step_mw"] == 10


ORIN = "VDD_GPU_SOC 5139mW/5139mW VDD_CPU_CV 3268mW/3268mW VIN_SYS_5V0 5500mW/5500mW"


@pytest.mark.parametrize(("mode", "throttled"), [("MAXN", True), ("MODE_15W", False)])
def test_a_board_throttles_below_a_clock_that_is_known(plan, mode, throttled):
    text = f"GR3D_FREQ 99%@[600,600] {ORIN}"

    found = judge("jetson-agx-orin", mode, plan).judge(recording([text] * 121))
    assert found.everywhere == throttled
    assert ("power_mean_mw" in found.figures) != throttled
    assert found.conditions["gpu_clock_mhz"] == 600


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (
            "GR3D_FREQ 99%@[1000,1000]",
            "GR3D_FREQ 99%@[300,300]",
            "the GPU clock drifted between 300 and 1000 MHz",
        ),
        ("EMC_FREQ 9%@3199", "EMC_FREQ 9%@665", "the memory clock drifted between 665 and 3199 MHz"),
    ],
)
def test_a_clock_that_drifts_is_doubted_though_nobody_knows_its_cap(plan, before, after, what):
    texts = [f"{before} {ORIN}"] * 60 + [f"{after} {ORIN}"] * 61

    found = judge("jetson-agx-orin", "MODE_15W", plan).judge(recording(texts))
    assert found.figures == {}
    assert found.everywhere
    assert what in found.doubt


def test_a_clock_that_only_flickers_is_believed(plan):
    texts = [f"GR3D_FREQ 99%@[{300 if index % 9 == 4 else 1000},1000] {ORIN}" for index in range(121)]

    assert judge("jetson-agx-orin", "MODE_15W", plan).judge(recording(texts)).doubt == ""


@pytest.mark.parametrize(
    ("conditions", "text", "doubt"),
    [
        ({"memory_available_mb": 11}, ORIN, "only 11 MB of memory to spare"),
        ({}, f"RAM 7800/7859MB {ORIN}", "only 59 MB of memory to spare"),
        ({"cooling_active": ["gpu-throttle-alert", "pwm-fan"]}, ORIN, "gpu-throttle-alert is active"),
    ],
)
def test_a_board_short_of_memory_or_too_hot_is_doubted_in_everything(plan, conditions, text, doubt):
    found = judge("jetson-agx-orin", "MODE_15W", plan).judge(
        replace(recording([text] * 121), conditions=conditions)
    )
    assert found.figures == {}
    assert found.everywhere
    assert doubt in found.doubt


def test_a_fan_that_runs_and_a_board_with_memory_to_spare_are_believed(plan):
    conditions = {"cooling_active": ["pwm-fan"], "memory_available_mb": 4000}
    calm = replace(recording([f"RAM 2344/7859MB {ORIN}"] * 121), conditions=conditions)

    assert judge("jetson-agx-orin", "MODE_15W", plan).judge(calm).doubt == ""


def test_a_board_that_swaps_is_doubted(plan):
    texts = [f"RAM 2344/7859MB SWAP {index}/3930MB (cached 0MB) {ORIN}" for index in range(121)]

    found = judge("jetson-agx-orin", "MODE_15W", plan).judge(recording(texts))
    assert re.search(r"the board swapped \d+ MB out", found.doubt)


def rested(text_before, text_after, load=ORIN):
    """Ten seconds of rest, twelve of load, ten of rest."""
    texts = [text_before] * 100 + [load] * 120 + [text_after] * 101
    sensor = tuple(Line(0.1 * index, text) for index, text in enumerate(texts))
    counts = tuple((10.0 + second, 100 * second) for second in range(13))
    phases = {"idle_before": 0.0, "load": 10.0, "idle_after": 22.0, "end": 32.0}
    return Recording(sensor=sensor, phases=phases, counts=counts)


IDLE = "VDD_GPU_SOC 1000mW/1000mW VDD_CPU_CV 1000mW/1000mW VIN_SYS_5V0 1000mW/1000mW"


@pytest.mark.parametrize(
    ("other", "doubt"),
    [
        ("GR3D_FREQ 99%@[1000,1000]", "something else uses the GPU: it was busy 50 % of a rest"),
        ("CPU [100%@2201,100%@2201,100%@2201,off]", "other programs took 1.5 CPU cores in a rest"),
    ],
)
def test_what_runs_while_the_board_should_rest_is_noticed(plan, other, doubt):
    calm = other.replace("99%", "0%").replace("100%", "0%")
    recorded = rested(f"{calm} {IDLE}", f"{other} {IDLE}")

    found = judge("jetson-agx-orin", "MODE_15W", plan).judge(recorded)
    assert found.figures == {}
    assert doubt in found.doubt
    assert (
        judge("jetson-agx-orin", "MODE_15W", plan).judge(rested(f"{calm} {IDLE}", f"{calm} {IDLE}")).figures
    )


def test_rests_that_are_too_short_to_tell_anything_are_named(plan):
    judged = judge("jetson-agx-orin", "MODE_15W", plan)
    none, some = (judged.judge(recorded) for recorded in (recording([ORIN] * 121), rested(IDLE, IDLE)))

    assert "inferences_per_joule" in none.figures
    assert "inferences_per_joule_dynamic" not in none.figures
    assert "use a longer window" in none.conditions["no_rest"]
    assert "no_rest" not in some.conditions


def test_power_above_rest_is_known_no_better_than_the_rests_agree(plan):
    alike = judge("jetson-agx-orin", "MODE_15W", plan).judge(rested(IDLE, IDLE))
    apart = judge("jetson-agx-orin", "MODE_15W", plan).judge(rested(IDLE, IDLE.replace("1000mW", "3000mW")))

    assert alike.conditions["power_idle_mw"] == pytest.approx(3000, rel=0.02)
    assert apart.conditions["power_idle_mw"] == pytest.approx(6000, rel=0.02)
    low, high = apart.conditions["power_idle_interval_mw"]
    assert low < 3100 < 8900 < high
    narrow, wide = (found.figures["inferences_per_joule_dynamic"] for found in (alike, apart))
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


def test_power_above_rest_is_known_no_better_than_the_worst_known_rest(plan):
    recorded = rested(IDLE.replace("1000mW", "1200mW"), IDLE)
    restless = [
        line if line.at_s < 22 else replace(line, text=IDLE.replace("1000mW", f"{2000 * (index % 2)}mW"))
        for index, line in enumerate(recorded.sensor)
    ]

    found = judge("jetson-agx-orin", "MODE_15W", plan).judge(replace(recorded, sensor=tuple(restless)))
    power, energy = found.figures["power_mean_mw"], found.figures["energy_mj"]
    low, high = found.conditions["power_idle_interval_mw"]
    assert found.conditions["power_idle_mw"] - low > 1.2 * (high - found.conditions["power_idle_mw"])
    fewest = 1e3 / ((power.value - low) * energy.value / power.value)
    assert found.figures["inferences_per_joule_dynamic"].low <= fewest


def test_power_that_goes_on_rising_is_doubted(plan):
    rising = [
        f"VDD_GPU_SOC {1000 + 20 * i}mW/1mW VDD_CPU_CV 1000mW/1mW VIN_SYS_5V0 1000mW/1mW" for i in range(121)
    ]

    found = judge("jetson-agx-orin", "MODE_15W", plan).judge(recording(rising))
    assert found.figures == {}
    assert re.search(r"power had not settled: it went from \d+ to \d+ mW", found.doubt)


def test_the_joules_of_every_rail_add_up_to_the_total(plan):
    found = judge("jetson-agx-orin", "MODE_15W", plan).judge(recording([ORIN] * 121))

    rails = found.conditions["rails_energy_mj"]
    assert list(rails) == ["VDD_CPU_CV", "VDD_GPU_SOC", "VIN_SYS_5V0"]
    assert sum(value for value, _, _ in rails.values()) == pytest.approx(
        found.figures["energy_mj"].value, rel=1e-6
    )
    assert rails["VDD_GPU_SOC"][0] == pytest.approx(51.39)
    assert all(low < value < high for value, low, high in rails.values())


def test_a_profile_of_another_module_gives_no_figure(plan):
    found = judge("jetson-nano", "MAXN", plan).judge(recording([MODULE] * 121))

    assert found.figures == {}
    assert "prints the power rails VDD_CPU_SOC_MSS, VDD_GPU, VIN_SYS_5V0 and lacks POM_5V_IN" in found.doubt


@pytest.mark.parametrize(("waited_share", "trusted"), [(None, True), (0.02, True), (1.5, False)])
def test_latencies_beside_other_load_are_doubted_however_even_they_are(plan, waited_share, trusted):
    found = judge_latency([1.0] * 500, plan, waited_share)

    assert ("latency_ms" in found.figures) == trusted
    assert ("other programs held the processor" in found.doubt) != trusted


def test_the_cause_of_unsteady_latencies_is_told_before_the_effect(plan):
    latencies = [1.0] * 250 + [1.3] * 250

    assert "latency was not steady" in judge_latency(latencies, plan).doubt
    assert judge_latency(latencies, plan, 0.0, "why").doubt == "why"
    assert "other programs held" in judge_latency(latencies, plan, 1.0, "why").doubt
    assert judge_latency([], plan, 0.0, "why").doubt == "why"
    assert "only 0 calls were timed" in judge_latency([], plan).doubt


def test_no_figure_is_known_better_than_the_stretches_agree(plan):
    latencies = np.random.default_rng(0).normal(1.0, 0.01, 1000)
    alone = judge_latency(latencies, plan).figures
    many = judge_latency(latencies, plan, medians_ms=np.linspace(0.98, 1.02, 12).tolist()).figures
    few = judge_latency(latencies, plan, medians_ms=[0.96, 0.97, 1.04]).figures
    alike = judge_latency(latencies, plan, medians_ms=[float(np.median(latencies))] * 12).figures

    assert set(alone) == {"latency_ms", "latency_p90_ms", "latency_p99_ms", "throughput_ips"}
    assert alike == alone
    for name, figure in alone.items():
        assert many[name].value == few[name].value == figure.value
        assert many[name].low < 0.99 * figure.value < 1.01 * figure.value < many[name].high
        # So few cannot enclose their own median, so all that they were counts.
        assert few[name].low < 0.97 * figure.value < 1.03 * figure.value < few[name].high


def test_stretches_may_differ_where_they_are_enough_to_tell_their_median(plan):
    latencies = np.random.default_rng(0).normal(1.0, 0.01, 1000)
    stretches = np.random.default_rng(0).normal(1.0, 0.08, 60).tolist()

    few = judge_latency(latencies, plan, medians_ms=stretches[:7])
    assert "latency was not steady: the median is known to" in few.doubt
    assert not few.figures
    assert not judge_latency(latencies, plan, medians_ms=stretches).doubt


def test_so_few_stretches_that_they_tell_nothing_leave_the_calls_to_tell_it(plan):
    latencies = [1.0] * 250 + [1.3] * 250

    assert "medians within the pass differ by 26.1%" in judge_latency(latencies, plan, medians_ms=[1.1]).doubt


def test_a_disturbance_at_the_end_moves_the_mean_if_not_the_median(plan):
    latencies = [1.0] * 750 + [1.3] * 250

    assert "known to" in judge_latency(latencies, plan, medians_ms=[1.0] * 18 + [1.3] * 6).doubt
    figures = judge_latency(latencies, plan, medians_ms=[1.0] * 18 + [1.1] * 6).figures
    assert figures["throughput_ips"].high / figures["throughput_ips"].low > 1.03


@pytest.mark.parametrize(
    ("blocks", "kept", "first", "doubt"),
    [
        (40, 6, False, ""),
        (3, 3, True, ""),
        (40, 5, False, "had the speed of the first measurement in only 5 of 40 blocks"),
        (40, 0, True, "had one and the same speed in only 0 of 40 blocks"),
    ],
)
def test_a_machine_that_hardly_has_a_speed_is_doubted(blocks, kept, first, doubt):
    told = {"blocks": blocks, "blocks_at_speed": kept, "speed_ms": 0.5}

    found = speed_doubt(told, first=first)

    assert (doubt in found) if doubt else (found == "")
    assert speed_doubt({}, first=first) == ""  # a board has no such load


def test_power_beside_other_load_is_doubted(plan):
    text = f"{MODULE} VIN 31000mW/31000mW"
    alone = recording([text] * 121)
    beside = Recording(
        conditions={"load_waited_share": 0.5}, sensor=alone.sensor, phases=alone.phases, counts=alone.counts
    )

    assert judge("jetson-thor", "120W", plan).judge(alone).doubt == ""
    assert "other programs held" in judge("jetson-thor", "120W", plan).judge(beside).doubt


@pytest.mark.parametrize(("change", "doubt"), [(0.04, "rising"), (-0.04, "falling"), (0.01, "")])
def test_a_latency_that_goes_on_changing_slowly_is_doubted(plan, change, doubt):
    noise = np.random.default_rng(0).normal(1.0, 0.004, 400)
    latencies = 5.0 * noise * np.linspace(1.0, 1.0 + change, 400)

    found = judge_latency(latencies, plan)

    assert found.conditions["latency_drift"] < 0.05
    assert (f"went on {doubt} while it was timed" in found.doubt) if doubt else found.doubt == ""


def test_noise_is_seldom_taken_for_a_trend(plan):
    random = np.random.default_rng(1)

    doubts = [judge_latency(random.lognormal(0, 0.08, 100), plan).doubt for _ in range(400)]

    assert sum("while it was timed" in doubt for doubt in doubts) < 4
