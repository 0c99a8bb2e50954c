"""A task of the user's own goes the whole way: job, synthesis, report, further networks, export."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from real_builder import PRECISIONS, needs_builder, was_built

import edgesynth
from edgesynth.deploy.rtx import RtxBuild
from tests.support import keypoints_task

pytestmark = pytest.mark.slow

JOB = """
[prototype]
name = "keypoints_task:DiscNet"
epochs = 4
learning_rate = 0.1

[task]
data = "keypoints_task:DiscTask"
arguments = { train_size = 400 }

[requirements]
pck = ">= 0.05"
macs = "<= prototype"

[synthesis]
cycles = 1
epochs = 1
networks = 1
polish_epochs = 0.5
seeds_per_cycle = 1
asked_per_cycle = 1
batch_size = 32
validation_limit = 60
calibration_samples = 64
"""


def run(folder: Path, *arguments: object, codes: tuple[int, ...] = (0,)) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(edgesynth.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "edgesynth", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "job"
    folder.mkdir()
    shutil.copy(keypoints_task.__file__, folder)
    (folder / "job.toml").write_text(JOB)
    table = run(folder, "synth", "job.toml", "--run-dir", "run", "--quiet")
    assert "PCK@0.1" in table
    assert re.search(r"requirements: PCK@0.1 ≥.5.%", table)
    assert "accuracy" not in table
    return folder


def test_the_run_can_be_read_where_the_task_is_not(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "run", tmp_path / "elsewhere" / "run")
    run(tmp_path / "elsewhere", "report", "run")
    page = (tmp_path / "elsewhere" / "run" / "report.html").read_text()
    assert "PCK@0.1 against MACs" in page
    assert "Mean distance" in page
    assert "px off" in page
    assert page.count("data:image/png;base64,") == 12 * 3


def test_further_networks_are_drawn(folder: Path) -> None:
    found = json.loads(run(folder, "generate", "run", "-n", 1, "--seed", 7, "--all", "--json", "--quiet"))
    assert 0 <= found["networks"][0]["test_metrics"]["pck"]["value"] <= 1


@pytest.mark.parametrize("data", ["run", "job.toml"])
def test_an_export_is_judged_by_the_tasks_own_metric(folder: Path, data: str) -> None:
    (network,) = folder.glob("run/networks/0-*/network.onnx")
    options = ("--device", "jetson-orin-nano", "--precision", "int8", "--batch", 1, "--data", data)
    # Of 300 samples 128 calibrate; the rest cannot show that less than 1 % is lost, but INT8 was asked for.
    found = json.loads(run(folder, "export", network, *options, "-o", "out.onnx", "--json", "--quiet"))
    judged = found["verify"]["acceptance"]
    assert (judged["metric"], judged["samples"]) == ("pck", 172)
    assert (judged["verdict"], judged["refused"]) == ("undecided", False)
    assert "int8 is used because it was asked for" in judged["says"]
    assert (folder / "out.onnx").exists()
    assert found["data"].endswith("discs (generated)")


@needs_builder
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_real_builder_takes_it(folder: Path, precision: str) -> None:
    (network,) = folder.glob("run/networks/0-*/network.onnx")
    options = ("--device", "jetson-thor", "--precision", precision, "--batch", 1, "--data", "job.toml")
    # Without --check a builder that is missing would be passed over. Two samples more or less that INT8 gets
    # right decide the score of so few, which is not asked here.
    codes = (0, 1) if precision == "int8" else (0,)
    said = run(folder, "export", network, *options, "--check", "--json", "--quiet", codes=codes)
    found = json.loads(said)
    assert all("the task's score" in failure for failure in found["failures"])
    assert not any(output["problem"] for output in found["verify"]["outputs"])
    was_built(RtxBuild(**{name: value for name, value in found["build"].items() if name != "passed"}))


def test_what_a_folder_of_data_means_is_asked_for_where_it_cannot_be_known(
    folder: Path, tmp_path: Path
) -> None:
    (network,) = folder.glob("run/networks/0-*/network.onnx")
    command = [sys.executable, "-m", "edgesynth", "export", str(network), "--device", "jetson-tx2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(edgesynth.__file__).parents[1])}
    done = subprocess.run(
        [*command, "--data", str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
