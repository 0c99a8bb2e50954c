"""The total of a module is what its maker says, or is not believed."""

import pytest

from edgesynth.devices import load_profile
from edgesynth.devices.profile import Rails, Sensor
from edgesynth.profiler.rails import distrust, step_mw, total_mw

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
    names = ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")
    rails = Rails(names=names, total=names, parts=())

    assert total_mw(dict(zip(names, (0, 311, 932, 0, 621, 1482), strict=True)), rails) == 3346


def test_a_missing_total_is_said(tx2):
    readings = {name: power for name, power in READINGS.items() if name != "VDD_IN"}

    assert total_mw(readings, tx2.rails) is None
    assert "no power rail VDD_IN" in distrust(readings, tx2.rails, tx2.sensor)


def test_a_part_above_the_total_is_not_believed():
    rails = Rails(names=("POM_5V_IN", "POM_5V_GPU"), total=("POM_5V_IN",), parts=("POM_5V_GPU",))
    sensor = Sensor(name="INA3221", filter_s=0.42, rate_hz=10, step_mw={"POM_5V_IN": 40, "POM_5V_GPU": 40})

    assert "POM_5V_GPU shows 8949 mW" in distrust({"POM_5V_IN": 3227, "POM_5V_GPU": 8949}, rails, sensor)
    assert distrust({"POM_5V_IN": 3227, "POM_5V_GPU": 3250}, rails, sensor) == ""
