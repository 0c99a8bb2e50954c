"""Detection and segmentation go the whole way: job, synthesis, report, further networks, export, board."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import edgesynth
from edgesynth.agent import answers
from edgesynth.tasks import load_task
from edgesynth.tasks.detection import DetectionTask
from edgesynth.tasks.segmentation import SegmentationTask

pytestmark = pytest.mark.slow

JOB = """
[prototype]
name = "{network}"
arguments = {arguments}
epochs = 4
learning_rate = 0.02

[task]
data = "{data}"
train_size = 60

[requirements]
{metric} = ">= 0"
macs = "<= prototype"

[synthesis]
cycles = 1
epochs = 1
networks = 1
polish_epochs = 0.5
seeds_per_cycle = 1
asked_per_cycle = 1
batch_size = 20
validation_limit = 20
calibration_samples = 20
"""
CASES: dict[str, dict[str, Any]] = {
    "detection": {
        "network": "edgesynth.zoo.centrenet:CentreNet",
        "arguments": "{ widths = [8, 8, 16, 16], pyramid = 16, depth = 1 }",
        "data": "shapes-boxes",
        "metric": "map50",
        "outputs": 6,
        "shown": ("mAP", "found", "Precision"),
    },
    "segmentation": {
        "network": "shape_scenes:TinySegmenter",
        "arguments": "{ classes = 4, width = 8 }",
        "data": "shapes-masks",
        "metric": "miou",
        "outputs": 1,
        "shown": ("mIoU", "background"),
    },
}
PROGRAM = """
import json, sys
sys.path.insert(0, "board")
from edgesynth.agent.answers import answers_of, told
said = json.load(open("outputs.json"))
found = answers_of(said["outputs"], said["postprocessing"], said["labels"], said["order"])
print(json.dumps([[told(one), list(getattr(one, "classes", b""))] for one in found]))
"""


def python36() -> str | None:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(root.glob("3.6.*/bin/python")) if root.is_dir() else []
    return str(found[-1]) if found else shutil.which("python3.6")


def run(folder: Path, *arguments: object) -> str:
    places = (Path(edgesynth.__file__).parents[1], Path(__file__).parents[1] / "support")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "edgesynth", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CASES[request.param]


@pytest.fixture(scope="module")
def folder(case: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three")
    (folder / "job.toml").write_text(JOB.format(**case))
    run(folder, "synth", "job.toml", "--run-dir", "run", "--quiet")
    return folder


def test_the_report_shows_pictures_metrics_and_classes(folder: Path, case: dict[str, Any]) -> None:
    run(folder, "report", "run")
    page = (folder / "run" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 12 * 3
    for said in (*case["shown"], *load_task(case["data"], train_size=60).classes):
        assert said in page


def test_further_networks_are_drawn(folder: Path, case: dict[str, Any]) -> None:
    found = json.loads(run(folder, "generate", "run", "-n", 1, "--seed", 7, "--all", "--json", "--quiet"))
    assert 0 <= found["networks"][0]["test_metrics"][case["metric"]]["value"] <= 1


def test_an_export_is_judged_by_the_task_and_answered_on_the_board(
    folder: Path, case: dict[str, Any]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    (network,) = folder.glob("run/networks/0-*/network.onnx")
    options = ("--device", "jetson-tx2", "--data", "job.toml", "-o", "out.onnx", "--json", "--quiet")
    found = json.loads(run(folder, "export", network, *options))
    assert found["verify"]["metric_name"] == case["metric"]
    session = onnxruntime.InferenceSession(folder / "out.onnx", providers=["CPUExecutionProvider"])
    order = [output.name for output in session.get_outputs()]
    assert len(set(order)) == case["outputs"]

    task = load_task(case["data"], train_size=60)
    assert isinstance(task, DetectionTask | SegmentationTask)
    size = session.get_inputs()[0].shape[0]
    count = size if isinstance(size, int) else 2
    batch = next(task.batches("test", batch_size=count, limit=count))
    arrays = session.run(order, {session.get_inputs()[0].name: batch.inputs.numpy()})
    said = {
        "outputs": {
            name: [list(array.shape), array.ravel().tolist()]
            for name, array in zip(order, arrays, strict=True)
        },
        "postprocessing": task.postprocessing,
        "labels": task.classes,
        "order": order,
    }
    (folder / "outputs.json").write_text(json.dumps(said))
    python = python36()
    if python is None:
        pytest.skip("no python3.6 on this machine")
    board = folder / "board" / "edgesynth"
    board.mkdir(parents=True)
    (board / "__init__.py").touch()
    shutil.copytree(Path(answers.__file__).parent, board / "agent")
    done = subprocess.run([python, "-c", PROGRAM], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outputs = tuple(torch.from_numpy(array) for array in arrays)
    for index, (told, mask) in enumerate(json.loads(done.stdout)):
        if isinstance(task, DetectionTask):
            same_boxes(task, outputs, index, told["boxes"])
        else:
            full = torch.nn.functional.interpolate(outputs[0], size=batch.inputs.shape[2:], mode="bilinear")
            expected = full[index].argmax(0).flatten()
            assert (torch.tensor(mask) == expected).float().mean() > 0.998  # ties of rounding apart


def same_boxes(
    task: DetectionTask, outputs: tuple[Tensor, ...], index: int, told: list[dict[str, Any]]
) -> None:
    boxes, scores, labels = (part[index] for part in task.detections(outputs))
    count = int((labels >= 0).sum())
    assert count > 0
    assert [box["number"] for box in told] == labels[:count].tolist()
    assert np.allclose([box["confidence"] for box in told], scores[:count], atol=1e-5)
    assert np.allclose([box["box"] for box in told], boxes[:count], atol=1e-3)
