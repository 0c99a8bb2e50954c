"""What is known about devices is one command away, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgesynth.devices import list_profiles


def test_every_profile_is_listed(edgesynth: Callable[..., Any]) -> None:
    outcome = edgesynth("devices")
    assert outcome.code == 0
    for name in list_profiles():
        assert name in outcome.out


def test_the_list_for_programs_says_which_devices_can_tell_energy(edgesynth: Callable[..., Any]) -> None:
    known = {entry["name"]: entry for entry in edgesynth("devices", "--json").json}
    assert known["jetson-tx2"]["energy"] is True
    assert known["host-cpu"]["energy"] is False
    assert known["jetson-tx2"]["links"][0] == "simulated"


def test_a_profile_says_why_a_precision_is_refused(edgesynth: Callable[..., Any]) -> None:
    outcome = edgesynth("devices", "jetson-tx2")
    assert "int8" in outcome.out
    assert "dp4a" in outcome.out


def test_a_profile_for_programs_is_complete(edgesynth: Callable[..., Any]) -> None:
    shown = edgesynth("devices", "jetson-tx2", "--json").json
    assert shown["compiler"]["opset"] == 13
    assert shown["gpu"]["cuda_cores"] == 256


def test_an_unknown_device_gets_the_nearest_name(edgesynth: Callable[..., Any]) -> None:
    outcome = edgesynth("devices", "jetson-tx")
    assert outcome.code == 2
    assert "did you mean 'jetson-tx2'" in outcome.err


@pytest.mark.parametrize("name", list_profiles())
def test_every_profile_is_shown_to_people_and_to_programs(edgesynth: Callable[..., Any], name: str) -> None:
    shown = edgesynth("devices", name, "--json")
    assert shown.code == 0
    assert shown.json["name"] == name
    told = edgesynth("devices", name)
    assert told.code == 0
    assert "None" not in told.out
    for mode in shown.json["modes"]:
        assert mode["name"] in told.out


def test_what_is_not_known_is_said_and_is_null_for_programs(edgesynth: Callable[..., Any]) -> None:
    assert "caps not known" in edgesynth("devices", "jetson-agx-orin").out
    modes = {mode["name"]: mode for mode in edgesynth("devices", "jetson-agx-orin", "--json").json["modes"]}
    assert modes["MODE_15W"]["gpu_clock_mhz"] is None


def test_what_a_total_is_of_is_said(edgesynth: Callable[..., Any]) -> None:
    out = edgesynth("devices", "jetson-thor").out
    assert "total VIN (board with its carrier)" in out
    assert "total VDD_GPU + VDD_CPU_SOC_MSS + VIN_SYS_5V0 (module)" in out


def test_a_module_that_cannot_be_simulated_ends_with_one_line(edgesynth: Callable[..., Any]) -> None:
    outcome = edgesynth(
        "bench", "resnet20", "--device", "jetson-nano", "--link", "simulated", "--input", "1x1x28x28"
    )
    assert outcome.code == 3
    assert "jetson-nano cannot be simulated" in outcome.err
    assert "simulate jetson-tx2" in outcome.err


def test_the_word_show_may_be_left_out(edgesynth: Callable[..., Any]) -> None:
    assert edgesynth("devices", "show", "jetson-tx2").out == edgesynth("devices", "jetson-tx2").out


def test_only_a_board_can_be_checked(edgesynth: Callable[..., Any]) -> None:
    simulated = edgesynth("devices", "check", "jetson-tx2", "--link", "simulated")
    assert simulated.code == 2
    assert "leads to no board; give --link ssh://" in simulated.err
    assert edgesynth("devices", "check", "host-cpu", "--link", "local").code == 2
    assert edgesynth("devices", "check", "jetson-tx2", "--link", "pigeon").code == 3
