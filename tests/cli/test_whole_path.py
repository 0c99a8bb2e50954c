"""From a job file to networks with weights: the whole path in small, through the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import edgesynth as package
from edgesynth.cli import main
from edgesynth.cli.runs import draw_network
from edgesynth.deploy.source import Network, find_onnx

JOB = """
[prototype]
name = "resnet8"
epochs = 1
[task]
data = "digits"
[requirements]
macs = "<= prototype / 2"
[device]
name = "jetson-tx2"
[synthesis]
cycles = 1
epochs = 1
networks = 2
seeds_per_cycle = 2
asked_per_cycle = 2
probes_per_cycle = 1
validation_limit = 100
calibration_samples = 128
polish_epochs = 0
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a job and its finished run."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "job.toml").write_text(JOB)
    assert main(["synth", str(folder / "job.toml"), "--run-dir", str(folder / "run"), "--quiet"]) == 0
    return folder


def test_a_finished_run_is_read_again_instead_of_learned_again(
    edgesynth: Callable[..., Any], home: Path
) -> None:
    outcome = edgesynth("synth", home / "job.toml", "--run-dir", home / "run", "--json")
    assert outcome.code == 0
    told = outcome.json
    assert told["met"] is True
    assert len(told["networks"]) == 2
    whole = told["prototype"]["metrics"]["macs"]["value"]
    for network in told["networks"]:
        assert network["metrics"]["macs"]["value"] <= whole / 2
        assert network["test_metrics"]["accuracy"]["provenance"] == "measured"
        assert network["metrics"]["latency_ms"]["provenance"] == "simulated"
        for path in network["files"].values():
            assert (home / "run" / path).is_file()


def test_the_report_is_there_and_can_be_written_elsewhere(
    edgesynth: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    assert "<html" in (home / "run" / "report.html").read_text()
    outcome = edgesynth("report", home / "run", "--out", tmp_path / "page.html", "--json")
    assert outcome.json["report"] == str(tmp_path / "page.html")
    assert [row["role"] for row in outcome.json["networks"]] == ["prototype", "generated", "generated"]


def test_new_seeds_give_networks_with_weights_and_the_same_seed_the_same_network(
    edgesynth: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    command = ("generate", home / "run", "-n", 2, "--seed", 500, "--all", "--json")
    first = edgesynth(*command, "--out", tmp_path / "a")
    second = edgesynth(*command, "--out", tmp_path / "b")
    assert first.code == 0
    one, two = first.json["networks"], second.json["networks"]
    assert [network["key"] for network in one] == [network["key"] for network in two]
    for left, right in zip(one, two, strict=True):
        assert set(left["files"]) == {"recipe", "weights", "onnx"}
        weights, again = load_file(left["files"]["weights"]), load_file(right["files"]["weights"])
        assert weights.keys() == again.keys()
        assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())


def test_a_table_for_people_compares_with_the_prototype(edgesynth: Callable[..., Any], home: Path) -> None:
    outcome = edgesynth("generate", home / "run", "-n", 1, "--seed", 900, "--all")
    assert "prototype" in outcome.out
    assert "fewer)" in outcome.out
    assert "simulated" in outcome.out
    assert "--out DIR" in outcome.err


@pytest.mark.ssh
def test_a_network_of_a_run_is_drawn_with_its_data_before_a_board_is_asked(
    edgesynth: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    network, task = draw_network(home / "run", 500)
    assert isinstance(network, Network)
    assert set(network.save(tmp_path / "net")) == {"recipe", "weights", "onnx"}
    assert find_onnx(tmp_path / "net").is_file()
    assert len(task.classes) == 10

    nowhere = ("--device", "jetson-tx2", "--link", "ssh://127.0.0.1:9", "--quiet")
    outcome = edgesynth("deploy", home / "run", "--seed", 500, *nowhere)
    assert outcome.code == 3
    assert "refused the connection" in outcome.err


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_the_printed_command_goes_on_with(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(
        JOB.replace("cycles = 1", "cycles = 3").replace("\nepochs = 1\nnet", "\nepochs = 3\nnet")
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}
    command = [sys.executable, "-m", "edgesynth", "synth", "job.toml", "--run-dir", "run"]
    running = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "run" / "run.sqlite").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    assert out == ""
    assert "Go on with: edgesynth synth job.toml --run-dir run" in err
    assert "Traceback" not in err

    resumed = subprocess.run(
        [*command, "--resume", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert len(json.loads(resumed.stdout)["networks"]) == 2
