"""``edgesynth bench`` and a board behind a real ssh server, whose true power is known."""

import json
import re
import shlex
import shutil
import socket
from pathlib import Path

import pytest
from remote_board import RemoteBoard

from edgesynth.devices import load_profile

pytestmark = pytest.mark.ssh

README = (Path(__file__).parents[2] / "README.md").read_text()
SHOWN = [shlex.split(line) for line in README.splitlines() if re.match("edgesynth .* --link ssh://", line)]
CURVE = {"mean_mw": 6000, "swing_mw": 600, "period_s": 0.5}
BENCH = ("bench", "model.onnx", "--device", "jetson-tx2", "--mode", "MAXN", "--window", "3")


def only_line(done):
    """The one line in which a command said why it failed."""
    told = [line for line in done.stderr.splitlines() if line.startswith("edgesynth: ")]
    assert len(told) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return told[0]


def without_link(command):
    """The arguments of a command of the README, whose board has another address here."""
    at = command.index("--link")
    return command[1:at] + command[at + 2 :]


def test_the_other_commands_shown_for_boards_work(remote):
    for command in SHOWN:
        # Those that take longer have tests of their own.
        if command[1] not in ("bench", "deploy", "run") and "calibrate" not in command:
            assert remote.run(*without_link(command), link="ssh://board").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.6", pytest.param("3.12", marks=pytest.mark.slow)])
def test_the_joules_of_a_known_power_curve_come_back(board, ssh_server, tmp_path, model, python):
    board.use_python(python)
    board.set("tegrastats", curve=CURVE)
    board.set("tensorrt", call_ms=20.0)  # so long that a busy machine does not unsteady them
    remote = RemoteBoard(board, ssh_server, tmp_path)

    (command,) = [words for words in SHOWN if words[1] == "bench"]
    done = remote.run(
        *without_link(command), "--window", "3", "--clocks", "fixed", "--json", link="ssh://board"
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    metrics, conditions = told["metrics"], told["conditions"]
    assert told["link"] == "ssh://board"
    assert {metric["provenance"] for metric in metrics.values()} == {"measured"}
    true_mj = CURVE["mean_mw"] * conditions["window_s"] / conditions["calls"]
    assert metrics["power_mean_mw"]["value"] == pytest.approx(CURVE["mean_mw"], rel=0.01)
    assert metrics["energy_mj"]["value"] == pytest.approx(true_mj, rel=0.01)
    assert metrics["inferences_per_joule"]["value"] == pytest.approx(1e3 / true_mj, rel=0.01)
    assert conditions["python"].startswith(python)
    assert conditions["mode"] == "MAXN"
    assert conditions["mode_before"] == board.present_mode() == "MAXP_CORE_ARM"
    assert board.present_clocks() == board.clocks
    board.wait_until_quiet()


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def lose_tensorrt(board):
    board.remove("trtexec")
    (board.modules / "tensorrt/__init__.py").write_text("raise ImportError('libnvinfer.so.8: not found')")


GARBAGE = """
import os, sys
if "bench" in open("/proc/self/cmdline").read().split("\\0"):
    os.write(1, b"\\0\\x1b[31m{\\"event\\":\\xff\\n" * 1000)
    os._exit(0)
"""
FULL = """case $(readlink /proc/$$/fd/1) in
    */.part-*) exec /bin/cat >/dev/full ;;
esac
exec /bin/cat "$@"
"""

REFUSALS = {  # how the board misbehaves, and what the one line says
    "no TensorRT": (lambda remote: lose_tensorrt(remote.board), r"TensorRT|tensorrt"),
    "no power rail": (
        lambda remote: remote.board.set("tegrastats", lost=["VDD_IN"]),
        r"no power rail VDD_IN can be read .* run as root",
    ),
    "mode refused": (
        lambda remote: remote.board.trust("nothing"),
        r"kept power mode 'MAXP_CORE_ARM' instead of 'MAXN'.*sudo -n nvpmodel",
    ),
    "reboot required": (
        lambda remote: remote.board.set("nvpmodel", reboot=True),
        r"power mode 'MAXN' needs a reboot .* run 'sudo nvpmodel -m 0'",
    ),
    "garbage for a mode": (
        lambda remote: remote.board.set("nvpmodel", garbage=True),
        r"power mode",
    ),
    "garbage from the agent": (
        lambda remote: remote.board.write("usr/lib/python3/dist-packages/sitecustomize.py", GARBAGE),
        r"ended without a result",
    ),
    "disk full": (
        lambda remote: remote.write_program("cat", FULL),
        r"no space left for its \d+ bytes; free some",
    ),
}


TEDIOUS = ("garbage from the agent",)  # tried twice


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, marks=pytest.mark.slow if fault in TEDIOUS else ()) for fault in REFUSALS],
)
def test_a_board_that_cannot_measure_says_why_in_one_line(remote, call, model, fault):
    arrange, said = REFUSALS[fault]
    remote.board.set("tensorrt", call_ms=4.0)
    arrange(remote)

    done = call(*BENCH, "--quiet")

    assert re.search(said, only_line(done)), done.stderr
    assert done.returncode == 3
    assert done.stdout == ""
    assert remote.board.present_mode() == "MAXP_CORE_ARM"
    assert remote.board.present_clocks() == remote.board.clocks
    remote.board.wait_until_quiet()


def test_a_board_that_cannot_be_reached_says_why_in_one_line(remote, model):
    server = remote.server
    changed = server.trust(f"known-{model.parent.name}", server.make_key(f"host-{model.parent.name}"))
    refusals = [
        ({"key": remote.key}, f"ssh://127.0.0.1:{closed_port()}", "refused the connection; check that"),
        ({"key": server.make_key(f"stranger-{model.parent.name}")}, None, "refused the key; install it"),
        ({"key": remote.key, "known_hosts": changed}, None, "has changed: if the board was flashed anew"),
    ]

    for config, link, said in refusals:
        remote.reach(**config)
        done = remote.run(*BENCH, "--quiet", link=link)
        assert said in only_line(done)
        assert done.returncode == 3


def test_bad_input_is_refused_before_the_board_is_asked(call, model):
    model.with_name("junk.onnx").write_text("this is no model")
    nowhere = f"ssh://127.0.0.1:{closed_port()}"

    junk = call("bench", "junk.onnx", "--device", "jetson-tx2", link=nowhere)
    profile = call("bench", "model.onnx", "--device", "jetson-tx9", link=nowhere)

    assert (junk.returncode, profile.returncode) == (2, 2)
    assert "junk.onnx is not" in only_line(junk)
    assert "jetson-tx9" in only_line(profile)


@pytest.mark.slow
def test_a_sensor_that_prints_garbage_gives_no_figure(remote, model):
    remote.board.set("tegrastats", garbage_every=2)

    done = remote.run(*BENCH, "--quiet")

    assert "the measurement is inconclusive: only" in only_line(done)
    assert done.returncode == 3
    assert "energy" not in done.stdout


@pytest.mark.slow
def test_a_board_behind_ssh_is_calibrated(remote, tmp_path):
    """Every network takes this board as long, and its power is a constant: there is one true term of each."""
    shutil.rmtree(remote.board.modules / "tensorrt")
    remote.board.set("trtexec", call_ms=20.0, exact=True)
    remote.board.set("tegrastats", curve={"mean_mw": 6000, "swing_mw": 0})

    (command,) = [words for words in SHOWN if "calibrate" in words]
    quick = ("--fewest", "--window", "2", "--clocks", "fixed", "--json")
    done = remote.run(*without_link(command), *quick, link="ssh://board", timeout_s=1200)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    calibration = told["calibration"]
    assert calibration["provenance"] == "measured"
    assert calibration["source"] == "jetson-tx2 ssh://board, MAXN"
    assert calibration["latency_error"] < 0.1
    assert calibration["terms"]["active_mw"] == pytest.approx(6000, rel=0.02)
    assert calibration["terms"]["idle_mw"] == pytest.approx(6000, rel=0.02)
    assert load_profile(tmp_path / command[-1]).calibration.networks >= 6
    assert remote.board.present_mode() == "MAXP_CORE_ARM"
    remote.board.wait_until_quiet()
