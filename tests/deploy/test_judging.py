"""A deployed network is scored as the network was: by the task's judge, on outputs of any structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgesynth.deploy.delivery import deliver
from edgesynth.deploy.judging import ClassScore, TaskScore
from edgesynth.deploy.onnx import export_onnx
from edgesynth.deploy.runners import OnnxRunner
from edgesynth.deploy.samples import load_samples
from edgesynth.deploy.verify import verify
from edgesynth.devices import load_profile
from edgesynth.errors import InputError
from edgesynth.tasks import Batch
from tests.support.keypoints_task import DiscJudge, DiscNet, DiscTask


class Pair(nn.Module):
    """The same answer in parts of a dict, as detectors give theirs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> dict[str, Any]:
        place = self.network(x)
        return {"x": place[:, :1], "rest": (place[:, 1:], place.sum(1, keepdim=True))}


class PairTask(DiscTask):
    def judge(self, split: str) -> Any:
        inner = DiscJudge(f"{self.name}, {split}")

        class Judge:
            score = inner.score

            def add(self, outputs: Any, batch: Batch) -> None:
                y, _ = outputs["rest"]
                inner.add(torch.cat([outputs["x"], y], 1), batch)

        return Judge()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    module = Pair(DiscNet()).eval()
    with torch.no_grad():  # an answer that is right for some discs
        module.network.head.bias.zero_()
    path = tmp_path_factory.mktemp("pair") / "pair.onnx"
    export = export_onnx(module, torch.zeros(1, 1, 24, 24), path)
    assert export.output_names == ("x", "rest.0", "rest.1")
    return module, path


def test_parts_of_a_dict_reach_the_judge_as_the_network_gave_them(written: tuple[nn.Module, Path]) -> None:
    module, path = written
    task, runner = PairTask(16), OnnxRunner(path)
    samples = load_samples(task, runner.inputs, 300)
    assert samples.score is not None
    report = verify(path, module, samples.data, metric=samples.score)
    expected = task.score(module, "validation").metric.value
    assert report
    assert report.metric_name == "pck"
    assert report.metric == pytest.approx(expected)
    assert 0 < expected < 1


def test_a_lower_score_fails_the_verification(written: tuple[nn.Module, Path], tmp_path: Path) -> None:
    _, path = written
    model = onnx.load(str(path))
    one, two = model.graph.output[0].name, model.graph.output[1].name
    for node in model.graph.node:  # x for y
        node.output[:] = [{one: two, two: one}.get(name, name) for name in node.output]
    onnx.save(model, str(tmp_path / "turned.onnx"))
    samples = load_samples(PairTask(16), OnnxRunner(path).inputs, 300)
    assert isinstance(samples.score, TaskScore)
    right = OnnxRunner(path)(samples.data)
    truths = torch.from_numpy(np.concatenate([right["x"], right["rest.0"]], 1))
    truths[:, 0] += 0.09  # just near enough
    score = TaskScore(samples.score.task, Batch(samples.score.batch.inputs, truths))
    report = verify(tmp_path / "turned.onnx", path, samples.data, metric=score)
    assert report.reference_metric == 1.0
    assert not report
    assert report.metric is not None
    assert (report.metric < 0.99) == any("the task's score fell" in said for said in report.failures)


def test_quantisation_is_judged_before_and_after(written: tuple[nn.Module, Path], tmp_path: Path) -> None:
    _, path = written
    profile = load_profile("jetson-orin-nano")
    done = deliver(path, profile, tmp_path / "out.onnx", precision="int8", batch=1, data=PairTask(16))
    assert done.metric_name == "pck"
    assert done.export is not None
    assert all(tried.metric is not None for tried in done.export.calibrations)
    assert done.report is not None
    assert done.report.reference_metric is not None
    assert done.export.outputs == ("x", "rest.0", "rest.1")
    judged = done.report.acceptance
    assert judged is not None
    assert (judged.samples, judged.verdict) == (300 - 128, "undecided")  # none is judged by what calibrated
    assert (done.failures, judged.warns, done.kept) == ((), True, True)  # it was asked for by name
    unasked = {"precision": "int8", "batch": 1, "data": PairTask(16), "strict": True}
    left = deliver(path, profile, tmp_path / "unasked.onnx", **unasked)
    assert (left.failures, left.kept) == (
        (judged.says.replace("int8 is used because it was asked for", "fp32 stays"),),
        False,
    )


def test_samples_in_part_keep_their_truths(written: tuple[nn.Module, Path]) -> None:
    _, path = written
    task = PairTask(16)
    samples = load_samples(task, OnnxRunner(path).inputs, 40)
    half = samples.part(10, 30)
    assert isinstance(half.score, TaskScore)
    whole = samples.score
    assert isinstance(whole, TaskScore)
    assert torch.equal(half.score.batch.targets, whole.batch.targets[10:30])
    assert samples.postprocessing == task.postprocessing
    assert samples.classes == ("x", "y")


def test_labels_alone_give_accuracy() -> None:
    score = ClassScore(np.array([0, 1, 1]))
    outputs = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    assert score({"output": outputs}) == pytest.approx(2 / 3)
    assert score.part(0, 2)({"output": outputs[:2]}) == 1.0
    with pytest.raises(InputError, match="one has shape"):
        score({"output": outputs[None]})


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (None, r"Broken\.judge\('validation'\) returned None, which has no add and no score"),
        (
            type("Mute", (), {"add": lambda *_: None, "score": lambda _: None})(),
            r"Mute\.score\(\) returned None",
        ),
    ],
)
def test_a_judge_of_the_users_that_is_none_is_said_to_be_none(judge: object, said: str) -> None:
    class Broken(DiscTask):
        def judge(self, split: str) -> Any:
            return judge

    task = Broken()
    batch = next(task.batches("validation", batch_size=4, seed=0, shuffle=False))
    with pytest.raises(InputError, match=said):
        TaskScore(task, batch).scored({"out": np.zeros((4, 2), np.float32)})
