"""A board that could not be put back is no secret: whoever used it is told, and what to do."""

import json
import os
import signal
import subprocess
import sys
import threading
from _thread import interrupt_main
from pathlib import Path

import pytest
from processes import wait_for
from short_bench import short_bench

import edgesynth
from edgesynth.cli import main
from edgesynth.devices import open_device
from edgesynth.devices.pooled import open_boards
from edgesynth.errors import MeasurementError

TOLD = "the board is in power mode 'MAXN' and was in 'MAXP_CORE_ARM'"
BENCH = ("bench", "model.onnx", "--device", "jetson-tx2", "--mode", "MAXN", "--window", "2")


class Notes:
    """A progress that keeps its notes."""

    def __init__(self):
        self.heard = []

    def note(self, text):
        self.heard.append(text)


@pytest.fixture
def stuck(here, model, monkeypatch):
    """This machine as a board that leaves its mode once."""
    here.set("nvpmodel", breaks_after=1)
    here.set("tensorrt", call_ms=4.0)
    monkeypatch.chdir(model.parent)
    return here


@pytest.mark.parametrize(
    "more",
    [pytest.param((), marks=pytest.mark.slow, id="table"), pytest.param(("--json", "--quiet"), id="json")],
)
@pytest.mark.slow
def test_bench_warns_of_a_mode_that_was_not_put_back(stuck, capfd, more):
    main([*BENCH, "--link", "local", *more])

    out, err = capfd.readouterr()
    (warning,) = [line for line in err.splitlines() if "WARNING" in line]
    assert warning.startswith("edgesynth: WARNING: the board behind local is not as it was found: " + TOLD)
    assert "run 'sudo nvpmodel -m 3' on it" in warning
    if more:
        assert TOLD in json.loads(out)["conditions"]["not_put_back"]


@pytest.mark.slow
def test_a_measurement_keeps_what_was_not_put_back_and_notes_it_at_once(stuck, model):
    notes = Notes()
    with open_boards("jetson-tx2", ["local"], mode="MAXN", progress=notes) as device:
        found = device.bench(short_bench(device, model))
        again = device.bench(short_bench(device, model))  # now the mode is found as it is to be

    assert TOLD in found.conditions["not_put_back"]
    assert TOLD in again.conditions["not_put_back"]  # of a repeated measurement the last one is kept
    (complaint,) = device.complaints
    assert TOLD in complaint
    assert notes.heard == [f"warning: {complaint}"]


def test_an_error_does_not_hide_what_was_not_put_back(stuck, model):
    stuck.set("tegrastats", end_at=8)
    with open_device("jetson-tx2", "local", mode="MAXN") as device:
        with pytest.raises(
            MeasurementError, match="ended: Segmentation fault.* not as it was found: " + TOLD
        ):
            device.bench(short_bench(device, model, load_s=5.0))
        (complaint,) = device.complaints

    assert TOLD in complaint


@pytest.fixture
def left(here, monkeypatch):
    """This machine as a board on which a run was killed."""
    monkeypatch.chdir(here.root)
    event = {"event": "start", "not_put_back": "process 7 could not be ended"}
    here.write("home/.cache/edgesynth/jobs/killed.jsonl", json.dumps(event) + "\n")
    return "the board behind local is not as it was found: process 7 could not be ended (since a run before "


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["table", "json"])
def test_deploy_warns_too(left, capfd, more):
    assert main(["deploy", "--list", "--device", "jetson-tx2", "--link", "local", *more]) == 0

    out, err = capfd.readouterr()
    assert err == f"edgesynth: WARNING: {left}this one)\n"
    assert not more or json.loads(out) == []


def test_what_was_left_before_is_noted_when_a_board_is_opened(left):
    notes = Notes()
    with open_boards("jetson-tx2", ["local"], progress=notes) as device:
        assert device.complaints == (f"{left}this one)",)

    assert notes.heard == [f"warning: {left}this one)"]


def start_and_signal(board, number):
    """A benchmark of this machine's command line that is sent a signal; what it said before it ended."""
    command = [sys.executable, "-m", "edgesynth", *BENCH, "--link", "local", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(Path(edgesynth.__file__).parents[1])}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: board.present_mode() == "MAXN")
        process.send_signal(number)
        return process.communicate()[1]


def test_what_a_run_on_this_machine_left_when_it_was_killed_is_told_to_the_next(stuck):
    assert start_and_signal(stuck, signal.SIGKILL) == ""

    with open_device("jetson-tx2", "local") as device:
        (complaint,) = device.complaints
    assert complaint.startswith(f"the board behind local is not as it was found: {TOLD}")
    assert complaint.endswith("(since a run before this one)")
    stuck.wait_until_quiet()


@pytest.mark.slow
def test_what_a_run_on_this_machine_left_when_it_was_ended_is_told_once(stuck):
    said = start_and_signal(stuck, signal.SIGTERM)

    with open_device("jetson-tx2", "local") as device:
        told = [said, *device.complaints]
    assert sum(TOLD in text for text in told) == 1, told
    stuck.wait_until_quiet()


def test_what_an_interrupted_run_left_is_told_to_it_or_to_the_next(stuck, model):
    """To it, if the board is put back within the time that an agent is given to end."""

    def interrupt():
        wait_for(lambda: stuck.present_mode() == "MAXN")
        interrupt_main()

    with open_device("jetson-tx2", "local", mode="MAXN") as device:
        with pytest.raises(KeyboardInterrupt):
            threading.Thread(target=interrupt).start()
            device.bench(short_bench(device, model, load_s=60.0))
        told = device.complaints
    with open_device("jetson-tx2", "local") as device:
        told += device.complaints

    (complaint,) = told
    assert TOLD in complaint


@pytest.mark.slow
@pytest.mark.ssh
def test_whoever_ends_a_run_that_vanished_is_told_what_it_left(remote, model, monkeypatch):
    monkeypatch.setenv("PATH", remote.path)
    remote.board.set("nvpmodel", breaks_after=1)
    remote.board.set("tensorrt", call_ms=1.0)
    with remote.start(*BENCH, "--quiet") as first:
        wait_for(lambda: any('"name":"load"' in path.read_text() for path in remote.jobs()))
        first.kill()
    with open_device("jetson-tx2", remote.url) as device:
        (complaint,) = device.complaints

    assert complaint.startswith(f"the board behind {remote.url} is not as it was found: {TOLD}")
    assert complaint.endswith("(since a run before this one)")
