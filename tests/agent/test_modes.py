"""Modes by name from every form that boards print; whatever is changed is put back."""

import json
import re
import signal

import pytest

from edgesynth.agent.modes import PowerMode, parse_clocks, parse_modes, parse_query


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NV Power Mode: MAXN\n0\n", PowerMode("MAXN", 0)),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0", PowerMode("MAXN", 0)),
        ("NV Power Mode: MODE_30W\n2\n", PowerMode("MODE_30W", 2)),
        (
            "NVPM WARN: fan mode is not set to cool\nNV Power Mode: MAXN\n0\nNVPM WARN: x\n",
            PowerMode("MAXN", 0),
        ),
        ("NV Power Mode: 15W\n0\n", PowerMode("15W", 0)),
        ("NV Power Mode: 15W\n", PowerMode("15W", None)),
        ("NVPM ERROR: Failed to open\n", None),
        ("", None),
    ],
)
def test_every_form_of_the_query_is_read(text, mode):
    assert parse_query(text) == mode


def test_modes_are_read_from_the_table_and_from_the_verbose_list():
    table = (
        "# a comment\n< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_1 1\n< POWER_MODEL ID=3 NAME=MAXP_ARM >"
    )
    verbose = "NVPM VERB: POWER_MODEL: ID=5 NAME=MODE_10W_DESKTOP\nNVPM VERB: PM_CONFIG: DEFAULT=3"

    assert parse_modes(table) == {"MAXN": 0, "MAXP_ARM": 3}
    assert parse_modes(verbose) == {"MODE_10W_DESKTOP": 5}


def test_clocks_are_read_in_megahertz():
    text = (
        "cpu0: Online=1 Governor=schedutil MinFreq=921600 MaxFreq=921600 CurrentFreq=921600\n"
        "GPU MinFreq=76800000 MaxFreq=614400000 CurrentFreq=460800000\n"
        "EMC MinFreq=204000000 MaxFreq=1600000000 CurrentFreq=1600000000 FreqOverride=0\n"
    )

    assert parse_clocks(text) == {
        "gpu": 460.8,
        "gpu_min": 76.8,
        "gpu_max": 614.4,
        "emc": 1600.0,
        "emc_min": 204.0,
        "emc_max": 1600.0,
    }


def conditions(events):
    return {key: value for event in events if event["event"] == "start" for key, value in event.items()}


def test_mode_and_clocks_are_set_and_put_back(board):
    events = board.bench(set_mode=True, mode="MAXQ", clocks="fixed", load_s=0.0)

    assert events[-1]["event"] == "end"
    found = conditions(events)
    assert (found["mode"], found["mode_before"], found["clocks"]) == ("MAXQ", "MAXP_CORE_ARM", "fixed")
    assert found["clocks_mhz"]["gpu"] == found["clocks_mhz"]["gpu_min"] == 1300.5
    assert board.told("nvpmodel") == ["MAXQ", "MAXP_CORE_ARM"]
    assert board.present_clocks() == board.clocks
    board.wait_until_quiet()


def test_clocks_that_the_user_had_fixed_are_fixed_again_after_another_mode(board):
    fixed = {unit: [most, most, most] for unit, (_, most, _) in board.clocks.items()}
    board.write("state/clocks", json.dumps(fixed))

    board.bench(set_mode=True, mode="MAXQ", load_s=0.0)

    assert board.present_mode() == "MAXP_CORE_ARM"
    assert board.present_clocks() == fixed


def test_a_mode_is_set_even_on_a_board_without_jetson_clocks(board):
    board.remove("jetson_clocks")

    assert conditions(board.bench(set_mode=True, mode="MAXQ", load_s=0.0))["mode"] == "MAXQ"
    assert board.present_mode() == "MAXP_CORE_ARM"


def test_a_board_is_left_alone_unless_it_is_to_be_changed(board):
    found = conditions(board.bench(mode="MAXQ", load_s=0.0))

    assert (found["mode"], found["clocks"]) == ("MAXP_CORE_ARM", "found")
    assert board.told("nvpmodel") == []


@pytest.mark.parametrize(
    ("control", "rights", "mode", "message"),
    [
        ({"reboot": True}, ["ALL"], "MAXQ", r"needs a reboot from 'MAXP_CORE_ARM'; run 'sudo nvpmodel -m 1'"),
        ({"keeps": True}, ["ALL"], "MAXQ", r"kept power mode 'MAXP_CORE_ARM' instead of 'MAXQ'"),
        ({}, [], "MAXQ", r"a password is required"),
        ({}, ["ALL"], "MAXX", r"no power mode 'MAXX' here; known: MAXN, MAXQ, MAXP_CORE_ALL"),
    ],
)
def test_a_mode_that_cannot_be_had_is_refused_with_the_reason(board, control, rights, mode, message):
    board.set("nvpmodel", **control)
    board.trust(*rights)

    event = board.bench(set_mode=True, mode=mode)[-1]

    assert (event["event"], event["kind"]) == ("error", "mode")
    assert re.search(message, event["reason"])
    assert board.present_mode() == "MAXP_CORE_ARM"


def test_clocks_that_cannot_be_fixed_are_refused_and_the_mode_put_back(board):
    board.trust("nvpmodel")

    event = board.bench(set_mode=True, mode="MAXQ", clocks="fixed")[-1]

    assert (event["event"], event["kind"]) == ("error", "clocks")
    assert "sudo -n jetson_clocks" in event["reason"]
    assert board.present_mode() == "MAXP_CORE_ARM"


def test_a_failure_to_put_back_is_told(board):
    board.set("nvpmodel", breaks_after=1)

    found = conditions(board.bench(set_mode=True, mode="MAXQ", load_s=0.0))

    assert "Error writing to sysfs; run 'sudo nvpmodel -m 3' on it" in found["not_put_back"]


def meanwhile(board, act, **values):
    """A benchmark during whose load something happens; returns its events."""
    process = board.start_bench(until='"name":"load"', **values)
    act()
    with process:
        process.send_signal(signal.SIGTERM)
        return [json.loads(line) for line in process.stdout.read().splitlines()]


def test_a_mode_that_meanwhile_needs_a_reboot_to_go_back_to_is_told_with_the_error(board):
    events = meanwhile(board, lambda: board.set("nvpmodel", reboot=True), set_mode=True, mode="MAXQ")

    told = (
        "the board is in power mode 'MAXQ' and was in 'MAXP_CORE_ARM': it needs a reboot; run 'sudo nvpmodel "
        "-m 3' on it"
    )
    assert board.present_mode() == "MAXQ"
    assert conditions(events)["not_put_back"] == told
    assert (events[-1]["event"], events[-1]["kind"]) == ("error", "interrupted")
    assert events[-1]["reason"].endswith("; and the board is not as it was found: " + told)


def test_a_mode_that_cannot_be_put_back_after_a_networks_failure_is_told_before_it(board):
    board.set("nvpmodel", breaks_after=1)
    board.set("tensorrt", crash_at=5)

    events = board.bench(set_mode=True, mode="MAXQ", load_s=0.0)

    assert "was in 'MAXP_CORE_ARM'" in conditions(events)["not_put_back"]
    assert (events[-1]["event"], events[-1]["kind"]) == ("failed", "crash")
    assert "power mode" not in events[-1]["reason"]  # that is of the network


def test_clocks_that_stay_fixed_are_told_though_jetson_clocks_says_nothing(board):
    board.set("jetson_clocks", keeps=True)

    found = conditions(board.bench(clocks="fixed", load_s=0.0))

    assert found["not_put_back"] == (
        "the clocks of GPU were not put back; restart the board, which frees them"
    )


def test_a_mode_that_somebody_changes_meanwhile_is_told(board):
    board.set("tensorrt", call_ms=20.0)  # the latency pass takes its time
    request = board.request(load_s=0.0, latency_runs=50, latency_limit_s=10.0)
    process = board.start("bench", request)
    for line in process.stdout:
        if b"cuda_access" in line:
            board.write("var/lib/nvpmodel/status", "pmode:0001 fmode:fan_mode_quiet")
            break
    with process:
        found = conditions([json.loads(line) for line in process.stdout.read().splitlines()])

    assert found["mode_after"] == "MAXQ"
    assert "mode_unknown" not in found


def test_a_mode_that_cannot_be_told_is_called_unknown_at_both_ends(board):
    board.remove("nvpmodel")
    (board.root / "var/lib/nvpmodel/status").unlink()

    events = board.bench(load_s=0.0)

    unknown = [event["mode_unknown"] for event in events if "mode_unknown" in event]
    assert unknown == ["there is no nvpmodel on this board"] * 2
    assert "mode" not in conditions(events)
    assert conditions(events)["mode_after"] is None


def test_a_mode_without_a_name_is_called_unknown(board):
    board.remove("nvpmodel")
    board.write("var/lib/nvpmodel/status", "pmode:0009 fmode:fan_mode_quiet")

    found = conditions(board.bench(load_s=0.0))

    assert found["mode_unknown"] == "power mode 9 has no name in /etc/nvpmodel.conf"
