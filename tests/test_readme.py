"""What the README tells people to type works."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy
import pytest
import torch

import edgesynth
from edgesynth.cli import main
from edgesynth.cli.app import INTERNAL_ERROR, INTERRUPTED
from edgesynth.deploy.onnx import export_onnx
from edgesynth.job.reader import parse_job

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def lines(text: str) -> list[str]:
    return [line for block in blocks("sh", text) for line in block.splitlines() if line.strip()]


# Those are walked, one after the other, to a board that is not there: tests/agent/test_readme_walk.py.
WALK = lines(README.partition("\n## From a PyTorch model to an engine")[2].partition("\n## ")[0])
COMMANDS = lines(README)
BOARD = [line for line in COMMANDS if "ssh://" in line and line not in WALK]
OWN = [line for line in COMMANDS if "model.onnx" in line and line not in {*BOARD, *WALK}]
CHEAP = [line for line in COMMANDS if line.startswith("edgesynth ") and line not in {*BOARD, *WALK, *OWN}]
EXPENSIVE = [line for line in COMMANDS if line.startswith("make ")]
# It is what `make` does into .venv, and the packaging test into a fresh environment.
INSTALLATION = [line for line in COMMANDS if line.startswith("python3 -m venv")]


def test_every_command_is_run_somewhere() -> None:
    assert {*BOARD, *WALK, *OWN, *CHEAP, *EXPENSIVE, *INSTALLATION} == set(COMMANDS)
    assert len(WALK) > 8
    assert len(INSTALLATION) == 1


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(edgesynth.__file__).parents[1])}
    return subprocess.run(
        command.replace("edgesynth ", f"{sys.executable} -m edgesynth ", 1),
        shell=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", CHEAP)
def test_a_cheap_command_works_in_an_empty_folder(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(shlex.split(command, comments=True)[1:])
    out, err = capfd.readouterr()
    assert code == 0, err
    assert out


@pytest.mark.parametrize("command", OWN)
def test_a_command_works_on_files_of_the_users_own(command: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(288, 4))
    export_onnx(network, (torch.zeros(2, 3, 8, 8),), tmp_path / "model.onnx", opset=13)
    numpy.savez(tmp_path / "images.npz", input=torch.randn(32, 3, 8, 8).numpy())
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / command.rsplit(maxsplit=1)[-1]).is_file()


@pytest.mark.ssh
@pytest.mark.parametrize("command", BOARD)
def test_a_command_that_needs_a_board_gets_as_far_as_looking_for_it(command: str, tmp_path: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("there is no ssh client here")
    network = torch.nn.Linear(4, 2)
    export_onnx(network, (torch.zeros(1, 4),), tmp_path / "model.onnx", opset=13)
    numpy.save(tmp_path / "image.npy", numpy.zeros((1, 4), numpy.float32))
    numpy.savez(tmp_path / "images.npz", input=torch.randn(8, 4).numpy())
    done = run(command.replace("@board", "@127.0.0.1:9"), tmp_path)
    assert done.returncode == 3
    assert "refused the connection" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", EXPENSIVE)
def test_an_expensive_command_is_run_by_the_ci_and_known_to_make(command: str) -> None:
    assert re.search(rf"^{command}$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    target = command.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_job_file_shown_is_valid(tmp_path: Path) -> None:
    shown = blocks("toml")
    assert shown
    for text in shown:
        assert parse_job(text, folder=tmp_path).prototype.name


def test_the_demo_job_is_valid() -> None:
    text = (ROOT / "benchmarks" / "demo" / "job.toml").read_text()
    assert tomllib.loads(text)
    assert parse_job(text, folder=ROOT).device is not None


def test_every_python_snippet_compiles_and_names_what_exists() -> None:
    for text in blocks("python"):
        compile(text, "README.md", "exec")
        for name in re.findall(r"\bes\.(\w+)", text):
            assert name in edgesynth.__all__


def test_every_exit_code_is_explained() -> None:
    told = set(re.findall(r"^\| (\d+) \|", README, re.MULTILINE))
    assert told == {"0", "1", "2", "3", str(INTERNAL_ERROR), str(INTERRUPTED)}


def test_every_relative_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_house_in_the_readme_is_the_house_that_stands() -> None:
    drawn = set(re.findall(r"^      (\w+)/ ", README, re.MULTILINE))
    standing = {path.parent.name for path in (ROOT / "edgesynth").glob("*/__init__.py")}
    assert drawn == standing
