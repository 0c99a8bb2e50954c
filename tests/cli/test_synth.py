"""One command learns a generator; what cannot work is refused before any time is spent."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from edgesynth.job import load_job
from edgesynth.runs import Run
from edgesynth.synthesis.data import described

TINY = """
[prototype]
name = "resnet8"
epochs = 2
[task]
data = "digits"
[requirements]
macs = "<= prototype / 2"
accuracy = ">= 0.2"
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


@pytest.fixture
def job(folder: Path) -> Path:
    path = folder / "job.toml"
    path.write_text(TINY)
    return path


def changed(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<= prototype / 2", "<= 10", "the least that was found is"),
        ("<= prototype / 2", "<= prototype / 100000", "cannot be met"),
        ('macs = "<= prototype / 2"', 'miou = ">= 0.5"', "miou"),
        ('name = "jetson-tx2"', 'name = "jetson-tx3"', "did you mean 'jetson-tx2'"),
        ('data = "digits"', 'data = "digit"', "did you mean 'digits'"),
        ('name = "resnet8"', 'name = "resnet7"', "did you mean 'resnet8'"),
        ("cycles = 1", "cylces = 1", "did you mean 'cycles'"),
    ],
)
def test_what_cannot_work_is_refused_before_any_training(
    edgesynth: Callable[..., Any], job: Path, old: str, new: str, said: str
) -> None:
    outcome = edgesynth("synth", changed(job, old, new))
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.out == ""
    assert not (job.parent / "runs").exists()


def test_a_folder_that_cannot_be_made_is_found_out_before_the_training(
    edgesynth: Callable[..., Any], job: Path
) -> None:
    (job.parent / "taken").write_text("a file")
    outcome = edgesynth("synth", job, "--run-dir", "taken")
    assert outcome.code == 2
    assert "taken" in outcome.err
    assert "epoch" not in outcome.err


def test_going_on_needs_a_run(edgesynth: Callable[..., Any], job: Path) -> None:
    outcome = edgesynth("synth", job, "--resume")
    assert outcome.code == 2
    assert "there is no run" in outcome.err


def test_the_run_of_another_job_is_not_gone_on_with(edgesynth: Callable[..., Any], job: Path) -> None:
    manifest = {"job": load_job(job).to_json(), "job_folder": str(job.parent)}
    Run.create(job.parent / "kept", manifest).close()
    outcome = edgesynth(
        "synth", changed(job, "networks = 2", "networks = 3"), "--run-dir", "kept", "--seed", 4
    )
    assert outcome.code == 2
    assert "synthesis.networks, synthesis.seed" in outcome.err
    assert "--fresh" in outcome.err


def pictures(folder: Path, dark: str, bright: str, count: int) -> None:
    """Two classes of pictures, of which the one is named like the other in another call."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, level in ((dark, 20), (bright, 220)):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("L", (8, 8), level + index).save(folder / name / f"{name}{index}.png")


@pytest.mark.parametrize(
    ("classes", "count", "said"),
    [
        (
            ("b", "a"),
            20,
            "as many samples as before, but other inputs or targets, in train, validation, test",
        ),
        (("a", "b"), 24, "have changed: train had"),
    ],
)
def test_a_run_of_other_data_is_not_gone_on_with(
    edgesynth: Callable[..., Any], job: Path, classes: tuple[str, str], count: int, said: str
) -> None:
    changed(job, 'data = "digits"', 'data = "image-folder"\npath = "own"\nsize = 8')
    changed(job, '">= 0.2"', '">= prototype + 0.9"')
    pictures(job.parent / "own", "a", "b", 20)
    begun = load_job(job)
    about = {"job": begun.to_json(), "job_folder": str(job.parent), "data": described(begun.build_task())}
    Run.create(job.parent / "kept", about).close()
    pictures(job.parent / "own", *classes, count)
    outcome = edgesynth("synth", job, "--run-dir", "kept")
    assert outcome.code == 2
    # Not the bound, which the prototype would miss on these data.
    assert said in outcome.err
    assert "epoch" not in outcome.err


@pytest.mark.slow
def test_a_prototype_that_another_job_trained_is_not_taken_unless_it_would_train_it_alike(
    edgesynth: Callable[..., Any], job: Path
) -> None:
    path = job.parent / "left" / "prototype.safetensors"
    command = ("synth", job, "--run-dir", "left", "--quiet")
    # The bound turns out to be impossible once the prototype is trained.
    changed(job, '">= 0.2"', '">= prototype + 1"')
    assert edgesynth(*command).code == 2
    before = path.read_bytes()
    changed(job, "epochs = 2", "epochs = 3")
    other = edgesynth(*command)
    assert other.code == 2
    assert "prototype.safetensors is of another job (different: prototype.epochs)" in other.err
    assert path.read_bytes() == before
    changed(job, "epochs = 3", "epochs = 2")
    assert edgesynth(*command).code == 2  # the bound still is
    assert path.read_bytes() == before
    changed(job, '">= prototype + 1"', '">= 0.2"')
    changed(job, "epochs = 2", "epochs = 3")
    assert edgesynth(*command, "--fresh").code == 0
    assert path.read_bytes() != before


@pytest.mark.slow
def test_an_unfinished_training_is_gone_on_with_by_the_same_job_alone(
    edgesynth: Callable[..., Any], job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = job.parent / "left"
    command = ("synth", job, "--run-dir", "left", "--quiet")
    with monkeypatch.context() as patch:
        # Ctrl-C between the last epoch and the file of the weights.
        patch.setattr("edgesynth.synthesis.prototypes.save_weights", interrupted)
        stopped = edgesynth(*command)
    assert stopped.code == 130
    assert "Go on with: edgesynth synth" in stopped.err
    kept = folder / "prototype.unfinished.safetensors"
    before = kept.read_bytes()
    changed(job, "epochs = 2", "epochs = 3")
    other = edgesynth(*command)
    assert other.code == 2
    assert "unfinished training of a prototype in" in other.err
    assert "is of another job (different: prototype.epochs)" in other.err
    assert kept.read_bytes() == before
    changed(job, "epochs = 3", "epochs = 2")
    assert edgesynth(*command, "--resume").code == 0
    assert not kept.exists()


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_weights_that_no_job_left_are_left_alone(edgesynth: Callable[..., Any], job: Path) -> None:
    path = job.parent / "mine" / "prototype.safetensors"
    path.parent.mkdir()
    save_file({"weight": torch.zeros(1)}, path)
    before = path.read_bytes()
    for flags in ((), ("--fresh",)):
        outcome = edgesynth("synth", job, "--run-dir", "mine", *flags)
        assert outcome.code == 2
        assert "prototype.safetensors was not left by a job; move it away" in outcome.err
        assert path.read_bytes() == before


def test_a_run_that_is_being_written_is_not_replaced(edgesynth: Callable[..., Any], job: Path) -> None:
    with Run.create(job.parent / "busy", {"job": load_job(job).to_json()}):
        outcome = edgesynth("synth", job, "--run-dir", "busy", "--fresh")
    assert outcome.code == 2
    assert (job.parent / "busy" / "run.sqlite").exists()


def test_a_folder_with_other_files_is_left_alone(edgesynth: Callable[..., Any], job: Path) -> None:
    (job.parent / "mine").mkdir()
    (job.parent / "mine" / "thesis.txt").write_text("years of work")
    outcome = edgesynth("synth", job, "--run-dir", "mine", "--fresh")
    assert outcome.code == 2
    assert "epoch" not in outcome.err
    assert (job.parent / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("verb", ["generate", "report"])
def test_a_folder_without_a_run_is_refused(edgesynth: Callable[..., Any], folder: Path, verb: str) -> None:
    outcome = edgesynth(verb, "nowhere")
    assert outcome.code == 2
    assert "nowhere does not exist" in outcome.err


def test_a_run_that_no_job_file_began_says_how_to_draw_from_it(
    edgesynth: Callable[..., Any], folder: Path
) -> None:
    Run.create(folder / "library", {"requirements": {}}).close()
    outcome = edgesynth("generate", "library")
    assert outcome.code == 2
    assert "load_generator" in outcome.err


def test_a_run_that_has_hardly_begun_can_be_reported(edgesynth: Callable[..., Any], job: Path) -> None:
    Run.create(job.parent / "young", {"job": load_job(job).to_json()}).close()
    outcome = edgesynth("report", "young", "--out", "page.html")
    assert outcome.code == 0
    assert outcome.out == "page.html\n"
    assert "<html" in Path("page.html").read_text()
