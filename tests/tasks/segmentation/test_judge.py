import numpy as np
import pytest
import torch
from mask_answers import judged, logits_of, random_answers, task_of
from shape_scenes import CLASSES, TinySegmenter
from sklearn.metrics import confusion_matrix, jaccard_score

from edgesynth.errors import InputError
from edgesynth.metrics import Provenance
from edgesynth.synthesis.requirements import Requirements, VerdictStatus
from edgesynth.tasks import Batch


def test_mean_iou_and_the_confusion_are_those_of_scikit_learn(task):
    batch, outputs = random_answers(task)
    score = judged(task, outputs, batch)
    counts = batch.targets != 255
    truth, answer = batch.targets[counts].numpy(), outputs.argmax(1)[counts].numpy()
    ious = jaccard_score(truth, answer, average=None, labels=[0, 1, 2])
    assert score.metric.name == "miou"
    assert score.metric.value == pytest.approx(ious.mean(), abs=1e-12)
    assert list(score.per_class) == list(CLASSES)
    assert list(score.per_class.values()) == pytest.approx(ious.tolist(), abs=1e-12)
    assert np.array_equal(score.confusion.numpy(), confusion_matrix(truth, answer, labels=[0, 1, 2]))
    (accuracy,) = score.others
    assert (accuracy.name, accuracy.value) == ("pixel_accuracy", pytest.approx((truth == answer).mean()))
    assert score.correct is None
    assert score.metric.samples == accuracy.samples == 32
    assert score.metric.provenance is Provenance.MEASURED


def test_a_perfect_network_has_mean_iou_one(task):
    judge = task.judge("validation")
    for batch in task.batches("validation", batch_size=7):
        judge.add(logits_of(batch.targets), batch)
    score = judge.score()
    assert score.metric.value == score.others[0].value == 1.0
    # Every picture shows the rest, fewer one of the two others.
    low, high = score.metric.interval
    assert high == 1.0
    assert 0.5 < low < 0.025 ** (1 / score.metric.samples)
    assert score.loss < 1e-6


def test_a_class_that_is_neither_true_nor_answered_is_left_out_of_the_mean():
    task = task_of([[[0, 0], [1, 1]]])
    batch = next(task.batches("test", batch_size=1))
    score = judged(task, logits_of(torch.tensor([[[0, 0], [0, 1]]])), batch)
    assert score.per_class == pytest.approx({"a": 2 / 3, "b": 1 / 2})
    assert score.metric.value == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_class_that_is_answered_and_never_true_counts_as_zero():
    task = task_of([[[0, 0], [1, 1]]])
    batch = next(task.batches("test", batch_size=1))
    score = judged(task, logits_of(torch.tensor([[[0, 0], [1, 2]]])), batch)
    assert score.per_class == pytest.approx({"a": 1.0, "b": 0.5, "c": 0.0})
    assert score.metric.value == pytest.approx(0.5)


def test_the_layout_of_memory_does_not_change_a_score(task):
    batch, outputs = random_answers(task)
    across = batch.targets.transpose(1, 2).contiguous().transpose(1, 2)
    sideways = outputs.transpose(2, 3).contiguous().transpose(2, 3)

    assert judged(task, sideways, Batch(batch.inputs, across)).metric == judged(task, outputs, batch).metric


def test_ignored_pixels_change_neither_loss_nor_score(task):
    batch, outputs = random_answers(task)
    changed = torch.where((batch.targets == 255)[:, None], 9 * torch.randn(outputs.shape), outputs)
    assert not torch.equal(outputs, changed)
    one, other = judged(task, outputs, batch), judged(task, changed, batch)
    assert one.metric == other.metric
    assert one.loss == pytest.approx(other.loss, rel=1e-6)
    teacher = outputs.flip(0)
    before, after = (float(task.distillation_loss(x, teacher, batch.targets)) for x in (outputs, changed))
    assert before == pytest.approx(after, rel=1e-5)


def test_the_interval_is_a_bootstrap_over_whole_pictures():
    # Half the pictures are all right, half all wrong: a bootstrap over pixels would be far narrower.
    task = task_of([[[0] * 8 + [1] * 8] * 16] * 20, classes=("a", "b"))
    batch = next(task.batches("test", batch_size=20))
    right = logits_of(batch.targets, 2)
    outputs = torch.cat([right[:10], right[10:].flip(1)])
    accuracy = judged(task, outputs, batch).others[0]
    assert accuracy.value == 0.5
    low, high = accuracy.interval
    # Two standard errors of a share of 20 pictures are 0.22.
    assert 0.2 <= low <= 0.35
    assert 0.65 <= high <= 0.8
    assert judged(task, outputs, batch).others[0] == accuracy


def test_a_few_pictures_that_all_went_well_do_not_prove_a_bound():
    task = task_of([[[0, 0], [1, 1]]] * 11, classes=("a", "b"))
    batch = next(task.batches("test", batch_size=11))
    score = judged(task, logits_of(batch.targets, 2), batch)
    for metric in (score.metric, *score.others):
        assert metric.interval == pytest.approx((0.715, 1.0), abs=1e-3)
    verdicts = {
        bound: Requirements({"miou": f">= {bound}"}).judge({"miou": score.metric}).verdicts[0].status
        for bound in (0.7, 0.75)
    }
    assert verdicts == {0.7: VerdictStatus.SATISFIED, 0.75: VerdictStatus.INCONCLUSIVE}


def test_scores_do_not_depend_on_how_samples_are_batched(task):
    torch.manual_seed(0)
    module = TinySegmenter().eval()
    one, other = (task.score(module, "test", batch_size=size) for size in (32, 5))
    assert one.metric == other.metric
    assert one.loss == pytest.approx(other.loss, rel=1e-6)
    assert torch.equal(one.confusion, other.confusion)


def test_pixels_that_are_all_ignored_cannot_be_judged():
    task = task_of([[[0, 1]], [[255, 255]]], classes=("a", "b"))
    batch = Batch(torch.zeros(1, 1, 1, 2), torch.full((1, 1, 2), 255, dtype=torch.uint8))
    with pytest.raises(InputError, match="every pixel of these 1 samples is to be ignored"):
        judged(task, torch.zeros(1, 2, 1, 2), batch)


def test_one_picture_says_nothing_of_others():
    task = task_of([[[0, 0], [1, 1]]], classes=("a", "b"))
    batch = next(task.batches("test", batch_size=1))
    score = judged(task, logits_of(batch.targets, 2), batch)
    assert [metric.interval for metric in (score.metric, *score.others)] == [(0.0, 1.0), (0.0, 1.0)]


def test_pixels_of_classes_that_weigh_nothing_have_no_loss():
    task = task_of([[[0, 1]], [[0, 0]]], classes=("a", "b"), class_weights=(0.0, 1.0))
    batch = next(task.batches("test", batch_size=2))
    score = judged(task, logits_of(batch.targets[1:], 2), Batch(batch.inputs[1:], batch.targets[1:]))
    assert (score.metric.value, score.loss) == (1.0, 0.0)
