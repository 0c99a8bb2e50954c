"""The README's way from a PyTorch model to an engine, walked line by line to a board that is not there."""

import contextlib
import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from edgesynth.cli import main
from edgesynth.deploy.bundle import read_bundle
from edgesynth.deploy.onnx import export_onnx
from edgesynth.graph import Prototype
from edgesynth.graph.recipe import Recipe, save_network

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = "From a PyTorch model to an engine on your TX2 in ten minutes"
GENERATED = "nets/1000-0d913a65f36a"
# The reader's own code, in the shapes that the README says.
MYNET = """
import numpy as np
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=4, padding=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=4, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 4),
    )


def held_back():
    images = np.random.default_rng(0).normal(size=(400, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        return images, build().eval()(torch.from_numpy(images)).argmax(1).numpy()
"""
CLASSES = ["cat", "dog", "eel", "fox"]
IMAGE = """
from array import array
image = array("f", [{numbers}])
"""


def blocks():
    """Language and text of every block that the section shows, in order."""
    text = README.partition(f"\n## {SECTION}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


class Reader:
    """Someone at the host who types what the README says; only the board's address is another.

    Attributes:
        told: What each line said, in order, with the seconds that it took.
    """

    def __init__(self, remote, folder):
        self.remote, self.folder = remote, folder
        self.names = {}
        self.told = []

    def here(self, text):
        """What is typed, for this board."""
        # A user of the machine that the tests run on, and no half a minute of load.
        text = text.replace("ssh://nvidia@board", self.remote.url).replace("nvidia@board", "board")
        return text.replace("--measure 30", "--measure 2")

    def type(self, line):
        """A line of the shell, in the folder of the reader."""
        words = re.match(r"edgesynth (.*)", self.here(line))
        if words is None:
            done = subprocess.run(
                self.here(line), shell=True, cwd=self.folder, capture_output=True, text=True, check=False
            )
            return done.returncode, done.stdout, done.stderr
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words[1].split())
        return code, out.getvalue(), err.getvalue()

    def python(self, text):
        """Python on the host; names stay, as in a notebook."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(self.here(text), "README.md", "exec"), self.names)
        return 0, out.getvalue(), ""

    def python_on_board(self, text):
        """A program on the board, by the board's own Python."""
        image = np.load(self.folder / "image.npy")
        program = IMAGE.format(numbers=", ".join(map(str, image.ravel().tolist()))) + text
        done = subprocess.run(
            ["ssh", "board", "python3", "-"],
            input=program,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def walk(self):
        """All of it, in order; each line has to end well."""
        for language, text in blocks():
            if language == "sh":
                steps = [(line, self.type) for line in text.splitlines() if line.strip()]
            else:
                steps = [(text, self.python_on_board if "from runner import" in text else self.python)]
            for step, do in steps:
                started = time.monotonic()
                code, out, err = do(step)
                self.told.append((step, out, time.monotonic() - started))
                print(f"{self.told[-1][2]:6.1f} s  {step.strip().splitlines()[-1]}")
                assert code == 0, (step, out, err)

    def said(self, start):
        """What the lines said that start so."""
        return [out for step, out, _ in self.told if step.startswith(start)]


def generated(folder):
    """A network cut from the reader's own, as a synthesis leaves one."""
    import mynet

    module = mynet.build().eval()
    prototype = Prototype(module, torch.zeros(1, 3, 64, 64))
    architecture = prototype.space.sample(1)
    cut = prototype.slice(architecture).eval()
    save_network(folder, cut, Recipe.of(prototype, architecture))
    export_onnx(cut, torch.zeros(2, 3, 64, 64), folder / "network.onnx", opset=13)


@pytest.fixture
def reader(remote, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", remote.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    (tmp_path / "mynet.py").write_text(MYNET)
    generated(tmp_path / GENERATED)
    remote.board.compute()
    yield Reader(remote, tmp_path)
    sys.modules.pop("mynet", None)


@pytest.mark.ssh
@pytest.mark.slow
def test_the_walk_of_the_readme_ends_with_an_engine_on_the_board(reader, remote, tmp_path):
    reader.walk()
    print(f"{sum(seconds for *_, seconds in reader.told):6.1f} s  the walk")
    data = {"input": np.load("image.npy")}
    session = onnxruntime.InferenceSession((tmp_path / "model.onnx").read_bytes())
    (expected,) = session.run(None, data)
    best = CLASSES[int(expected.argmax())]

    (checked,) = reader.said("edgesynth devices check")
    assert "this board can measure" in checked
    deployed, cut, again = (
        reader.said("edgesynth deploy model")
        + reader.said("edgesynth deploy nets")
        + (reader.said("edgesynth deploy bundle"))
    )
    assert "installed: model, version 0001" in deployed
    assert re.search(
        r"agrees +with model.onnx on 400 of 400 samples, images.npz; TensorRT 8.2.1 on ssh://", deployed
    )
    assert re.search(r"accuracy +100.0 %, reference 100.0 %", deployed)
    # On a busy machine the board that is not there gives no steady figure, and says so.
    assert re.search(r"inferences per joule +\d|inconclusive", deployed)
    assert "measurements.json" in read_bundle(tmp_path / "bundle").files
    assert re.search(r"agrees +with Sequential \(torch .*\) on 400 samples", cut)
    assert f"installed: {Path(GENERATED).name}, version 0001" in cut
    np.testing.assert_allclose(np.load("outputs/output-0.npy"), expected, atol=1e-3)

    deployment = reader.names["deployment"]
    assert deployment.delivery.module_report
    assert deployment.delivery.module_report.samples == 400
    assert deployment.installed.version == "0002"

    _, described, _, answered = reader.said("ssh ")
    assert "input input float32 [1]x3x64x64" in described
    home = remote.board.root / "home"
    np.testing.assert_allclose(np.load(home / "output-0.npy"), expected, atol=1e-3)
    assert json.loads(answered)["label"] == best
    (program,) = reader.said("import os\n")
    assert program.split()[0] == best

    (listed,) = reader.said("edgesynth deploy --list")
    assert re.search(r"model +0002 +0001 .* ready", listed)
    assert reader.said("edgesynth deploy --rollback")[0].startswith("installed: model, version 0001\n")
    assert "installed: model, version 0003, 0001 before it" in again
    assert reader.said("edgesynth deploy --remove") == ["removed: model\n"]
    assert not (home / ".local/share/edgesynth/bundles/model").exists()
    remote.board.wait_until_quiet()


def test_the_section_is_a_walk_and_names_every_way_of_managing_what_is_installed():
    lines = [line for language, text in blocks() if language == "sh" for line in text.splitlines()]
    for option in ("--list", "--rollback", "--remove", "--measure", "--model", "--describe", "--answer"):
        assert [line for line in lines if option in line], option
    assert [language for language, _ in blocks()].count("python") == 3
    assert all(re.match("edgesynth .*ssh://nvidia@board|ssh nvidia@board ", line) for line in lines)
