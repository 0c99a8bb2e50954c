"""``edgesynth devices check``: what a board has and lacks, over a real ssh server."""

import json
import re
import threading

import pytest

from edgesynth.devices import open_device

pytestmark = pytest.mark.ssh

CHECK = ("devices", "check", "jetson-tx2")


def test_a_board_that_can_measure_says_what_it_has(remote, call):
    remote.board.write("var/lib/nvpmodel/status", "pmode:0000 fmode:fan_mode_quiet")

    told = remote.run(*CHECK)
    shown = call(*CHECK, "--json")

    assert (told.returncode, told.stderr) == (0, "")
    for fact in ("Jetson TX2", "R32.7.6", "3.6.", "8.2.1", "VDD_IN", "sudo tegrastats", "MAXN (id 0)"):
        assert fact in told.stdout
    assert "this board can measure" in told.stdout
    assert json.loads(shown.stdout)["can_measure"] is True
    assert json.loads(shown.stdout)["lacks"] == []
    assert not (remote.work / "lease.json").exists()


def test_a_board_that_cannot_measure_says_what_is_missing_and_what_to_do(remote, call):
    board = remote.board
    board.remove("trtexec", "nvpmodel")
    (board.modules / "tensorrt/__init__.py").write_text("raise ImportError('libnvinfer.so.8: not found')")
    board.set("tegrastats", lost=["VDD_IN"])
    board.trust("nothing")

    done = call(*CHECK, "--json")

    assert done.returncode == 3
    assert re.fullmatch(r"edgesynth: ssh://\S+ cannot measure: .*libnvinfer.so.8: not found.*\n", done.stderr)
    told = json.loads(done.stdout)
    assert told["can_measure"] is False
    lacks = {lack["what"]: (lack["stops"], lack["reason"]) for lack in told["lacks"]}
    assert set(lacks) == {"TensorRT", "power rails", "sudo"}
    assert {what for what, (stops, _) in lacks.items() if stops} == {"TensorRT", "power rails"}
    assert "sudo apt install tensorrt" in lacks["TensorRT"][1]
    assert "but not VDD_IN" in lacks["power rails"][1]
    assert "/etc/sudoers.d" in lacks["sudo"][1]


def test_a_board_in_a_mode_that_the_profile_lacks_is_told_how_to_be_measured(remote, call):
    remote.board.remove("trtexec")
    remote.board.write("etc/nvpmodel.conf", "< POWER_MODEL ID=3 NAME=CUSTOM >\n")

    done = call(*CHECK)

    assert done.returncode == 0
    assert "note: power mode: the board is in CUSTOM, which jetson-tx2 does not have, so" in done.stdout


def test_another_board_is_refused(remote, call):
    remote.board.write("proc/device-tree/compatible", "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0")

    done = call(*CHECK)

    assert done.returncode == 3
    assert "(sm 8.7), and profile jetson-tx2 is of sm 6.2" in done.stderr


@pytest.mark.slow
def test_a_board_in_use_is_not_disturbed_but_may_be_waited_for(remote, monkeypatch):
    monkeypatch.setenv("PATH", remote.path)
    device = open_device("jetson-tx2", remote.url)

    refused = remote.run(*CHECK)
    threading.Timer(1.0, device.close).start()
    waited = remote.run(*CHECK, "--wait", "60")

    assert refused.returncode == 3
    assert "is in use by" in refused.stderr
    assert waited.returncode == 0
