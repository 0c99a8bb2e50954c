"""A stranger starts from a complete, commented job file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgesynth.job import load_job


def test_the_written_file_is_a_valid_job(edgesynth: Callable[..., Any], folder: Path) -> None:
    outcome = edgesynth("init")
    assert outcome.code == 0
    assert outcome.out == "job.toml\n"
    assert "edgesynth synth job.toml" in outcome.err
    assert load_job("job.toml").prototype.name == "resnet20"


def test_an_existing_file_is_never_overwritten_unasked(edgesynth: Callable[..., Any], folder: Path) -> None:
    Path("job.toml").write_text("mine")
    outcome = edgesynth("init")
    assert outcome.code == 2
    assert "--force" in outcome.err
    assert Path("job.toml").read_text() == "mine"
    assert edgesynth("init", "--force", "--json").json == {"job": "job.toml"}
    assert Path("job.toml").read_text() != "mine"


def test_a_folder_that_is_missing_is_an_error(edgesynth: Callable[..., Any], folder: Path) -> None:
    outcome = edgesynth("init", "absent/job.toml")
    assert outcome.code == 2
    assert "absent" in outcome.err
