"""What every task promises, whatever it is about; a new task joins with one line of ``CASES``."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detection_shapes import shapes_task as detection_task
from keypoints_task import DiscNet, DiscTask
from shape_scenes import TinySegmenter, shapes_task
from torch import Tensor, nn

from edgesynth.errors import EdgesynthError
from edgesynth.graph import Prototype
from edgesynth.metrics import METRICS
from edgesynth.synthesis.api import synthesize
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.settings import SynthesisSettings
from edgesynth.tasks import Illustrated, Postprocessed, Split, Task, TrainingPlan, fit, load_task
from edgesynth.tasks.comparison import paired_difference
from edgesynth.tasks.trees import leaves, mapped
from edgesynth.zoo.centrenet import CentreNet
from edgesynth.zoo.detectnet import DetectNet

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Case:
    """A task and a network that can learn it in seconds.

    Attributes:
        task: Makes the task.
        network: Makes the network with fresh weights.
        learning_rate: What a few steps of training need.
    """

    task: Callable[[], Task]
    network: Callable[[], nn.Module]
    learning_rate: float = 0.05


def _classifier() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


CASES = {
    "classification": Case(lambda: load_task("digits", train_size=120), _classifier),
    "segmentation": Case(lambda: shapes_task(train=60, rest=20), TinySegmenter),
    "detection, centre": Case(
        lambda: detection_task(40, 20), lambda: CentreNet(3, 3, (8, 8, 16, 16), pyramid=16, depth=1), 0.01
    ),
    "detection, grid": Case(lambda: detection_task(40, 20, head="grid"), lambda: DetectNet(3, 3), 0.01),
    "a user's own": Case(lambda: DiscTask(train_size=120), DiscNet),
}


@cache
def opened(name: str) -> Task:
    return CASES[name].task()


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    """Every task, opened once."""
    known = CASES[request.param]
    return replace(known, task=lambda: opened(request.param))


@pytest.fixture
def task(case: Case) -> Task:
    return case.task()


@pytest.fixture
def module(case: Case) -> nn.Module:
    torch.manual_seed(0)
    return case.network()


def key(sample: Tensor) -> bytes:
    return sample.numpy().tobytes()


def keys(task: Task, split: Split, **options: Any) -> list[bytes]:
    """One key per sample, in the order the task gives them."""
    return [key(x) for batch in task.batches(split, **{"batch_size": 16, **options}) for x in batch.inputs]


def same(one: Any, other: Any) -> bool:
    """Whether two trees of tensors hold the same."""
    pairs = list(zip(leaves(one), leaves(other), strict=True))
    return bool(pairs) and all(torch.equal(a, b) for a, b in pairs)


# --- data ---


def test_it_is_a_task_of_a_known_metric(task: Task) -> None:
    assert isinstance(task, Task)
    assert METRICS[task.metric].source == "task"
    assert len(task.classes) == len(set(task.classes)) >= 1


@pytest.mark.parametrize("split", SPLITS)
def test_a_pass_gives_every_sample_once_in_batches_of_even_size(task: Task, split: Split) -> None:
    batches = list(task.batches(split, batch_size=16))
    sizes = [len(batch.inputs) for batch in batches]
    assert sum(sizes) == task.size(split)
    assert max(sizes) <= 16
    assert max(sizes) - min(sizes) <= 1
    for batch in batches:
        assert batch.inputs.shape[1:] == task.input_shape
        assert batch.inputs.dtype == torch.float32
        assert all(len(leaf) == len(batch.inputs) for leaf in leaves(batch.targets))


def test_splits_are_disjoint(task: Task) -> None:
    parts = [set(keys(task, split)) for split in SPLITS]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_the_order_is_fixed_unless_it_is_shuffled(task: Task) -> None:
    assert keys(task, "train", seed=1) == keys(task, "train", seed=2, batch_size=5)


def test_a_seed_decides_the_order_and_all_variation(task: Task) -> None:
    varied = {"shuffle": True, "augment": True}
    assert keys(task, "train", seed=3, **varied) == keys(task, "train", seed=3, **varied)
    one, other = keys(task, "train", seed=3, shuffle=True), keys(task, "train", seed=4, shuffle=True)
    assert one != other
    assert sorted(one) == sorted(other) == sorted(keys(task, "train"))


def test_targets_stay_with_their_samples(task: Task) -> None:
    def known(**options: Any) -> dict[bytes, Any]:
        found = {}
        for batch in task.batches("train", batch_size=16, **options):
            for index, sample in enumerate(batch.inputs):
                found[key(sample)] = mapped(lambda leaf, at=index: leaf[at], batch.targets)
        return found

    plain, shuffled = known(), known(shuffle=True, seed=5)
    assert plain.keys() == shuffled.keys()
    assert all(same(plain[sample], shuffled[sample]) for sample in plain)


def test_a_limit_is_a_fixed_subset_and_with_shuffling_the_first_of_the_order(task: Task) -> None:
    subset = keys(task, "validation", limit=9)
    assert len(subset) == 9
    assert subset == keys(task, "validation", limit=9, seed=8, batch_size=4)
    assert set(subset) < set(keys(task, "validation"))
    order = keys(task, "train", shuffle=True, seed=2)
    assert sorted(keys(task, "train", shuffle=True, seed=2, limit=10)) == sorted(order[:10])
    assert keys(task, "validation", limit=10**6) == keys(task, "validation")


def test_impossible_passes_are_refused(task: Task) -> None:
    for wrong in ({"batch_size": 0}, {"batch_size": 4, "limit": 0}):
        with pytest.raises(EdgesynthError, match="at least 1"):
            next(iter(task.batches("train", **wrong)))
    with pytest.raises(EdgesynthError, match="unknown split 'holdout'"):
        task.size("holdout")  # type: ignore[arg-type]


# --- losses ---


def test_losses_are_scalars_that_reach_every_parameter(task: Task, case: Case, module: nn.Module) -> None:
    batch = next(task.batches("train", batch_size=16))
    teacher = case.network().eval()
    with torch.no_grad():
        said = teacher(batch.inputs)
    for distilled in (False, True):
        module.zero_grad()
        outputs = module(batch.inputs)
        if distilled:
            loss = task.distillation_loss(outputs, said, batch.targets)
        else:
            loss = task.loss(outputs, batch.targets)
        assert loss.shape == ()
        assert bool(loss.isfinite())
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
        assert any(p.grad.any() for p in module.parameters())


def test_a_student_that_agrees_with_its_teacher_has_less_to_learn(task: Task, module: nn.Module) -> None:
    batch = next(task.batches("train", batch_size=16))
    with torch.no_grad():
        outputs = module.eval()(batch.inputs)
        agreeing = task.distillation_loss(outputs, outputs, batch.targets)
        shifted = mapped(lambda leaf: leaf.roll(1, 0) if leaf.is_floating_point() else leaf, outputs)
        apart = task.distillation_loss(outputs, mapped(lambda leaf: 3 * leaf, shifted), batch.targets)
    assert agreeing < apart


def test_outputs_of_another_shape_are_refused(task: Task) -> None:
    batch = next(task.batches("train", batch_size=4))
    with pytest.raises(EdgesynthError, match=r"\[batch, "):
        task.loss(torch.zeros(4, 1, 1, 1, 1, 1), batch.targets)


# --- scores ---


def test_the_judge_says_what_score_says(task: Task, module: nn.Module) -> None:
    score = task.score(module, "validation", batch_size=32)
    judge = task.judge("validation")
    module.eval()
    with torch.inference_mode():
        for batch in task.batches("validation", batch_size=7):
            judge.add(module(batch.inputs), batch)
    heard = judge.score()
    # A loss per object, as a detector's, depends on which samples share a batch; nothing else may.
    loss = task.score(module, "validation", batch_size=7).loss
    assert heard.metric == score.metric
    assert heard.others == score.others
    assert heard.loss == pytest.approx(loss, rel=1e-4)
    assert heard.per_class == score.per_class


def test_a_score_has_provenance_samples_and_an_interval(task: Task, module: nn.Module) -> None:
    score = task.score(module, "validation", limit=12)
    for metric in (score.metric, *score.others):
        assert str(metric.provenance) == "measured"
        assert metric.samples == 12
        share = METRICS[metric.name].share
        assert metric.interval is not None or not share
        low, high = metric.interval or (metric.value, metric.value)
        assert 0 <= low <= metric.value + 1e-9
        assert metric.value - 1e-9 <= high
        assert high <= 1 or not share
        assert task.name in metric.source
        assert "validation" in metric.source
    assert score.metric.name == task.metric
    assert set(score.per_class) <= set(task.classes)
    assert set(score.curves) <= set(task.classes)
    if score.confusion is not None:
        # One more may count what is of no class.
        side = len(score.confusion)
        assert side - len(task.classes) in (0, 1)
        assert score.confusion.shape == (side, side)
        assert score.confusion.dtype == torch.int64


def test_a_judge_that_heard_nothing_refuses(task: Task) -> None:
    with pytest.raises(EdgesynthError, match="no outputs were given"):
        task.judge("test").score()


def test_a_score_tells_what_samples_came_to_so_that_networks_can_be_compared(
    task: Task, module: nn.Module
) -> None:
    one, other = (task.score(part, "validation", limit=12) for part in (module, copy.deepcopy(module)))
    if one.correct is None:
        assert one.resampled is not None
        assert one.resampled(np.ones(12, np.int64)) == pytest.approx(one.metric.value)
    known = paired_difference(one, other)
    assert known.interval is not None
    low, high = known.interval
    assert (known.value, known.samples) == (0.0, 12)
    assert -low == pytest.approx(high)
    assert 0 < high < 0.3


@pytest.mark.parametrize("training", [True, False])
def test_scoring_restores_the_mode_and_changes_nothing(task: Task, module: nn.Module, training: bool) -> None:
    module.train(training)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    task.score(module, "validation", limit=8)
    assert all(part.training == training for part in module.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_a_few_steps_of_training_lower_the_loss(task: Task, case: Case, module: nn.Module) -> None:
    before = task.score(module, "train").loss
    plan = TrainingPlan(epochs=3, batch_size=20, learning_rate=case.learning_rate, augment=False)
    fit(module, task, plan)
    assert task.score(module, "train").loss < before


# --- what reports and deployed programs read ---


def test_answers_and_truths_can_be_shown(task: Task, module: nn.Module) -> None:
    assert isinstance(task, Illustrated)
    batch = next(task.batches("test", batch_size=5, limit=5))
    with torch.no_grad():
        outputs = module.eval()(batch.inputs)
    pictures = task.images(batch.inputs)
    assert pictures is not None
    assert pictures.shape == (5, 3, *task.input_shape[1:])
    assert pictures.dtype == torch.uint8
    answers, truths = task.answers(outputs), task.truths(batch.targets)
    assert len(answers) == len(truths) == 5
    for picture, answer, truth in zip(pictures, answers, truths, strict=True):
        before = picture.clone()
        for shown in (answer, truth):
            drawn = shown.drawn_on(picture)
            assert drawn.shape == picture.shape
            assert drawn.dtype == torch.uint8
            assert isinstance(shown.caption(truth), str)
        assert torch.equal(picture, before)
        assert "\n" not in answer.caption(truth)


def test_postprocessing_is_a_json_object_with_a_kind(task: Task) -> None:
    assert isinstance(task, Postprocessed)
    found = json.loads(json.dumps(task.postprocessing))
    assert found == task.postprocessing
    assert found["kind"]


# --- the whole way ---


@pytest.mark.slow
def test_a_synthesis_runs_from_end_to_end(task: Task, case: Case, module: nn.Module, tmp_path: Path) -> None:
    fit(module, task, TrainingPlan(epochs=4, batch_size=20, learning_rate=case.learning_rate))
    prototype = Prototype(module, torch.zeros(1, *task.input_shape), align=4)
    settings = SynthesisSettings(
        cycles=1, epochs=1, networks=1, polish_epochs=0.5, seeds_per_cycle=2, asked_per_cycle=1,
        probes_per_cycle=1, batch_size=20, validation_limit=20, calibration_samples=40,
    )  # fmt: skip
    bound = prototype.cost().macs // 2
    requirements = Requirements({"macs": f"<= {bound}"})
    result = synthesize(prototype, task, requirements, run_dir=tmp_path / "run", settings=settings)
    assert len(result.networks) == 1
    for record in result.networks:
        assert record.metrics["macs"].value <= bound
        assert record.test_metrics[task.metric].samples == task.size("test")
        assert all((tmp_path / "run" / path).is_file() for path in record.files.values())
