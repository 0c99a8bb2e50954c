"""The README's other programs run: the library from a module to a board, and the pair alone."""

import functools
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

import edgesynth
from edgesynth.graph.recipe import Recipe, save_network
from edgesynth.synthesis.settings import SynthesisSettings
from edgesynth.tasks import TrainingPlan, fit, load_task

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# As small as a synthesis may be: what is tried is that the program runs.
SETTINGS = SynthesisSettings(
    cycles=1,
    epochs=1,
    networks=1,
    polish_epochs=0.5,
    seeds_per_cycle=1,
    asked_per_cycle=1,
    probes_per_cycle=1,
    batch_size=64,
    validation_limit=100,
    calibration_samples=64,
)


def snippets(start):
    """The Python of one section."""
    section = README.partition(f"\n## {start}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(1, 16, 3, stride=2, padding=1),
            norm=nn.BatchNorm2d(16),
            act=nn.ReLU(),
            body=nn.Conv2d(16, 32, 3, stride=2, padding=1),
            act2=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Sequential(OrderedDict(classes=nn.Linear(32, 10))),
        )
    )


@pytest.mark.ssh
@pytest.mark.slow
def test_the_library_goes_from_a_module_to_a_board(remote, tmp_path, monkeypatch):
    whole, pair = snippets("As a library")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", remote.path)
    monkeypatch.setattr(edgesynth, "synthesize", functools.partial(edgesynth.synthesize, settings=SETTINGS))
    few = functools.partial(load_task, train_size=600)
    monkeypatch.setattr(edgesynth.tasks, "load_task", few)
    remote.board.compute()
    module = network()
    fit(module, few("fashion-mnist-subset"), TrainingPlan(epochs=4, batch_size=32, learning_rate=0.1))
    names = {"module": module, "example_input": torch.zeros(1, 1, 28, 28)}
    # Trained for seconds it is not so good.
    text = whole.replace("ssh://nvidia@board", remote.url).replace(">= 0.85", ">= 0.3")

    exec(compile(text, "README.md", "exec"), names)

    assert names["deployment"], names["deployment"].failures
    assert names["deployment"].installed.version == "0001"
    assert names["deployment"].report.metric_name == "accuracy"
    assert {path.name for path in (tmp_path / "networks/7").iterdir()} >= {"recipe.json", "network.onnx"}
    remote.board.wait_until_quiet()

    told = []
    names["evaluate"] = lambda architecture: (
        told.append(architecture)
        or {
            "accuracy": 0.9,
            "macs": 1e4 * architecture["stage1"],
            "parameters": 1e3,
        }
    )
    exec(compile(pair, "README.md", "exec"), names)
    assert len(told) == 8
    assert set(names["architecture"]) == {"op0", "stage1", "block3"}


def test_a_generated_network_loads_into_the_readers_own_class(tmp_path, monkeypatch):
    (text,) = snippets("Your own network and data")
    (folder,) = re.findall(r'"(nets/[^"]+)"', text)
    prototype = edgesynth.Prototype(network().eval(), torch.zeros(1, 1, 28, 28))
    architecture = prototype.smallest()
    save_network(tmp_path / folder, prototype.slice(architecture), Recipe.of(prototype, architecture))
    (tmp_path / "mynet.py").write_text(f"from {__name__.rpartition('.')[2]} import network as build\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.syspath_prepend(str(tmp_path))
    names = {}
    try:
        exec(compile(text, "README.md", "exec"), names)
    finally:
        for name in ("mynet", Path(__file__).stem):
            sys.modules.pop(name, None)
    assert names["network"](torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert not names["network"].training


def test_the_outline_of_an_own_task_is_python_that_runs():
    """In a process of its own: it makes a metric known."""
    (text,) = snippets("A task of your own")
    done = subprocess.run(
        [sys.executable, "-c", f"{text}\nassert DiscTask().metric == 'pck'"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_program_of_the_readme_is_run_somewhere():
    walked = snippets("From a PyTorch model to an engine on your TX2 in ten minutes")
    here = [
        text
        for section in ("As a library", "Your own network and data", "A task of your own")
        for text in snippets(section)
    ]
    assert len(walked) + len(here) == README.count("\n```python\n")
