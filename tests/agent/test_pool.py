"""Boards of one pool are alike in all that figures depend on, and one that dies costs its own work alone."""

import json
import threading

import pytest
from processes import wait_for

from edgesynth.agent.onnx_types import read_precision
from edgesynth.cli import main
from edgesynth.devices import BenchRequest, open_boards
from edgesynth.errors import DeviceError, InputError

pytestmark = pytest.mark.ssh

HELD = json.dumps({"GPU": [1300500000] * 3, "EMC": [40800000, 1866000000, 665600000]})
ALIKE = "boards of a pool must be alike for their figures to be compared; "
IDLE = '"name":"idle_before"'


class Listener:
    """Keeps the notes."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def measure(device, model, load_s=0.25):
    """Where a short benchmark was made, and under which conditions."""
    request = BenchRequest(
        network={"model": device.send_for(model, "fp16")},
        precision="fp16",
        batch=1,
        warm_up_s=0.01,
        latency_runs=20,
        latency_limit_s=1.0,
        idle_s=0.05,
        load_s=load_s,
        rate_hz=50.0,
        mode=device.mode.name,
    )
    recording = device.bench(request)
    assert not recording.failure
    assert len(recording.latencies_ms) == 20
    return recording.conditions


def other_mode(board):
    board.write("var/lib/nvpmodel/status", "pmode:0000 fmode:fan_mode_quiet")


def bring_into_other_mode(board):
    """As nvpmodel does, which brings clocks as well."""
    other_mode(board)
    clocks = {unit: [40800000, most, 40800000] for unit, (_, most, _) in board.clocks.items()}
    board.write("state/clocks", json.dumps(clocks))


def other_clocks(board):
    board.write("state/clocks", HELD)


def no_rail(board):
    board.set("tegrastats", lost=["VDD_IN"])


def other_module(board):
    board.write("proc/device-tree/model", "NVIDIA Jetson TX2 4GB Module\0")


def other_l4t(board):
    board.write("etc/nv_tegra_release", "# R32 (release), REVISION: 6.1, GCID: 27863751, BOARD: t186ref\n")


UNLIKE = {  # what is done to a board, and what is said of it and the first
    "mode": (other_mode, "the power mode is MAXP_CORE_ARM on {rest} and MAXN on {board}"),
    "clocks": (
        other_clocks,
        "the GPU clock is 114.75 to 1300.5 MHz on {rest} and held at 1300.5 MHz on {board}",
    ),
    "rail": (no_rail, "the power rail is VDD_IN on {rest} and none on {board}"),
    "module": (
        other_module,
        "the module is NVIDIA Jetson TX2 Developer Kit with 8 GB on {rest} and NVIDIA Jetson TX2 4GB Module "
        "with 8 GB on {board}",
    ),
    "L4T": (other_l4t, "L4T is R32.7.6 on {rest} and R32.6.1 on {board}"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"version": "10.16.1.11"},
            "TensorRT is 8.2.1 of Python on ssh://a and 10.16.1.11 of Python on ssh://b",
        ),
        (
            {"runner": "trtexec", "version": "8.2"},
            "TensorRT is 8.2.1 of Python on ssh://a and 8.2.1 of trtexec on ssh://b",
        ),
    ],
)
def test_boards_of_other_tensorrts_are_refused_at_the_start(rack, model, capfd, other, said):
    rack.add("a")
    rack.add("b", **{"version": "8.2.1", **other})
    links = [word for link in rack.links for word in ("--link", link)]

    assert main(["bench", str(model), "--device", "jetson-tx2", "--quiet", *links]) == 2

    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"edgesynth: {ALIKE}{said}; make")
    assert not any((rack.work(board) / "lease.json").exists() for board in rack.boards)


@pytest.mark.slow
def test_everything_that_boards_differ_in_is_said(rack):
    for name in ("first", *UNLIKE):
        rack.add(name.lower())
    for name, (change, _) in UNLIKE.items():
        change(rack.boards[name.lower()])

    with pytest.raises(InputError, match=ALIKE) as refusal:
        open_boards("jetson-tx2", rack.links)

    said = str(refusal.value)
    for name, (_, expected) in UNLIKE.items():
        rest = ", ".join(f"ssh://{board}" for board in rack.boards if board != name.lower())
        assert expected.format(rest=rest, board=f"ssh://{name.lower()}") in said


@pytest.mark.slow
def test_a_mode_that_the_run_sets_itself_may_differ_before(rack, model):
    rack.add("a")
    bring_into_other_mode(rack.add("b"))

    with open_boards("jetson-tx2", rack.links, mode="MAXN") as device:
        found = [measure(device, model) for _ in range(2)]

    assert {entry["link"] for entry in found} == set(rack.links)
    assert {entry["mode"] for entry in found} == {"MAXN"}


@pytest.mark.slow
def test_clocks_that_the_run_holds_itself_may_be_held_before(rack, model):
    rack.add("a")
    other_clocks(rack.add("b"))

    with open_boards("jetson-tx2", rack.links, clocks="fixed") as device:
        found = [measure(device, model) for _ in range(2)]

    assert {entry["link"] for entry in found} == set(rack.links)
    assert {(entry["clocks_mhz"]["gpu_min"], entry["clocks_mhz"]["emc_min"]) for entry in found} == {
        (1300.5, 40.8)
    }


@pytest.mark.slow
def test_a_board_that_measures_under_other_clocks_than_the_first_is_left_out(rack, model):
    for board in (rack.add("a"), rack.add("b")):
        bring_into_other_mode(board)  # the first of the profile
    listener = Listener()

    with open_boards("jetson-tx2", rack.links, progress=listener) as device:
        other_clocks(rack.boards["b"])
        found = [measure(device, model) for _ in range(2)]

    assert {entry["link"] for entry in found} == {"ssh://a"}
    (note,) = listener.notes
    assert note.startswith("ssh://b is left out, the other boards do its work: ")
    assert "the GPU clock is held at 1300.5 MHz there, and was 40.8 to 1300.5 MHz on ssh://a" in note
    assert found[-1]["left_out"] == {"ssh://b": note.partition(": ")[2]}


@pytest.mark.slow
def test_every_member_gets_a_file_that_computes_in_half(rack, model):
    for name in "ab":
        rack.add(name, version="11.1.0.106")

    with open_boards("jetson-tx2", rack.links, mode="MAXN") as device:
        found = [measure(device, model) for _ in range(2)]

    assert {entry["link"] for entry in found} == set(rack.links)
    assert {entry["precision_from"] for entry in found} == {"graph"}
    for name in "ab":
        (file,) = (rack.work(name) / "models").glob("*.onnx")
        assert read_precision(str(file)) == "fp16"


@pytest.mark.slow
def test_a_board_that_dies_in_a_measurement_costs_its_own_work_alone(rack, model, monkeypatch):
    monkeypatch.setattr("edgesynth.devices.job.GIVE_UP_S", 2.0)
    for name in "ab":
        rack.add(name).set("tensorrt", call_ms=4.0)
    listener = Listener()

    with open_boards("jetson-tx2", rack.links, mode="MAXN", progress=listener) as device:

        def unplug():
            wait_for(lambda: rack.has_told("b", IDLE))
            rack.unplug("b")

        thread = threading.Thread(target=unplug)
        thread.start()
        found = [measure(device, model, load_s=2.0) for _ in range(2)]
        thread.join()

    assert {entry["link"] for entry in found} == {"ssh://a"}
    (note,) = listener.notes
    assert note.startswith("ssh://b is left out, the other boards do its work: the work on ssh://b was lost")


@pytest.mark.slow
def test_a_rail_that_is_lost_later_costs_that_board_alone(rack, model):
    for name in "ab":
        rack.add(name)
    listener = Listener()

    with open_boards("jetson-tx2", rack.links, mode="MAXN", progress=listener) as device:
        no_rail(rack.boards["b"])
        assert {measure(device, model)["link"] for _ in range(2)} == {"ssh://a"}
        assert len(listener.notes) == 1
        no_rail(rack.boards["a"])
        with pytest.raises(
            DeviceError, match=r"no board of the pool is left \(ssh://b: .*VDD_IN.*; ssh://a: .*VDD_IN"
        ):
            measure(device, model)


def test_a_board_that_does_not_answer_at_first_is_noted(rack):
    for name in "ab":
        rack.add(name)
    rack.unplug("b")
    listener = Listener()

    with open_boards("jetson-tx2", rack.links, progress=listener) as device:
        assert device.capacity == 1
    (note,) = listener.notes
    assert note.startswith("ssh://b is left out, the other boards do its work: ssh://b refused the key")
