"""The total of a module is what its maker says, or is not believed."""

import pytest

from edgesynth.devices import load_profile
from edgesynth.devices.profile import Rails, Sensor
from edgesynth.profiler.rails import distrust, rule_for, step_mw, total_mw

READINGS = {
    "VDD_SYS_GPU": 182.0,
    "VDD_SYS_SOC": 730.0,
    "VDD_4V0_WIFI": 0.0,
    "VDD_IN": 5297.0,
    "VDD_SYS_CPU": 1917.0,
    "VDD_SYS_DDR": 1241.0,
}


@pytest.fixture
def tx2():
    return load_profile("jetson-tx2")


def test_on_tx2_the_input_rail_alone_is_the_total(tx2):
    assert total_mw(READINGS, tx2.rails) == 5297
    assert step_mw(tx2.rails, tx2.sensor) == 38
    assert distrust(READINGS, tx2.rails, tx2.sensor) == ""


def test_on_agx_xavier_the_total_is_the_sum_of_its_rails():
    rails = load_profile("jetson-agx-xavier").rails

    assert total_mw(dict(zip(rails.names, (0, 311, 932, 0, 621, 1482), strict=True)), rails) == 3346


def test_on_agx_orin_a_rail_that_another_one_feeds_is_not_counted_twice():
    rails = load_profile("jetson-agx-orin").rails

    assert total_mw(dict(zip(rails.names, (1592, -398, 2624, 403), strict=True)), rails) == 3818


def test_without_its_input_rail_a_thor_shows_the_module_and_with_it_the_board():
    rails = load_profile("jetson-thor").rails
    module = {"VDD_GPU": 3132.0, "VDD_CPU_SOC_MSS": 9397.0, "VIN_SYS_5V0": 5680.0}

    assert total_mw(module, rails) is None
    assert total_mw(module, rule_for(module, rails)) == 18209
    assert rule_for(module, rails).total_text == ("VDD_GPU + VDD_CPU_SOC_MSS + VIN_SYS_5V0 (module)")
    board = {**module, "VIN": 31000.0}
    assert rule_for(board, rails) == rails
    assert total_mw(board, rails) == 31000
    assert rails.total_text == "VIN (board with its carrier)"


def test_a_rule_without_a_fallback_stays(tx2):
    assert rule_for({}, tx2.rails) is tx2.rails


def test_rails_of_another_module_are_not_believed(tx2):
    strangers = {"VDD_IN": 4067.0, "VDD_CPU_GPU_CV": 738.0, "VDD_SOC": 1353.0}

    doubt = distrust(strangers, tx2.rails, tx2.sensor)
    assert "prints the power rails VDD_CPU_GPU_CV, VDD_SOC and lacks VDD_SYS_GPU" in doubt
    assert "not the module of this profile" in doubt


def test_a_rail_of_the_carrier_besides_those_of_the_module_is_no_reason_for_doubt(tx2):
    assert distrust({**READINGS, "VDD_MUX": 6000.0}, tx2.rails, tx2.sensor) == ""


def test_a_missing_total_is_said(tx2):
    readings = {name: power for name, power in READINGS.items() if name != "VDD_IN"}

    assert total_mw(readings, tx2.rails) is None
    assert "no power rail VDD_IN" in distrust(readings, tx2.rails, tx2.sensor)


def test_a_part_above_the_total_is_not_believed():
    rails = Rails(names=("POM_5V_IN", "POM_5V_GPU"), total=("POM_5V_IN",), parts=("POM_5V_GPU",))
    sensor = Sensor(name="INA3221", filter_s=0.42, rate_hz=10, step_mw={"POM_5V_IN": 40, "POM_5V_GPU": 40})

    assert "POM_5V_GPU shows 8949 mW" in distrust({"POM_5V_IN": 3227, "POM_5V_GPU": 8949}, rails, sensor)
    assert distrust({"POM_5V_IN": 3227, "POM_5V_GPU": 3250}, rails, sensor) == ""
