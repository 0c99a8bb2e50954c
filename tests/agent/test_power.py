"""Power is read whichever way the board shows it, and a board that shows none says so loudly."""

import os
import shutil
import subprocess
import time

import pytest

from edgesynth.agent import ina
from edgesynth.agent.tegrastats import parse_line


def make_iio_chip(board, address, rails, power_mw):
    """An INA3221 as R28 to R32 show it."""
    folder = f"sys/bus/i2c/devices/{address}"
    board.write(f"{folder}/name", "ina3221x\n")
    board.write(f"{folder}/iio:device0/running_mode", "continuous\n")
    for index, (rail, power) in enumerate(zip(rails, power_mw, strict=True)):
        board.write(f"{folder}/iio:device0/rail_name_{index}", f"{rail}\n")
        board.write(f"{folder}/iio:device0/in_power{index}_input", f"{power}\n")


def make_hwmon_chip(board, address, rails):
    """An INA3221 as R34 and later show it: label, mV, mA; ``None`` leaves the file out."""
    folder = f"sys/bus/i2c/devices/{address}"
    board.write(f"{folder}/name", "ina3221\n")
    for index, (label, voltage, current) in rails.items():
        board.write(f"{folder}/hwmon/hwmon3/in{index}_label", f"{label}\n")
        board.write(f"{folder}/hwmon/hwmon3/in{index}_input", f"{voltage}\n")
        if current is not None:
            board.write(f"{folder}/hwmon/hwmon3/curr{index}_input", f"{current}\n")


@pytest.fixture
def root(bare_board, monkeypatch):
    monkeypatch.setenv("EDGESYNTH_ROOT", str(bare_board.root))
    return bare_board


def test_the_iio_tree_gives_every_rail_of_a_tx2(root):
    make_iio_chip(root, "0-0041", ["VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR"], [5297, 1917, 1241])
    make_iio_chip(root, "0-0040", ["VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI"], [182, 730, 0])

    record = parse_line(ina.sample_line(ina.find_channels()))

    assert record.rails == {
        "VDD_SYS_GPU": 182,
        "VDD_SYS_SOC": 730,
        "VDD_4V0_WIFI": 0,
        "VDD_IN": 5297,
        "VDD_SYS_CPU": 1917,
        "VDD_SYS_DDR": 1241,
    }
    assert record.unread == ()
    assert ina.running_modes() == ["continuous"]


def test_a_chip_that_is_shown_twice_is_read_once(root):
    make_iio_chip(root, "0-0041", ["VDD_IN", "VDD_SYS_CPU"], [5297, 1917])
    folder = root.root / "sys/bus/i2c/devices/0-0041"
    shutil.copytree(folder / "iio:device0", folder / "iio_device")

    assert [channel.rail for channel in ina.find_channels()] == ["VDD_IN", "VDD_SYS_CPU"]


def test_the_hwmon_tree_multiplies_and_skips_what_is_no_rail(root):
    make_hwmon_chip(
        root,
        "1-0040",
        {
            1: ("VDD_GPU_SOC", 19992, 80),
            2: ("VDD_CPU_CV", 19992, -20),
            3: ("NC", 0, 0),
            4: ("shunt", 160, None),
            7: ("sum of shunt voltages", 160, 80),
        },
    )

    record = parse_line(ina.sample_line(ina.find_channels()))

    assert record.rails == {"VDD_GPU_SOC": 1599, "VDD_CPU_CV": -400}


def test_the_ina238_of_thor_counts_in_microwatts(root):
    root.write("sys/bus/i2c/devices/2-0044/name", "ina238\n")
    root.write("sys/bus/i2c/devices/2-0044/hwmon/hwmon7/power1_input", "41230000\n")

    assert parse_line(ina.sample_line(ina.find_channels())).rails == {"VIN": 41230}


def test_a_chip_that_does_not_answer_loses_its_rail_and_no_other(root):
    make_iio_chip(root, "0-0041", ["VDD_IN", "VDD_SYS_CPU"], [5297, 1917])
    channels = ina.find_channels()
    root.write("sys/bus/i2c/devices/0-0041/iio:device0/in_power1_input", "")

    assert parse_line(ina.sample_line(channels)).rails == {"VDD_IN": 5297}


def test_the_gpu_clock_stands_in_the_line_where_the_kernel_tells_it(root):
    make_iio_chip(root, "0-0041", ["VDD_IN"], [5297])
    root.write("sys/class/devfreq/17000000.gp10b/cur_freq", "1300500000\n")
    root.write("sys/class/devfreq/15340000.vic/cur_freq", "102000000\n")

    assert parse_line(ina.sample_line(ina.find_channels())).gpu_clock_mhz == 1300


@pytest.mark.parametrize("form", ["r36", "r39"])
def test_tegrastats_of_every_release_reaches_the_host(board, form):
    board.set("tegrastats", form=form, cpu_mw=-398)

    found = board.recording()

    records = [parse_line(line.text) for line in found.sensor]
    assert len(records) > 5
    assert {record.rails["VDD_IN"] for record in records} == {5000}
    assert {record.rails["VDD_SYS_CPU"] for record in records} == {-398}
    assert found.conditions["sensor_way"] == "sudo tegrastats"
    # Once to see whether it shows rails before anything is done, and once for the benchmark.
    assert [line.split()[1:] for line in board.told("tegrastats")] == 2 * [["--interval", "20"]]
    board.wait_until_quiet()


def test_without_sudo_tegrastats_serves_where_it_shows_rails(board):
    board.trust()

    assert board.recording().conditions["sensor_way"] == "tegrastats"


def test_sysfs_serves_where_tegrastats_shows_no_rail(board):
    board.use_python("3.6")
    board.set("tegrastats", root_only=True)
    board.trust()
    make_iio_chip(board, "0-0041", ["VDD_IN"], [5297])

    found = board.recording(rails=["VDD_IN"])

    assert found.conditions["sensor_way"] == "sysfs"
    assert found.conditions["sensor_modes"] == ["continuous"]
    assert {parse_line(line.text).rails["VDD_IN"] for line in found.sensor} == {5297}
    board.wait_until_quiet()


def test_no_rail_anywhere_is_a_loud_refusal_that_says_what_was_tried(board):
    board.set("tegrastats", root_only=True)
    board.trust()

    event = board.bench()[-1]

    assert (event["event"], event["kind"]) == ("error", "sensor")
    assert "no power rail can be read" in event["reason"]
    assert "sudo tegrastats: sudo: a password is required" in event["reason"]
    assert "tegrastats: its line holds no rail" in event["reason"]
    board.wait_until_quiet()


def test_a_rail_that_the_profile_needs_must_be_there(board):
    board.set("tegrastats", lost=["VDD_IN"])

    event = board.bench(rails=["VDD_IN"])[-1]

    assert event["kind"] == "sensor"
    assert "no power rail VDD_IN" in event["reason"]
    assert "shows VDD_SYS_GPU, VDD_SYS_CPU but not VDD_IN" in event["reason"]


def test_a_missing_rail_is_told_before_anything_is_built_or_measured(board):
    board.set("tegrastats", lost=["VDD_IN"])

    events = board.bench(rails=["VDD_IN"])

    assert events[-1]["kind"] == "sensor"
    assert "latency" not in {event["event"] for event in events}
    assert not (board.folder / "engines").exists()


@pytest.mark.slow
def test_a_sensor_that_hangs_is_noticed_and_ended(board):
    board.set("tegrastats", hang_at=8)

    event = board.bench(load_s=10.0)[-1]

    assert (event["event"], event["kind"]) == ("error", "hung")
    assert "sudo tegrastats" in event["reason"]
    board.wait_until_quiet()


def test_a_sensor_that_dies_is_noticed_at_once(board):
    board.set("tegrastats", end_at=8)
    begin = time.monotonic()

    event = board.bench(load_s=30.0)[-1]

    assert event["kind"] == "hung"
    assert "Segmentation fault" in event["reason"]
    assert time.monotonic() - begin < 25


def test_garbage_among_the_sensor_lines_is_passed_on_and_read_as_such(board):
    board.set("tegrastats", garbage_every=4)

    found = board.recording()

    readable = [line for line in found.sensor if parse_line(line.text).rails]
    assert 0 < len(readable) < len(found.sensor)
    assert found.skipped_lines == 0


def test_another_users_tegrastats_is_left_alone(board):
    other = subprocess.Popen(
        [board.root / "usr/bin/tegrastats", "--interval", "1000"],
        env={**os.environ, **board.environment},
        stdout=subprocess.DEVNULL,
    )
    try:
        board.bench()
        assert other.poll() is None
        assert not [line for line in board.told("tegrastats") if "--stop" in line]
    finally:
        other.kill()
        other.wait()
