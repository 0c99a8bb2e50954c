"""What root's rights have started ends, too, with no more rights than those that the agent asks for."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from fake_board import PARTS, FakeBoard
from processes import wait_for

from edgesynth.agent.ending import end_group, runs

NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


@pytest.fixture
def users_board(package, monkeypatch):
    """A board whose agent is a user's, whom sudo trusts with what ``edgesynth devices check`` asks for."""
    if os.geteuid() or not shutil.which("gcc") or not shutil.which("setpriv"):
        pytest.skip("needs root, gcc and setpriv to have a user and a sudo")
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")  # a user may not see where the tests' own is
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        board = FakeBoard(Path(folder) / "root", package)
        sudo = board.root / "usr/bin/sudo"
        subprocess.run(["gcc", "-o", sudo, PARTS / "sudo.c"], check=True)
        board.trust("nvpmodel", "jetson_clocks", "tegrastats")
        python = board.root / "usr/bin/python-of-nobody"
        python.write_text(f'#!/bin/sh\nexec {" ".join(AS_NOBODY)} {sys.executable} "$@"\n')
        python.chmod(0o755)
        board.folder.mkdir()
        Path(folder).chmod(0o755)
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", board.root], check=True)
        os.chown(sudo, 0, 0)
        sudo.chmod(0o4755)
        board.python = str(python)
        asked = [
            *AS_NOBODY,
            "sh",
            "-c",
            f"{sys.executable} -V && {sudo} -n {board.root}/usr/sbin/nvpmodel -q",
        ]
        if subprocess.run(asked, env=board.environment, capture_output=True, check=False).returncode:
            pytest.skip("a user has no Python here, or no rights from files")
        yield board
        board.kill_all()


def sensors(board):
    return [pid for pid, line in board.processes().items() if "tegrastats" in line]


def test_they_are_really_out_of_the_users_reach(users_board):
    process = users_board.start_bench(until='"event":"sensor"')
    try:
        (sensor,) = sensors(users_board)
        for command in (
            ["kill", "-9", str(sensor)],
            [users_board.root / "usr/bin/sudo", "-n", "kill", "-9", "0"],
        ):
            done = subprocess.run(
                [*AS_NOBODY, *command], env=users_board.environment, capture_output=True, check=False
            )
            assert done.returncode == 1
        assert runs(sensor)
    finally:
        with process:
            process.terminate()
            process.stdout.read()
    users_board.wait_until_quiet()


def test_a_hung_sensor_is_ended(users_board):
    users_board.set("tegrastats", hang_at=1)

    event = users_board.ask("info", only=["power"])[-1]

    assert event["facts"]["power"] == {
        "way": "sudo tegrastats",
        "rails": ["VDD_SYS_GPU", "VDD_IN", "VDD_SYS_CPU"],
    }
    users_board.wait_until_quiet()


def test_a_hung_sensor_ends_with_a_killed_agent(users_board):
    users_board.set("tegrastats", hang_at=3)
    process = users_board.start_bench(until='"event":"sensor"')
    wait_for(lambda: sensors(users_board))
    time.sleep(0.3)
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()

    users_board.wait_until_quiet()


def test_a_hung_nvpmodel_is_ended_and_told(users_board):
    users_board.set("nvpmodel", hangs_on="-m")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from edgesynth.agent import board; "
        "program = board.find_program('nvpmodel'); "
        "print(board.run(board.as_root([program, '-m', '1']), timeout_s=1.0).problem)"
    )
    command = [users_board.python, "-c", code, str(users_board.agent)]

    done = subprocess.run(command, env=users_board.environment, capture_output=True, text=True, check=True)

    assert done.stdout.endswith("nvpmodel -m 1 did not end within 1 s\n")
    users_board.wait_until_quiet()


@pytest.mark.slow
def test_what_cannot_be_ended_is_told_with_what_to_do(users_board):
    users_board.set("tegrastats", hang_at=40, deaf=True)

    events = users_board.bench(load_s=30.0)

    (left,) = sensors(users_board)
    told = f"process {left} could not be ended; run 'sudo kill -9 {left}' on the board"
    assert [event["not_put_back"] for event in events if "not_put_back" in event] == [told]
    assert (events[-1]["event"], events[-1]["kind"]) == ("error", "hung")
    assert events[-1]["reason"].endswith("; and the board is not as it was found: " + told)


@pytest.mark.slow
def test_examining_a_board_tells_what_its_sensor_leaves(users_board):
    users_board.set("tegrastats", hang_at=1, deaf=True)

    event = users_board.ask("info", only=["power"])[-1]

    assert event["facts"]["power"]["left"].startswith("process ")


def test_a_process_of_ones_own_ends_without_any_of_that():
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as process:
        process.stdout.readline()

        assert end_group(process.pid) == ""
        assert process.wait() == -9
