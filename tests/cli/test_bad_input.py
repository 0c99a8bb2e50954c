"""Bad input to the real command: one clear line on stderr, exit code 2, and nothing of the user's lost.

Every case runs in this process, and once more as a process of its own, which takes longer.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgesynth as package

OWN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head(torch.relu(self.stem(x)).mean((2, 3)))


class Colour(Net):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3)


class Undecided(Net):
    def forward(self, x):
        y = self.stem(x)
        if y.mean() > 0:
            y = y * 2
        return self.head(y.mean((2, 3)))


class Foreign(Net):
    def forward(self, x):
        y = torch.from_numpy(self.stem(x).numpy())
        return self.head(y.mean((2, 3)))


class Nan(Net):
    def forward(self, x):
        return super().forward(x) / (x.sum() - x.sum())


class Misfit(Net):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 4)


from edgesynth.tasks import ClassificationTask, load_task


class Unjudged(ClassificationTask):
    def judge(self, split):
        pass


class Deaf:
    def add(self, outputs, batch):
        pass

    def score(self):
        pass


class Unscored(ClassificationTask):
    def judge(self, split):
        return Deaf()


def task(kind):
    digits = load_task("digits", train_size=64)
    digits.__class__ = globals()[kind]
    return digits
"""

JOB = """
[prototype]
name = "own:Net"
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
networks = 1
seeds_per_cycle = 2
asked_per_cycle = 2
probes_per_cycle = 0
validation_limit = 100
calibration_samples = 128
polish_epochs = 0
"""

PHOTOS = 'data = "image-folder"\npath = "photos"\nsize = 16'


def draw(folder: Path, classes: int, each: int = 30) -> None:
    for label in range(classes):
        (folder / str(label)).mkdir(parents=True)
        for i in range(each):
            Image.fromarray(np.full((16, 16, 3), 40 * label + i, np.uint8)).save(
                folder / str(label) / f"{i}.png"
            )


def unreadable(folder: Path) -> None:
    draw(folder, 2)
    (folder / "1" / "7.png").write_bytes((folder / "1" / "7.png").read_bytes()[:50])


@dataclass(frozen=True)
class Case:
    """What is changed in a job that works, what is asked, and what the one line must say."""

    said: str
    change: tuple[str, str] = ("", "")
    command: tuple[str, ...] = ("synth", "job.toml", "--quiet")
    photos: Callable[[Path], None] | None = None


def inspect(name: str, shape: str = "1x1x8x8") -> tuple[str, ...]:
    return ("inspect", f"own:{name}", "--input", shape)


def network(name: str) -> tuple[str, str]:
    return 'name = "own:Net"', f'name = "own:{name}"'


def data(text: str) -> tuple[str, str]:
    return 'data = "digits"', text


CASES = {
    "missing job": Case(r"no job file jbo\.toml; did you mean job\.toml\?", command=("synth", "jbo.toml")),
    "missing module": Case(
        r"no module 'owm' in .*; did you mean 'own'\?", ('name = "own:Net"', 'name = "owm:Net"')
    ),
    "missing checkpoint": Case(
        r"checkpoint .*trained\.safetensors cannot be read",
        ("epochs = 1\n[task]", 'checkpoint = "trained.safetensors"\n[task]'),
    ),
    "missing pictures": Case(r"no folder .*photos; give a directory", data(PHOTOS)),
    "no bound": Case(
        r"--require 'macs = 2M' is no bound", command=("generate", "runs/none", "--require", "macs = 2M")
    ),
    "missing run": Case(r"runs/none does not exist", command=("generate", "runs/none")),
    "missing ONNX file": Case(
        r"there is no ONNX file net\.onnx", command=("bench", "net.onnx", "--device", "jetson-tx2")
    ),
    "wrong shape": Case(
        r"Colour cannot run on an example input of shape \(1, 1, 8, 8\).*own\.py:\d+: return",
        command=inspect("Colour"),
    ),
    "wrong shape in a job": Case(r"Colour cannot run on .*\(1, 1, 8, 8\).*own\.py:\d+", network("Colour")),
    "too few outputs": Case(r"shape \[batch, 10\] from the network, got shape \(2, 4\)", network("Misfit")),
    "branch on a tensor": Case(
        r"cannot trace Undecided: .*own\.py:25: if y\.mean\(\) > 0:", command=inspect("Undecided")
    ),
    "detour over numpy": Case(
        r"cannot trace Foreign: .*own\.py:32: y = torch\.from_numpy", network("Foreign")
    ),
    "impossible ceiling": Case(
        r"'macs <= 10' cannot be met: the least that was found is macs = \d+", ("<= prototype / 2", "<= 10")
    ),
    "impossible relative ceiling": Case(
        r"macs .*the least that was found is macs = \d+", ("prototype / 2", "prototype / 100000")
    ),
    "energy without a counter": Case(
        r"inferences_per_joule needs a power counter, and host-cpu has none",
        ('macs = "<= prototype / 2"\n[device]\nname = "jetson-tx2"',
         'inferences_per_joule = ">= 40"\n[device]\nname = "host-cpu"'),
    ),
    "latency without a device": Case(
        r"latency_ms needs a device",
        ('macs = "<= prototype / 2"\n[device]\nname = "jetson-tx2"', 'latency_ms = "<= 4"'),
    ),
    "no pictures": Case(r"photos holds no pictures", data(PHOTOS), photos=lambda folder: folder.mkdir()),
    "one class": Case(r"photos shows one class \(0\)", data(PHOTOS), photos=lambda folder: draw(folder, 1)),
    "unreadable picture": Case(
        r"1 of the pictures in .*: 1/7\.png \(image file is truncated\); .*skip_corrupt = true",
        data(PHOTOS),
        photos=unreadable,
    ),
    "no judge": Case(
        r"own\.Unjudged\.judge\('validation'\) returned None, which has no add and no score; return a judge",
        data('data = "own:task"\narguments = { kind = "Unjudged" }'),
    ),
    "no score": Case(
        r"own\.Deaf\.score\(\) returned None; return an edgesynth\.tasks\.Score .* named 'accuracy'",
        data('data = "own:task"\narguments = { kind = "Unscored" }'),
    ),
    "NaN loss": Case(r"the loss became nan in epoch 1, step 1 .*learning rate", network("Nan")),
    "unknown key": Case(
        r"\[synthesis\] unknown key 'cyclse'; did you mean 'cycles'", ("cycles = 1", "cyclse = 1")
    ),
    "unknown table": Case(
        r"unknown table or key \[devise\]; did you mean \[device\]", ("[device]", "[devise]")
    ),
    "unknown metric": Case(r"did you mean 'macs'", ('macs = "<=', 'mcas = "<=')),
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a user's own, current, with a job that works."""
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "job.toml").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    sys.modules.pop("own", None)


def process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as users run it."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(package.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "edgesynth", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def full_disk(kilobytes: int) -> Iterator[None]:
    """No file may grow beyond this size; children inherit it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def prepared(home: Path, name: str) -> dict[str, bytes]:
    """Bring the fault of a case into the folder; what it then holds."""
    case = CASES[name]
    assert case.change[0] in JOB
    (home / "job.toml").write_text(JOB.replace(*case.change, 1))
    if case.photos:
        case.photos(home / "photos")
    return contents(home)


def check(code: int, out: str, err: str, said: str) -> None:
    assert code == 2, err
    assert out == ""
    (line,) = err.splitlines()
    assert re.match(rf"edgesynth: .*{said}", line), line


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_exit_code_2(edgesynth: Callable[..., Any], home: Path, name: str) -> None:
    before = prepared(home, name)
    done = edgesynth(*CASES[name].command)
    check(done.code, done.out, done.err, CASES[name].said)
    assert contents(home).items() >= before.items()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_process_of_its_own_says_the_same_and_nothing_else(home: Path, name: str) -> None:
    before = prepared(home, name)
    done = process(home, *CASES[name].command)
    check(done.returncode, done.stdout, done.stderr, CASES[name].said)
    assert contents(home).items() >= before.items()


FULL = r"cannot write .*bytes free on its disk\); nothing recorded before was lost"


# The weights of the prototype, the store, and a checkpoint are what no longer fits.
@pytest.mark.parametrize("kilobytes", [*(pytest.param(size, marks=pytest.mark.slow) for size in (1, 16)), 64])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on_once_there_is_room(
    edgesynth: Callable[..., Any], home: Path, kilobytes: int
) -> None:
    with full_disk(kilobytes):
        full = edgesynth("synth", "job.toml", "--quiet")
    check(full.code, full.out, full.err, FULL)
    freed = edgesynth("synth", "job.toml", "--quiet", "--json")
    assert freed.code == 0, freed.err
    assert freed.json["met"] is True


@pytest.mark.slow
def test_a_process_of_its_own_meets_a_full_disk_the_same_way(home: Path) -> None:
    with full_disk(kilobytes=64):
        full = process(home, "synth", "job.toml", "--quiet")
    check(full.returncode, full.stdout, full.stderr, FULL)
    freed = process(home, "synth", "job.toml", "--quiet", "--json")
    assert freed.returncode == 0, freed.stderr
    assert '"met": true' in freed.stdout
