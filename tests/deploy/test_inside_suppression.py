"""Suppression inside a graph: the objects of the task itself, in every case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from detection_shapes import shapes_task
from networks_with_tasks import case
from onnx import TensorProto, helper
from torch import Tensor

from edgesynth.deploy import inside, rtx
from edgesynth.deploy.delivery import deliver
from edgesynth.deploy.inside_arithmetic import answered
from edgesynth.deploy.inside_graph import exact_nodes, give_answer
from edgesynth.deploy.inside_reference import FileReference
from edgesynth.deploy.inside_suppression import leaves_overlaps, suppress
from edgesynth.deploy.judging import ObjectsScore
from edgesynth.deploy.onnx_graph import sites
from edgesynth.deploy.runners import OnnxRunner
from edgesynth.deploy.verify import verify
from edgesynth.devices import load_profile

TX2, XAVIER, ORIN, THOR = (
    load_profile(f"jetson-{name}") for name in ("tx2", "agx-xavier", "agx-orin", "thor")
)
LEVELS = {"centre": (16, 8), "grid": (16,)}


@pytest.fixture
def _no_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds have tests of their own."""
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")


def crowded(head: str, batch: int, classes: int = 3, sides: tuple[int, ...] = ()) -> tuple[Tensor, ...]:
    """Outputs of a head that finds many large objects on top of each other."""
    generator = torch.Generator().manual_seed(batch)
    found: list[Tensor] = []
    for side in sides or LEVELS[head]:
        found.append(2 * torch.randn(batch, classes, side, side, generator=generator) - 1)
        raw = torch.rand(batch, 4, side, side, generator=generator) * side / 8 + 0.5
        if head == "centre":
            found += [raw, torch.randn(batch, 1, side, side, generator=generator)]
        else:
            found.append(raw * torch.tensor([-1.0, -1, 1, 1])[:, None, None])
    return tuple(found)


def suppressing(task: Any, outputs: tuple[Tensor, ...], *, free: bool = False, opset: int = 17) -> Any:
    """A graph that takes a head's outputs and gives objects."""
    values = [
        [
            helper.make_tensor_value_info(
                f"{name}_{index}", TensorProto.FLOAT, ["batch" if free else len(part), *part.shape[1:]]
            )
            for index, part in enumerate(outputs)
        ]
        for name in ("given", "output")
    ]
    nodes = [helper.make_node("Identity", [f"given_{i}"], [f"output_{i}"]) for i in range(len(outputs))]
    graph = helper.make_graph(nodes, "head", *values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    answer = {**task.postprocessing, "suppressed": True}
    suppress(model, {**answer, **give_answer(model, answer)})
    onnx.checker.check_model(model, full_check=True)
    return model


def objects(model: Any, outputs: tuple[Tensor, ...]) -> list[Any]:
    """Boxes, scores and classes."""
    return list(OnnxRunner(model)({f"given_{i}": part.numpy() for i, part in enumerate(outputs)}).values())


def same(found: list[Any], want: Any) -> None:
    boxes, scores, classes = found
    assert classes.dtype == np.int32
    assert classes.tolist() == want.labels.tolist()
    np.testing.assert_allclose(scores, want.scores, atol=1e-6)
    np.testing.assert_allclose(boxes, want.boxes, atol=1e-4)


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("head", LEVELS)
def test_a_graph_gives_the_objects_of_the_task(head: str, opset: int) -> None:
    task = shapes_task(head=head, nms_iou=0.4)
    model = suppressing(task, crowded(head, 2), free=True, opset=opset)
    for batch in (1, 4):
        outputs = crowded(head, batch)
        want = task.detections(outputs)
        kept = (want.labels >= 0).sum(1)
        assert 10 < int(kept.min()) <= int(kept.max()) < 200  # many go, and rows are left
        same(objects(model, outputs), want)


@pytest.mark.parametrize(("head", "most"), [("centre", 7), ("grid", 7), ("centre", 150)])
def test_of_many_objects_there_are_the_best(head: str, most: int) -> None:
    task, outputs = shapes_task(head=head, nms_iou=0.6, max_detections=most), crowded(head, 3)
    want = task.detections(outputs)
    assert want.labels.shape[1] == most
    assert bool((want.labels >= 0).all())
    same(objects(suppressing(task, outputs), outputs), want)


def test_fewer_pairs_than_candidates_and_rows_are_all_that_there_are() -> None:
    task, outputs = shapes_task(head="grid"), crowded("grid", 2, sides=(2,))
    found = objects(suppressing(task, outputs), outputs)
    assert [part.shape for part in found] == [(2, 12, 4), (2, 12), (2, 12)]
    same(found, task.detections(outputs))


def test_where_nothing_is_found_every_row_is_empty() -> None:
    task = shapes_task(head="grid")
    outputs = crowded("grid", 2)
    outputs[0][0] = -9
    found = objects(suppressing(task, outputs), outputs)
    same(found, task.detections(outputs))
    boxes, scores, classes = (part[0] for part in found)
    assert not boxes.any()
    assert not scores.any()
    assert set(classes.tolist()) == {-1}


def test_equal_boxes_of_two_classes_stay_and_of_one_class_the_first() -> None:
    task = shapes_task(head="grid")
    outputs = (torch.full((1, 3, 2, 2), -9.0), torch.zeros(1, 4, 2, 2))
    outputs[1][:] = torch.tensor([-1.0, -1, 1, 1])[:, None, None]
    outputs[1][0, :, 0, 1] = torch.tensor([-2.0, -1, 0, 1])  # the box of the cell to its left
    outputs[0][0, 0, 0, :], outputs[0][0, 1, 0, 0] = 2.0, 1.0
    found = objects(suppressing(task, outputs), outputs)
    same(found, task.detections(outputs))
    assert found[2][0, :3].tolist() == [0, 1, -1]


def test_more_objects_than_a_table_of_overlaps_should_hold_are_left() -> None:
    assert leaves_overlaps(ORIN, 500) == ""
    assert leaves_overlaps(ORIN, 501) == (
        "suppression inside is for at most 500 objects of an image, and these are 501"
    )


@pytest.mark.usefixtures("_no_builder")
def test_a_device_whose_tensorrt_is_older_is_told_why_overlaps_are_left(tmp_path: Path) -> None:
    task, _, path = case("grid", tmp_path)
    old, new = (deliver(path, profile, None, data=task, inside=["answer"]) for profile in (TX2, XAVIER))

    assert old, old.failures
    assert old.export is not None
    assert old.export.outputs == ("boxes", "scores")
    assert old.enclosed is not None
    assert old.enclosed.inside.says == (
        "the detection is answered: boxes, scores; overlapping boxes are left to runner.py: suppression "
        "inside is for TensorRT 8.5 and newer, and jetson-tx2 has 8.2.1"
    )
    assert old.samples is not None
    assert old.samples.postprocessing == {**task.postprocessing, "head": "decoded"}
    assert new, new.failures
    assert new.export is not None
    assert new.export.outputs == ("boxes", "scores", "classes")
    assert new.enclosed is not None
    assert new.enclosed.inside.says == "the detection is answered: boxes, scores, classes"
    assert new.samples is not None
    assert new.samples.postprocessing == {**task.postprocessing, "head": "suppressed"}


@pytest.mark.usefixtures("_no_builder")
def test_a_file_tells_itself_which_objects_are_to_come_out(tmp_path: Path) -> None:
    task, _, path = case("centre", tmp_path)
    done = deliver(path, XAVIER, tmp_path / "out.onnx", data=task, inside=["answer"])
    assert done.enclosed is not None
    assert done.samples is not None

    model = onnx.load(str(tmp_path / "out.onnx"))
    reference = FileReference(tmp_path / "out.onnx", model, done.enclosed.inside.answer)

    report = verify(tmp_path / "out.onnx", reference, done.samples.data)
    assert report, report.failures
    assert [check.others for check in report.outputs] == [None, None, 0.0]


class Foreign:
    """A task that is no detector of ours, and says that its outputs are read as one's."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


@pytest.mark.usefixtures("_no_builder")
def test_a_task_that_is_judged_by_cells_keeps_them(tmp_path: Path) -> None:
    task, _, path = case("grid", tmp_path)

    done = deliver(path, XAVIER, None, data=Foreign(task), inside=["answer"])

    assert done, done.failures
    assert done.export is not None
    assert done.export.outputs == ("boxes", "scores")
    assert done.enclosed is not None
    assert "left to runner.py: Foreign judges outputs of cells itself" in done.enclosed.inside.says


def across_classes(model: Any) -> None:
    """Let any two candidates count as of one class."""
    next(node for node in model.graph.node if node.op_type == "Equal").op_type = "GreaterOrEqual"


FAULTS: dict[str, tuple[dict[str, Any], Callable[[Any], None]]] = {
    "another overlap": ({"nms_iou": 0.05}, lambda model: None),
    "another threshold": ({"score_threshold": 0.62}, lambda model: None),
    "across classes": ({}, across_classes),
}


@pytest.mark.usefixtures("_no_builder")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_suppression_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    changes, spoil = FAULTS[fault]
    task, _, path = case("centre", tmp_path)

    def wrong(model: Any, answer: Any) -> None:
        suppress(model, {**answer, **changes})
        spoil(model)

    monkeypatch.setattr(inside, "suppress", wrong)

    done = deliver(path, THOR, tmp_path / "out.onnx", data=task, inside=["answer"])

    assert not done
    assert [failure for failure in done.failures if failure.startswith("classes: ")]
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.usefixtures("_no_builder")
@pytest.mark.parametrize("precision", ["fp16", pytest.param("int8", marks=pytest.mark.slow)])
@pytest.mark.parametrize("profile", [ORIN, THOR], ids=["by flags", "by types"])
def test_suppression_stays_single_in_lower_precisions(tmp_path: Path, profile: Any, precision: str) -> None:
    task, _, path = case("centre", tmp_path)

    done = deliver(path, profile, tmp_path / "out.onnx", precision=precision, data=task, inside=["answer"])

    assert done, done.failures
    assert done.preflight.verdict == "read"
    assert done.export is not None
    model = onnx.load(str(tmp_path / "out.onnx"))
    exact = exact_nodes(model)
    assert {"TopK", "Div", "GatherND"} <= {kept.operator for kept in exact}
    assert {"TopK", "Div", "GatherND"} <= {kept.operator for kept in done.export.kept}
    if not done.export.strongly_typed:
        assert {kept.node for kept in exact} == set(done.export.full)
    loop = next(site for site in sites(model) if site.node.op_type == "Loop")
    assert loop.scope.value(loop.node.input[2]).type == "FLOAT"
    assert not any(
        site.scope.value(name).type == "FLOAT16"
        for site in sites(model)
        if "inside" in site.name
        for name in site.node.output
        if site.depth or "cells" not in name
    )


def test_objects_are_judged_as_outputs_that_are_decoded_so() -> None:
    task = shapes_task(held=8, head="grid")
    batch = next(iter(task.batches("validation", batch_size=8)))
    outputs = crowded("grid", 8)
    answer = {**task.postprocessing, "names": ["boxes", "scores", "classes"], "suppressed": True}
    given = answered({f"output_{i}": part.numpy() for i, part in enumerate(outputs)}, answer)
    judge = task.judge("validation")
    judge.add(outputs, batch)

    score = ObjectsScore(task, batch)

    assert score(given) == judge.score().metric.value
    truth = {
        "boxes": batch.targets["boxes"].numpy(),
        "scores": (batch.targets["labels"] >= 0).float().numpy(),
        "classes": batch.targets["labels"].numpy(),
    }
    assert score(truth) == 1.0
    assert score.part(0, 4)({name: value[:4] for name, value in truth.items()}) == 1.0
