"""An engine that normalises and answers itself: on a board, in a bundle, and from there again."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
from coloured_pictures import COLOURS, Colours, coloured_task, write_colours
from detection_shapes import shapes_task as boxes_task
from shape_scenes import TinySegmenter
from shape_scenes import shapes_task as masks_task
from torch import nn

import edgesynth
from edgesynth.cli import main
from edgesynth.deploy.onnx import export_onnx
from edgesynth.errors import InputError

pytestmark = pytest.mark.usefixtures("no_builder")

BOTH = ("normalise", "answer")
INSTALLED = "home/.local/share/edgesynth/bundles/net/current"


@pytest.fixture
def network(tmp_path):
    return write_colours(tmp_path / "net.onnx")


class Cells(nn.Module):
    """One level of a detector, untrained."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 8, stride=8)
        self.heads = nn.ModuleList(nn.Conv2d(8, count, 1) for count in (3, 4, 1))

    def forward(self, image):
        image = torch.relu(self.stem(image))
        return tuple(head(image) for head in self.heads)


def stored(task, count):
    """Pictures as they are stored, and what the task makes of them for the network."""
    pictures = task._samples["validation"].take(torch.arange(count))
    return pictures.numpy(), task.normalization(pictures)


def by_hand(board, file, *options):
    """The runner of the bundle on a file, on the board, whose Python has no NumPy."""
    runner = board.root / INSTALLED / "runner.py"
    command = [board.python, str(runner), *map(str, (file, *options))]
    return subprocess.run(command, capture_output=True, text=True, env=board.environment, check=False)


@pytest.mark.parametrize(
    ("version", "kind"),
    [pytest.param("8.2.1", "float32", marks=pytest.mark.slow), ("8.5.2", "uint8")],
)
@pytest.mark.slow
def test_a_program_gives_stored_pictures_and_is_told_classes(here, network, tmp_path, version, kind):
    here.set("tensorrt", version=version)
    here.compute()
    task = coloured_task()
    with edgesynth.open_device("jetson-tx2", link="local") as device:
        done = edgesynth.deploy(
            *(network, device),
            data=task,
            inside=BOTH,
            precision="fp16",
            batch=4,
            samples=16,
            out=tmp_path / "bundle",
        )

        assert done, done.failures
        again = edgesynth.deploy(tmp_path / "bundle", device, data=task, samples=16)
        assert again, again.failures
        assert (again.report.metric, again.report.metric_name) == (done.report.metric, "accuracy")
        assert edgesynth.deploy(tmp_path / "bundle", device)
        pictures, inputs = stored(task, 8)
        labels = task._samples["validation"].labels[:8].numpy()
        np.savez(tmp_path / "stored.npz", pictures=pictures.astype(kind), labels=labels)
        arrays = edgesynth.deploy(tmp_path / "bundle", device, data=str(tmp_path / "stored.npz"))
        assert arrays, arrays.failures
        assert arrays.report.metric > 0.8
        with pytest.raises(InputError, match="was decided before"):
            edgesynth.deploy(tmp_path / "bundle", device, inside=BOTH)

    assert done.report.metric > 0.9
    assert [check.others for check in done.report.outputs] == [None, 0.0]
    said = json.loads((tmp_path / "bundle/processing.json").read_text())
    assert said["normalisation"] is None
    assert said["inside"] == {
        "normalise": task.normalization.to_json(),
        "answer": {**task.postprocessing, "names": ["probabilities", "class"]},
    }
    assert "which the engine normalises itself" in said["inputs"]["input"]["meaning"]
    assert said["inputs"]["input"]["dtype"] == kind
    assert {name: (known["dtype"], known["shape"]) for name, known in said["outputs"].items()} == {
        "probabilities": ("float32", [4, 3]),
        "class": ("int32", [4]),
    }
    assert said["outputs"]["class"]["meaning"] == "index of the most probable class: [batch]"
    assert said["postprocessing"] == {
        "kind": "classification",
        "inside": True,
        "outputs": ["probabilities", "class"],
    }
    np.save(tmp_path / "pictures.npy", pictures.astype(kind))
    ran = by_hand(here, tmp_path / "pictures.npy", "--answer", "--out", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    with torch.no_grad():
        shares, classes = Colours()(inputs).softmax(1).max(1)
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [(one["number"], one["label"]) for one in told] == [
        (index, COLOURS[index]) for index in classes.tolist()
    ]
    np.testing.assert_allclose([one["confidence"] for one in told], shares, rtol=1e-4)
    np.save(tmp_path / "normalised.npy", inputs.numpy())
    if kind == "uint8":  # what is normalised already is told apart by its type
        refused = by_hand(here, tmp_path / "normalised.npy", "--answer")
        assert "holds <f4 8x3x8x8, which does not fit the input 'input', |u1 4x3x8x8" in refused.stderr
    described = by_hand(here, "--describe").stdout.splitlines()
    assert described[0].startswith(f"input input {kind} [4]x3x8x8 samples as they are stored")


def answered(here, tx2, tmp_path, module, task, side):
    """Deploy with all inside, and answer two pictures by hand: what the network takes, and what is told."""
    path = export_onnx(module, torch.zeros(2, 3, side, side), tmp_path / "net.onnx").path
    done = edgesynth.deploy(path, tx2, data=task, inside=BOTH, precision="fp32")
    assert done, done.failures
    pictures, inputs = stored(task, 2)
    np.save(tmp_path / "pictures.npy", pictures.astype(np.float32))
    ran = by_hand(here, tmp_path / "pictures.npy", "--answer", "--out", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    return inputs, ran.stdout


@pytest.mark.slow
def test_masks_and_boxes_are_those_of_the_task(here, tx2, tmp_path):
    torch.manual_seed(0)
    module, task = TinySegmenter().eval(), masks_task(rest=4)
    inputs, _ = answered(here, tx2, tmp_path, module, task, side=32)
    with torch.no_grad():
        masks = torch.stack([answer.mask for answer in task.answers(module(inputs))]).numpy()
    assert (np.load(tmp_path / "out/masks.npy") == masks).mean() > 0.999

    module, task = Cells().eval(), boxes_task(held=4, head="centre", score_threshold=0.3)
    inputs, told = answered(here, tx2, tmp_path, module, task, side=64)
    told_as_the_task_does(task, module, inputs, told)


def told_as_the_task_does(task, module, inputs, told):
    """Whether a runner found in each picture what the task finds."""
    with torch.no_grad():
        boxes, scores, labels = task.detections(module(inputs))
    assert len(told.splitlines()) == len(inputs)
    for index, line in enumerate(told.splitlines()):
        found, kept = json.loads(line)["boxes"], labels[index] >= 0
        assert len(found) == int(kept.sum()) > 0
        assert [one["number"] for one in found] == labels[index][kept].tolist()
        np.testing.assert_allclose([one["confidence"] for one in found], scores[index][kept], atol=1e-5)
        np.testing.assert_allclose([one["box"] for one in found], boxes[index][kept], atol=1e-2)


@pytest.mark.slow
def test_objects_are_chosen_by_an_engine_for_any_batch_and_by_its_bundle_again(here, tmp_path):
    here.set("tensorrt", version="8.5.2")
    here.compute()
    module, task = Cells().eval(), boxes_task(held=6, head="centre", score_threshold=0.3)
    path = export_onnx(module, torch.zeros(2, 3, 64, 64), tmp_path / "net.onnx", dynamic_batch=True).path
    with edgesynth.open_device("jetson-tx2", link="local") as device:
        done = edgesynth.deploy(
            *(path, device),
            data=task,
            inside=BOTH,
            precision="fp32",
            batch="1..2..4",
            out=tmp_path / "bundle",
        )
        assert done, done.failures
        again = edgesynth.deploy(tmp_path / "bundle", device, data=task)
    assert again, again.failures
    assert again.report.metric == done.report.metric

    said = json.loads((tmp_path / "bundle/processing.json").read_text())
    assert said["postprocessing"] == {**task.postprocessing, "head": "suppressed"}
    assert {name: (known["dtype"], known["shape"]) for name, known in said["outputs"].items()} == {
        "boxes": ("float32", [4, 100, 4]),
        "scores": ("float32", [4, 100]),
        "classes": ("int32", [4, 100]),
    }
    assert said["outputs"]["classes"]["meaning"].startswith("index of the object's class; -1 without one")
    pictures, inputs = stored(task, 3)
    np.save(tmp_path / "pictures.npy", pictures)
    ran = by_hand(here, tmp_path / "pictures.npy", "--answer", "--out", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    told_as_the_task_does(task, module, inputs, ran.stdout)


@pytest.mark.parametrize("fault", ["weights", pytest.param("normalisation", marks=pytest.mark.slow)])
def test_an_engine_that_answers_wrongly_is_not_installed(here, tx2, tmp_path, fault):
    here.compute(fault)
    torch.manual_seed(0)
    path = export_onnx(TinySegmenter().eval(), torch.zeros(2, 3, 32, 32), tmp_path / "net.onnx").path

    done = edgesynth.deploy(path, tx2, data=masks_task(rest=4), inside=BOTH, precision="fp32")

    assert not done
    assert "classes are others, first in sample 0; none may be" in done.failures[0]


@pytest.mark.slow
def test_a_board_with_trtexec_alone_runs_it_too_and_so_does_the_command_line(
    here, network, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(here.modules / "tensorrt")
    here.set("trtexec", version="8.6")
    here.compute()
    pictures, inputs = stored(coloured_task(), 4)
    np.save("pictures.npy", pictures)
    board = ["--device", "jetson-tx2", "--link", "local"]
    with edgesynth.open_device("jetson-tx2", link="local") as device:
        done = edgesynth.deploy(
            *(network, device), data=coloured_task(), inside=BOTH, precision="fp32", batch=4, samples=8
        )
    assert done, done.failures
    assert done.report.takes["input"].dtype == "uint8"

    assert main(["run", "net", "pictures.npy", *board, "-o", "out", "--json"]) == 0

    files = {entry["name"]: entry["file"] for entry in json.loads(capfd.readouterr().out)}
    with torch.no_grad():
        shares = Colours()(inputs).softmax(1)
    assert np.load(files["class"]).tolist() == shares.argmax(1).tolist()
    np.testing.assert_allclose(np.load(files["probabilities"]), shares, atol=1e-5)


@pytest.mark.slow
def test_the_command_line_deploys_and_exports_with_it(here, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    here.compute()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 784, 10))
    export_onnx(module.eval(), torch.zeros(2, 1, 28, 28), tmp_path / "net.onnx")
    board = ["--device", "jetson-tx2"]
    steps = ["--inside", "normalise", "--inside", "answer"]
    data = ["--data", "fashion-mnist-subset", "--samples", "16", "--quiet"]

    assert main(["export", "net.onnx", *board, *data, *steps, "-o", "out.onnx"]) == 0
    told = " ".join(capfd.readouterr().out.split())
    assert "inside stored values are normalised; the classification is answered: probabilities, class" in told
    assert "0.00% of the classes are others, ties left out" in told
    assert main(["deploy", "net.onnx", *board, "--link", "local", *data, *steps, "--precision", "fp32"]) == 0
    assert "installed: net" in capfd.readouterr().out
    for arguments, said in (
        (["--inside", "argmax"], "--inside 'argmax' is unknown; choose from normalise, answer"),
        (["--inside", "answer"], "what outputs mean is not known of generated inputs"),
    ):
        for verb in (["export"], ["deploy", "--link", "local"]):
            assert main([*verb, "net.onnx", *board, "--quiet", *arguments]) == 2
            assert said in " ".join(capfd.readouterr().err.split())
    assert len(here.told("builds")) == 1
