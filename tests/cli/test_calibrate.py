"""A device is calibrated by one command, whose file is a profile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesynth.devices import load_profile

FEWEST = ("devices", "calibrate", "jetson-tx2", "--fewest", "--window", "3", "--quiet")


def test_a_simulated_board_gives_a_profile_that_works_like_any_other(
    edgesynth: Callable[..., Any], folder: Path
) -> None:
    outcome = edgesynth(*FEWEST, "--output", "mine.toml")

    assert outcome.code == 0, outcome.err
    assert "latency, simulated" in outcome.out
    assert "measured" not in outcome.out
    assert "wrote mine.toml" in outcome.out
    text = (folder / "mine.toml").read_text()
    assert "7 simulated networks" in text
    assert load_profile(folder / "mine.toml").name == "mine"
    shown = edgesynth("devices", "mine.toml")
    assert "simulated on jetson-tx2 simulated, MAXN" in shown.out


def test_a_file_is_replaced_only_by_force(edgesynth: Callable[..., Any], folder: Path) -> None:
    (folder / "mine.toml").write_text("precious")

    refused = edgesynth(*FEWEST, "--output", "mine.toml")
    assert (refused.code, refused.out) == (2, "")
    assert "mine.toml exists; replace it with --force" in refused.err
    assert (folder / "mine.toml").read_text() == "precious"
    forced = edgesynth(*FEWEST, "--output", "mine.toml", "--force", "--json")
    assert forced.code == 0, forced.err
    assert forced.json["calibration"]["provenance"] == "simulated"
    assert load_profile(folder / "mine.toml").calibration is not None
    assert [place.name for place in folder.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("jetson-tx3", "-o", "mine.toml"), "did you mean 'jetson-tx2'"),
        (("jetson-tx2", "-o", "mine.json"), "end its name in .toml"),
        (("jetson-tx2", "-o", "absent/mine.toml"), "absent is no folder"),
        (("jetson-tx2", "-o", "mine.toml", "--mode", "MAXX"), "did you mean"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(
    edgesynth: Callable[..., Any], folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    outcome = edgesynth("devices", "calibrate", *arguments)

    assert (outcome.code, outcome.out) == (2, "")
    assert said in outcome.err
