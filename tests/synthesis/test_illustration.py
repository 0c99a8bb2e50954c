"""Pictures and details are of test data, chosen by the rule they state, the same whenever they are made."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from keypoints_task import DiscNet, DiscTask
from PIL import Image
from shape_scenes import TinySegmenter, shapes_task
from small_synthesis import SETTINGS
from torch import Tensor, nn

from edgesynth.errors import RequirementError, RunError
from edgesynth.graph import Prototype
from edgesynth.metrics import Metric, Provenance
from edgesynth.runs import Run
from edgesynth.runs.details import read_details
from edgesynth.runs.pictures import PICTURES, read_pictures
from edgesynth.synthesis.api import check_obtainable, synthesize
from edgesynth.synthesis.illustration import _against, details_of, illustrate
from edgesynth.synthesis.requirements import Requirements
from edgesynth.tasks import ClassificationTask, Curve, Score, TensorSamples
from edgesynth.tasks.detection import BoxesAnswer
from edgesynth.tasks.images import class_colours


@pytest.fixture(scope="module")
def discs() -> DiscTask:
    return DiscTask(64)


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"prototype": DiscNet(), "seed 0": DiscNet(), "seed 1": DiscNet()}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / PICTURES).iterdir()}


def test_the_same_networks_give_the_same_files(discs, networks, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        illustrate(discs, networks, tmp_path / name)
    # A run that was killed half-way writes over what it left.
    illustrate(discs, networks, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert not [name for name in files(tmp_path / "one") if name.startswith(".")]


def test_samples_are_chosen_as_the_rule_says(discs, networks, tmp_path: Path) -> None:
    found = illustrate(discs, networks, tmp_path)
    assert found is not None
    with torch.inference_mode():
        batch = next(discs.batches("test", batch_size=240, limit=240))
        losses = torch.stack(
            [(net.eval()(batch.inputs) - batch.targets).abs().mean(1) for net in networks.values()]
        ).numpy()
    apart, greatest = np.abs(losses[1:] - losses[0]).mean(0), losses[1:].mean(0)
    shown = [row.sample for row in found.rows]
    assert len(set(shown)) == 12
    assert set(shown[:4]) == set(np.argsort(-apart)[:4].tolist())
    left = [index for index in np.argsort(-greatest).tolist() if index not in shown[:4]]
    assert set(shown[4:8]) == set(left[:4])
    assert shown[8:] == sorted(shown[8:])
    assert "240 test samples" in found.rule


def test_pictures_show_the_sample_with_every_answer_on_it(discs, networks, tmp_path: Path) -> None:
    illustrate(discs, networks, tmp_path)
    read = read_pictures(tmp_path)
    assert read is not None
    found, data = read
    assert found.networks == ("prototype", "seed 0", "seed 1")
    row = found.rows[0]
    batch = next(discs.batches("test", batch_size=240, limit=240))
    image = discs.images(batch.inputs[row.sample : row.sample + 1])[0]
    expected = discs.truths(batch.targets[row.sample : row.sample + 1])[0].drawn_on(image)
    with Image.open(io.BytesIO(data[row.truth.file])) as picture:
        assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), expected.numpy())
    assert all(answer.caption.endswith("px off") for answer in row.answers)


def test_a_legend_names_the_colours_in_the_order_of_the_classes(tmp_path: Path) -> None:
    task = shapes_task(train=8, rest=14)
    found = illustrate(task, {"prototype": TinySegmenter()}, tmp_path)
    assert found is not None
    assert [name for name, _ in found.legend] == list(task.classes)
    colours = class_colours(len(task.classes)).tolist()
    assert [colour for _, colour in found.legend] == ["#{:02x}{:02x}{:02x}".format(*c) for c in colours]
    assert "Hatched" in found.reading
    read = read_pictures(tmp_path)
    assert read is not None
    assert read[0] == found


def test_a_prototype_alone_is_compared_with_no_one(tmp_path: Path) -> None:
    found = illustrate(shapes_task(train=8, rest=14), {"prototype": TinySegmenter()}, tmp_path)
    assert found is not None
    assert "the prototype's loss is greatest" in found.rule
    assert {row.chosen for row in found.rows} == {
        "the prototype's loss is greatest",
        "spread evenly over the rest",
    }
    assert not any("networks" in text for text in (found.rule, *(row.chosen for row in found.rows)))


@pytest.mark.parametrize("colour", ["red", "#12345", "url(x)"])
def test_a_legend_without_colours_is_damaged(tmp_path: Path, colour: str) -> None:
    illustrate(shapes_task(train=8, rest=14), {"prototype": TinySegmenter()}, tmp_path)
    index = tmp_path / PICTURES / "index.json"
    told = json.loads(index.read_text())
    told["legend"][0][1] = colour
    index.write_text(json.dumps(told))
    with pytest.raises(RunError, match="are damaged"):
        read_pictures(tmp_path)


@dataclass(frozen=True)
class Grey:
    """A picture of noise, which compresses to nothing smaller."""

    side: int

    def task(self) -> ClassificationTask:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (14, 3, self.side, self.side), generator=generator, dtype=torch.uint8)
        part = TensorSamples(images, torch.arange(14) % 2)
        return ClassificationTask("noise", train=part, validation=part, test=part, classes=("a", "b"))


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))[:, :2]


def test_large_pictures_are_shrunk_until_a_report_can_hold_them(tmp_path: Path) -> None:
    found = illustrate(Grey(450).task(), {"prototype": Mean()}, tmp_path)
    assert found is not None
    assert 64 <= found.width < 450
    assert sum(map(len, files(tmp_path).values())) < 2_600_000


def test_samples_that_are_no_pictures_are_not_drawn(tmp_path: Path) -> None:
    part = TensorSamples(torch.randn(20, 5), torch.arange(20) % 2)
    task = ClassificationTask("table", train=part, validation=part, test=part, classes=("a", "b"))
    assert illustrate(task, {"prototype": nn.Linear(5, 2)}, tmp_path) is None
    assert read_pictures(tmp_path) is None


def test_a_finished_run_keeps_details_of_every_network(finished, task: ClassificationTask) -> None:
    with finished.open() as run:
        records = [*run.networks("prototype"), *run.networks("generated")]
        for record in records:
            details = read_details(run.path / record.files["details"])
            assert details is not None
            assert details.metric == record.test_metrics["accuracy"]
            assert details.confusion is not None
            assert sum(details.confusion.totals) == task.size("test")
            counts = np.array(details.confusion.counts)
            assert np.trace(counts) / counts.sum() == pytest.approx(details.metric.value)
            truth, answer, count = details.confusion.pairs[0]
            at = [details.confusion.classes.index(name) for name in (truth, answer)]
            wrong = counts - np.diag(np.diag(counts))
            assert counts[at[0], at[1]] == count == wrong.max()
        found = read_pictures(run.path)
    assert found is not None
    assert found[0].networks == ("prototype", *(f"seed {record.seed}" for record in records[1:]))


def test_a_fault_in_the_users_drawing_does_not_cost_the_run(tmp_path: Path) -> None:
    class Broken(DiscTask):
        def truths(self, targets: Any) -> Any:
            raise KeyError("colour")

    torch.manual_seed(0)
    prototype = Prototype(DiscNet(), torch.zeros(1, 1, 24, 24), align=8)
    settings = {"cycles": 1, "epochs": 0.5, "networks": 1, "seeds_per_cycle": 1, "asked_per_cycle": 1}
    few = SETTINGS.__class__(
        **{**settings, "validation_limit": 50, "calibration_samples": 64, "batch_size": 32}
    )
    bound = Requirements({"macs": f"<= {prototype.cost().macs}"})
    result = synthesize(prototype, Broken(64), bound, run_dir=tmp_path / "run", settings=few)
    assert len(result.networks) == 1
    with Run.open(tmp_path / "run") as run:
        assert run.status == "finished"
        assert any("cannot draw its answers: KeyError" in text for _, text in run.events())
        assert run.manifest["metrics"][0]["name"] == "pck"


def test_a_score_of_many_classes_is_kept_by_its_greatest_parts(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    confusion = torch.randint(0, 9, (150, 150), generator=generator)
    curve = Curve(tuple(np.linspace(0, 1, 5000)), tuple(np.linspace(1, 0.2, 5000)))
    score = Score(Metric("map", 0.5, Provenance.MEASURED), 0.1, confusion=confusion, curves={"cat": curve})
    details = details_of(score, [f"class {index}" for index in range(150)])
    assert details.confusion is not None
    assert details.confusion.counts == ()
    assert len(details.confusion.pairs) == 50
    assert all(count == 8 for *_, count in details.confusion.pairs)
    assert len(details.curves["cat"].recall) == 101
    assert details.curves["cat"].recall[-1] == 1.0


@pytest.mark.parametrize(
    ("classes", "last"), [(("cat", "dog"), "background"), (("cat", "background"), "background 2")]
)
def test_what_is_of_no_class_has_a_name_of_its_own(classes: tuple[str, ...], last: str) -> None:
    counts = torch.tensor([[5, 0, 1], [0, 4, 0], [2, 0, 0]])
    score = Score(Metric("map50", 0.5, Provenance.MEASURED), 0.1, confusion=counts)
    confusion = details_of(score, classes).confusion
    assert confusion is not None
    assert confusion.classes == (*classes, last)
    assert confusion.pairs == ((last, "cat", 2), ("cat", last, 1))
    assert confusion.totals == (6, 4, 2)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 9}'])
def test_damaged_files_are_told_from_missing_ones(tmp_path: Path, text: str) -> None:
    assert read_details(tmp_path / "details.json") is None
    (tmp_path / "details.json").write_text(text)
    (tmp_path / PICTURES).mkdir()
    (tmp_path / PICTURES / "index.json").write_text(text)
    with pytest.raises(RunError, match="damaged"):
        read_details(tmp_path / "details.json")
    with pytest.raises(RunError, match="damaged"):
        read_pictures(tmp_path)


def test_a_metric_that_no_generator_can_climb_is_refused(fresh: Callable[[], Prototype]) -> None:
    class ByError(DiscTask):
        metric = "error_px"

    with pytest.raises(RequirementError, match="no share of which more is better"):
        check_obtainable(["macs"], ByError(8), None)


def test_files_are_json(discs, networks, tmp_path: Path) -> None:
    illustrate(discs, networks, tmp_path)
    index = json.loads((tmp_path / PICTURES / "index.json").read_text())
    assert {name for row in index["rows"] for name in [row["truth"]["file"]]} <= set(files(tmp_path))


def test_an_answer_is_drawn_knowing_the_truth() -> None:
    here, classes = torch.tensor([[1.0, 1, 9, 9]]), ("a", "b")
    truth = BoxesAnswer(here, torch.tensor([0]), classes)
    wrong = BoxesAnswer(here, torch.tensor([1]), classes, torch.tensor([0.9]))
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    assert _against(wrong, truth).drawn_on(image).any(0).sum() < wrong.drawn_on(image).any(0).sum()
