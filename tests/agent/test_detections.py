"""The board's own decoder says what the task says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detection_shapes import shapes_task

from edgesynth import zoo
from edgesynth.agent import detections as program
from edgesynth.agent.detections import detections
from edgesynth.deploy.onnx import compare_with_runtime, export_onnx
from edgesynth.deploy.preflight import preflight
from edgesynth.devices import list_profiles, load_profile
from edgesynth.tasks import DetectionExport

NETWORKS = {"centre": "centrenet", "grid": "detectnet"}


def random_outputs(head, count=3, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    outputs = []
    for cells in (8, 4) if head == "centre" else (8,):
        outputs.append(2 * torch.randn(count, classes, cells, cells, generator=generator) - 2)
        outputs.append(2 * torch.randn(count, 4, cells, cells, generator=generator))
        if head == "centre":
            outputs.append(torch.randn(count, 1, cells, cells, generator=generator))
        else:
            outputs[-1] += torch.tensor([-2.0, -2, 2, 2])[None, :, None, None]
    return tuple(outputs)


def flat(tensors):
    return {
        f"output_{index}": (list(part.shape), part.flatten().tolist()) for index, part in enumerate(tensors)
    }


def same(found, expected):
    for image, rows in enumerate(found):
        labels = expected.labels[image]
        count = int((labels >= 0).sum())
        assert [row[5] for row in rows] == labels[:count].tolist()
        assert np.allclose([row[4] for row in rows], expected.scores[image, :count], atol=1e-5)
        assert np.allclose([row[:4] for row in rows], expected.boxes[image, :count], atol=1e-3)
    assert sum(map(len, found)) > 10


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("head", NETWORKS)
def test_raw_outputs_give_the_boxes_of_the_task(head, seed):
    task = shapes_task(head=head, score_threshold=0.1, nms_iou=0.3, max_detections=40)
    outputs = random_outputs(head, seed=seed)
    same(detections(flat(outputs), task.postprocessing), task.detections(outputs))


def test_as_many_candidates_are_looked_at_as_by_the_task():
    task = shapes_task(side=256, max_detections=150, score_threshold=0.02, nms_iou=0.2)
    generator = torch.Generator().manual_seed(0)
    shapes = [(channels, cells) for cells in (32, 16) for channels in (3, 4, 1)]
    # Boxes so wide that many of the best are suppressed.
    outputs = tuple(torch.randn(1, c, n, n, generator=generator) + (3 if c == 4 else 0) for c, n in shapes)
    same(detections(flat(outputs), task.postprocessing), task.detections(outputs))


def test_outputs_are_ordered_by_their_numbers():
    task = shapes_task(head="centre")
    outputs = random_outputs("centre")
    named = flat(outputs)
    turned = {name: named[name] for name in reversed(named)}
    assert detections(turned, task.postprocessing) == detections(named, task.postprocessing)


class Outputs(torch.nn.Module):
    """Says the same whatever it sees."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, x):
        return tuple(part + 0 * x.mean() for part in self.outputs)


@pytest.mark.parametrize("head", NETWORKS)
def test_decoded_outputs_give_the_same_boxes(head):
    task = shapes_task(head=head, score_threshold=0.1)
    outputs = random_outputs(head)
    decoding = DetectionExport(Outputs(outputs), task)
    found = detections(flat(decoding(torch.zeros(3, 3, 64, 64))), decoding.postprocessing)
    same(found, task.detections(outputs))


def test_objects_of_a_network_that_suppresses_overlaps_are_what_they_are():
    task = shapes_task(head="centre", score_threshold=0.1, nms_iou=0.3)
    kept = task.detections(random_outputs("centre"))
    kept = kept._replace(labels=kept.labels.to(torch.int32))
    found = detections(flat(kept), {**task.postprocessing, "head": "suppressed", "nms_iou": 0.01})
    same(found, kept)
    assert [len(rows) for rows in found] == (kept.scores > 0).sum(1).tolist()


@pytest.mark.parametrize("head", NETWORKS)
def test_a_decoding_network_is_read_by_every_jetson_and_agrees(head, tmp_path):
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = DetectionExport(zoo.build(NETWORKS[head], in_channels=3, classes=3), shapes_task(head=head))
    export = export_onnx(
        network, torch.zeros(1, 3, 64, 64), tmp_path / "net.onnx", output_names=("boxes", "scores")
    )
    assert compare_with_runtime(network, export.path, torch.randn(3, 3, 64, 64), atol=1e-3)
    for device in list_profiles():
        if device.startswith("jetson"):
            verdict = preflight(export.path, load_profile(device))
            assert verdict.verdict == "read", (device, verdict.findings)


@pytest.mark.parametrize(
    ("outputs", "changes", "message"),
    [
        ({}, {"kind": "classification"}, "kind 'classification'"),
        ({"a": ([1, 3, 8, 8], [0.0] * 5)}, {}, "has 5 values"),
        ({"a": ([1, 3, 8, 8], [0.0] * 192)}, {}, "2 tensors a level, got 1"),
        (
            {"a": ([1, 2, 8, 8], [0.0] * 128), "b": ([1, 4, 8, 8], [0.0] * 256)},
            {},
            "expected 3 classes and 4 sides",
        ),
        ({"a": ([1, 3, 8, 8], [0.0] * 192)}, {"head": "corner"}, "unknown detection head 'corner'"),
        ({"a": ([1, 3, 8, 8], [0.0] * 192)}, {"head": "decoded"}, "decoded outputs are boxes"),
        ({"a": ([1, 3, 8, 8], [0.0] * 192)}, {"head": "suppressed"}, "outputs without overlaps are boxes"),
    ],
)
def test_outputs_of_another_kind_are_refused(outputs, changes, message):
    task = shapes_task(head="grid")
    with pytest.raises(ValueError, match=message):
        detections(outputs, {**task.postprocessing, **changes})


def test_it_needs_the_standard_library_alone(tmp_path):
    # The file by itself, with nothing of ours and nothing installed in sight.
    copy = tmp_path / "detections.py"
    copy.write_bytes(Path(program.__file__).read_bytes())
    code = (
        "from detections import detections\n"
        "p = {'kind': 'detection', 'head': 'grid', 'input_size': [8, 8], 'score_threshold': 0.1,\n"
        "     'nms_iou': 0.5, 'max_detections': 5, 'classes': ['a']}\n"
        "print(detections({'c': ([1, 1, 1, 1], [0.0]), 'o': ([1, 4, 1, 1], [-.25, -.25, .25, .25])}, p))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env={}
    )
    assert done.stdout.strip() == "[[(2.0, 2.0, 6.0, 6.0, 0.5, 0)]]"
