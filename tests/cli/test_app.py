"""Exit codes and messages are promises: one clear line, no traceback, results on stdout only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgesynth as package
from edgesynth.cli import devices as devices_verb
from edgesynth.errors import DeviceError, InputError, LinkError, RequirementsNotMet

VERBS = ["synth", "generate", "inspect", "report", "bench", "devices", "init"]


def test_help_names_every_verb_and_the_exit_codes(edgesynth: Callable[..., Any]) -> None:
    outcome = edgesynth("--help")
    assert outcome.code == 0
    for verb in VERBS:
        assert re.search(rf"\b{verb}\b", outcome.out)
    assert "Exit codes" in outcome.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_speaks_json(edgesynth: Callable[..., Any], verb: str) -> None:
    outcome = edgesynth(verb, "--help")
    assert outcome.code == 0
    assert "--json" in outcome.out


def test_the_version_is_that_of_the_package(edgesynth: Callable[..., Any]) -> None:
    assert edgesynth("--version").out == f"edgesynth {package.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["synth"], ["synth", "--nonsense"], ["generate", "x", "-n", "0"], ["bench", "a.onnx"]],
)
def test_bad_usage_exits_2_and_says_how_to_get_help(
    edgesynth: Callable[..., Any], arguments: list[str]
) -> None:
    outcome = edgesynth(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "-h" in outcome.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("bad input"), 2),
        (RequirementsNotMet("not met"), 1),
        (DeviceError("board gone"), 3),
        (LinkError("link gone"), 3),
    ],
)
def test_each_kind_of_error_has_its_exit_code_and_one_line(
    edgesynth: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(devices_verb, "_list", fail)
    outcome = edgesynth("devices")
    assert outcome.code == code
    assert outcome.err == f"edgesynth: {error}\n"
    assert outcome.out == ""


def test_a_fault_of_ours_is_one_line_and_a_file_with_the_traceback(
    edgesynth: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(devices_verb, "_list", None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    outcome = edgesynth("devices")
    assert outcome.code == 70
    assert len(outcome.err.splitlines()) == 1
    assert "a fault of edgesynth: TypeError: 'NoneType' object is not callable" in outcome.err
    (kept,) = tmp_path.iterdir()
    assert str(kept) in outcome.err
    assert "TypeError" in kept.read_text()


def test_a_fault_of_the_users_code_is_told_as_such_with_its_line(
    edgesynth: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("the details")

    monkeypatch.setattr(devices_verb, "_list", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    outcome = edgesynth("devices")
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert "code of yours raised ZeroDivisionError: the details" in line
    assert f"({__file__}, line" in line
    (kept,) = tmp_path.iterdir()
    assert str(kept) in line


def test_debug_shows_the_traceback(edgesynth: Callable[..., Any], folder: Path) -> None:
    quiet = edgesynth("synth", "absent.toml")
    loud = edgesynth("--debug", "synth", "absent.toml")
    assert quiet.code == loud.code == 2
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err


def test_ctrl_c_is_told_in_one_line_and_exits_130(
    edgesynth: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(devices_verb, "_list", interrupt)
    outcome = edgesynth("devices")
    assert (outcome.code, outcome.err) == (130, "edgesynth: devices interrupted\n")


def test_the_installed_process_keeps_stdout_clean_and_loads_no_torch_for_help() -> None:
    code = "import sys; from edgesynth.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("set_before", "found"), [(None, "passive"), ("active", "active")])
def test_torchs_threads_wait_without_spinning_unless_the_user_says_otherwise(
    set_before: str | None, found: str
) -> None:
    code = (
        "import os, sys; from edgesynth.cli import main; main(['--version']);"
        "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"  # which reads it when it is loaded
    )
    given = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    given |= {"OMP_WAIT_POLICY": set_before} if set_before else {}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=given)
    assert done.stdout.splitlines()[-1] == f"{found} False"


def test_a_real_process_exits_2_without_a_traceback(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "edgesynth", "synth", "absent.toml"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "edgesynth: there is no job file absent.toml; write one with: edgesynth init\n"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}
    done = subprocess.run(
        f"{sys.executable} -m edgesynth devices jetson-tx2 --json | head -c 1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
