"""What is known about devices is one command away, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def test_the_word_show_may_be_left_out(edgesynth: Callable[..., Any]) -> None:
    assert edgesynth("devices", "show", "jetson-tx2").out == edgesynth("devices", "jetson-tx2").out


def test_only_a_board_can_be_checked(edgesynth: Callable[..., Any]) -> None:
    simulated = edgesynth("devices", "check", "jetson-tx2", "--link", "simulated")
    assert simulated.code == 2
    assert "leads to no board; give --link ssh://" in simulated.err
    assert edgesynth("devices", "check", "host-cpu", "--link", "local").code == 2
    assert edgesynth("devices", "check", "jetson-tx2", "--link", "pigeon").code == 3
