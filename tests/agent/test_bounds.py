"""However much a board's programs print, what is kept of it is bounded, and what they cost is told."""

import sys

from edgesynth.agent import board as agent_board
from edgesynth.agent.power import Intake, shortened
from edgesynth.agent.tegrastats import parse_line
from edgesynth.devices.bench import read_recording
from edgesynth.devices.link import Line


def test_a_sensor_that_floods_is_cut_down_to_a_few_times_its_rate(board):
    board.set("tegrastats", floods=True)

    events = board.bench(load_s=1.0, rate_hz=10.0, job="flood")

    lines = [event for event in events if event["event"] == "sensor"]
    phases = {event["name"]: event["at"] for event in events if event["event"] == "phase"}
    passed_s = phases["end"] - phases["idle_before"]
    assert 20 < len(lines) <= 20 + 3 * 10.0 * (passed_s + 0.5)
    (left_out,) = [event["sensor_lines_left_out"] for event in events if "sensor_lines_left_out" in event]
    assert left_out > 0
    assert (board.folder / "jobs/flood.jsonl").stat().st_size < 600 * (len(lines) + 50)
    board.wait_until_quiet()


def test_a_sensor_that_prints_what_it_was_asked_for_loses_no_line(board):
    assert "sensor_lines_left_out" not in board.recording().conditions


def test_a_sensor_that_was_held_up_may_make_up_for_a_little():
    intake = Intake(10.0)

    assert sum(intake.takes(100.0) for _ in range(50)) == 20
    assert sum(intake.takes(101.0) for _ in range(50)) == 20  # 30 a second, but no more than that at once
    assert sum(intake.takes(101.25) for _ in range(50)) == 7
    assert intake.left_out == 103


def test_long_lines_end_with_a_whole_field(board):
    board.set("tegrastats", longer_by=9000)

    found = board.recording()

    assert {line.text[-5:] for line in found.sensor} == {" X@1C"}
    assert max(len(line.text) for line in found.sensor) <= 2000
    assert all(parse_line(line.text).rails["VDD_IN"] == 5000 for line in found.sensor)
    assert parse_line(shortened("VDD_IN 4000/4000 " * 117 + "GR3D_FREQ 99%@1300")).gpu_clock_mhz is None


def test_what_a_sensor_complains_of_is_neither_kept_whole_nor_holds_it_up(board, tmp_path):
    board.environment["TMPDIR"] = str(tmp_path)
    board.set("tegrastats", complaints=9000, end_at=40)  # 160 kB per line

    event = board.bench(load_s=30.0)[-1]

    assert event["reason"] == "the power sensor (sudo tegrastats) ended: Segmentation fault; repeat"


def test_what_a_program_prints_without_end_is_not_kept_whole():
    flood = "import sys, time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: print('x' * 9999)"

    done = agent_board.run([sys.executable, "-c", flood])

    assert done.problem == ""
    assert 1 << 20 <= len(done.output) < (1 << 20) + (1 << 15) + 1


def test_the_share_of_the_sampler_counts_what_the_sensor_burns(board):
    board.set("tegrastats", burns=True)

    found = board.recording(load_s=2.0)

    begin, end = found.phases["idle_before"], found.phases["end"]
    burned = [tuple(map(float, line.split())) for line in board.told("burned")]
    spent = [cpu_s for at_s, cpu_s in burned if begin <= at_s <= end]
    assert found.conditions["sampler_cpu_share"] * (end - begin) >= 0.8 * (spent[-1] - spent[0])
    assert spent[-1] - spent[0] > 0.1


def test_a_rail_that_is_lost_meanwhile_is_missing_in_the_lines_and_not_made_up(board):
    process = board.start("bench", board.request(load_s=2.0))
    lines = []
    for line in process.stdout:
        lines.append(line)
        if b'"name":"load"' in line:
            board.set("tegrastats", lost=["VDD_IN"])
            break
    with process:
        lines += process.stdout.readlines()

    found = read_recording([Line(0.0, line.decode()) for line in lines])
    rails = [set(parse_line(line.text).rails) for line in found.sensor]
    assert rails[0] >= {"VDD_IN", "VDD_SYS_GPU"}
    assert rails[-1] == {"VDD_SYS_GPU", "VDD_SYS_CPU"}
    assert found.failure == ""
    board.wait_until_quiet()
