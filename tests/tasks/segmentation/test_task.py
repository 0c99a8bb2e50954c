import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from shape_scenes import CLASSES, TinySegmenter, scenes, shapes_task
from sklearn.metrics import confusion_matrix, jaccard_score

from edgesynth.errors import DataError, InputError
from edgesynth.metrics import Provenance
from edgesynth.tasks import (
    Batch,
    Distillation,
    MaskedTensors,
    PairedAugmentation,
    SegmentationTask,
    TrainingPlan,
    fit,
)
from edgesynth.tasks.images import class_colours
from edgesynth.tasks.segmentation import MaskAnswer


@pytest.fixture(scope="module")
def task():
    return shapes_task()


def logits_of(masks, classes=3):
    """Sure answers."""
    return 20.0 * F.one_hot(masks.long().clamp_max(classes - 1), classes).permute(0, 3, 1, 2).float()


def random_answers(task, split="test", seed=0):
    generator = torch.Generator().manual_seed(seed)
    batch = next(task.batches(split, batch_size=64))
    return batch, torch.randn(len(batch.targets), 3, *batch.targets.shape[1:], generator=generator)


def task_of(masks, classes=("a", "b", "c"), **options):
    """The same masks in every split."""
    masks = torch.as_tensor(masks, dtype=torch.uint8)
    part = MaskedTensors(torch.zeros(len(masks), 1, *masks.shape[1:], dtype=torch.uint8), masks)
    return SegmentationTask("tiny", train=part, validation=part, test=part, classes=classes, **options)


def judged(task, outputs, batch):
    judge = task.judge("test")
    judge.add(outputs, batch)
    return judge.score()


# --- metrics ---


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
    assert score.metric.interval == (1.0, 1.0)
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


# --- loss ---


def test_the_loss_is_cross_entropy_over_the_pixels_that_count(task):
    batch, outputs = random_answers(task)
    expected = F.cross_entropy(outputs, batch.targets.long(), ignore_index=255)
    assert float(task.loss(outputs, batch.targets)) == pytest.approx(float(expected), rel=1e-6)


def test_class_weights_weigh_pixels():
    task = shapes_task(class_weights=[1.0, 5.0, 2.0])
    batch, outputs = random_answers(task)
    weight = torch.tensor([1.0, 5.0, 2.0])
    expected = F.cross_entropy(outputs, batch.targets.long(), weight=weight, ignore_index=255)
    assert float(task.loss(outputs, batch.targets)) == pytest.approx(float(expected), rel=1e-6)
    assert judged(task, outputs, batch).loss == pytest.approx(float(expected), rel=1e-6)


def test_balanced_weights_favour_rare_classes_within_bounds():
    task = shapes_task(class_weights="balanced")
    pixels = scenes(96, 1).counts[:, :3].sum(0).double()
    share = pixels / pixels.sum()
    assert task.class_weights.tolist() == pytest.approx((1 / (1.02 + share).log()).tolist(), rel=1e-6)
    assert task.class_weights.argmin() == share.argmax()
    with pytest.raises(InputError, match="one number per class, got 'even'"):
        shapes_task(class_weights="even")
    for wrong in ([1.0, 2.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [math.nan, 1.0, 1.0]):
        with pytest.raises(InputError, match="for each of 3 classes"):
            shapes_task(class_weights=wrong)


def test_a_batch_of_ignored_pixels_alone_has_no_loss_and_no_gradient(task):
    outputs = torch.randn(2, 3, 32, 32, requires_grad=True)
    nothing = torch.full((2, 32, 32), 255, dtype=torch.uint8)
    loss = task.distillation_loss(outputs, torch.randn(2, 3, 32, 32), nothing)
    loss.backward()
    assert loss.item() == 0
    assert not outputs.grad.any()


def test_distillation_adds_the_divergence_of_each_pixel():
    task = shapes_task(distillation=Distillation(weight=0.25, temperature=2.0))
    batch, outputs = random_answers(task)
    teacher = torch.randn(outputs.shape)
    counts = batch.targets != 255
    student, said = ((x / 2).softmax(1).permute(0, 2, 3, 1)[counts] for x in (outputs, teacher))
    divergence = (said * (said / student).log()).sum(1).mean()
    expected = 0.75 * float(task.loss(outputs, batch.targets)) + 0.25 * 4 * float(divergence)
    assert float(task.distillation_loss(outputs, teacher, batch.targets)) == pytest.approx(expected, rel=1e-5)
    plain = shapes_task(distillation=Distillation(weight=0))
    assert plain.distillation_loss(outputs, teacher, batch.targets) == plain.loss(outputs, batch.targets)


# --- outputs of another size ---


def test_smaller_outputs_are_magnified_bilinearly(task):
    batch, _ = random_answers(task)
    small = torch.randn(len(batch.targets), 3, 8, 8)
    large = F.interpolate(small, scale_factor=4, mode="bilinear", align_corners=False)
    assert task.loss(small, batch.targets) == task.loss(large, batch.targets)
    assert torch.equal(task.answers(small)[0].mask, large[0].argmax(0).to(torch.uint8))
    half = torch.randn(len(batch.targets), 3, 16, 16)
    assert task.distillation_loss(half, small, batch.targets).isfinite()


@pytest.mark.parametrize("shape", [(4, 3, 24, 24), (4, 3, 64, 64), (4, 3, 16, 8), (4, 4, 32, 32), (4, 3)])
def test_outputs_of_any_other_shape_are_refused(task, shape):
    targets = torch.zeros(4, 32, 32, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"needs logits of shape \[batch, 3, 32, 32\].*whole factor"):
        task.loss(torch.zeros(shape), targets)
    with pytest.raises(InputError, match="got tuple"):
        task.loss((torch.zeros(4, 3, 32, 32),), targets)


# --- data ---


def test_the_limited_subset_shows_the_rare_classes_in_proportion():
    masks = np.zeros((60, 4, 4), dtype=np.uint8)
    masks[:, 0] = 1
    masks[-6:, 0, 0] = 2
    task = task_of(masks)
    (batch,) = task.batches("test", batch_size=60, limit=20)
    # Six in sixty, so two in twenty; a plain draw would have none one time in twelve.
    assert int((batch.targets == 2).any(2).any(1).sum()) == 2


def test_pictures_and_masks_are_varied_together_in_training_alone():
    task = shapes_task(augmentation=PairedAugmentation(flip=True, shift=4))
    plain = next(task.batches("train", batch_size=96))
    varied = next(task.batches("train", batch_size=96, augment=True, seed=1))
    again = next(task.batches("train", batch_size=96, augment=True, seed=1))
    assert not torch.equal(plain.targets, varied.targets)
    assert torch.equal(varied.targets, again.targets)
    assert torch.equal(varied.inputs, again.inputs)


def test_values_outside_the_classes_are_named():
    with pytest.raises(DataError, match=r"mask of train sample 1 holds the value 7, .* 2 classes \(0 to 1\)"):
        task_of([[[0, 1]], [[0, 7]]], classes=("a", "b"))


def test_what_nobody_can_learn_from_is_refused():
    parts = {"train": scenes(4, 0), "validation": scenes(2, 2), "test": scenes(2, 1)}
    empty = scenes(1, 0).subset(torch.arange(0))
    with pytest.raises(DataError, match="validation split is empty"):
        SegmentationTask("x", classes=CLASSES, **{**parts, "validation": empty})
    with pytest.raises(DataError, match="test samples have shape"):
        SegmentationTask("x", classes=CLASSES, **{**parts, "test": scenes(2, 0, side=16)})
    with pytest.raises(DataError, match="no pixel of the train split is labelled"):
        task_of([[[255, 255]]])
    with pytest.raises(DataError, match=r"all show one class \('b'\)"):
        task_of([[[1, 255]]])
    with pytest.raises(InputError, match="4 classes and ignore label 3"):
        task_of([[[0, 1]]], classes=tuple("abcd"), ignore_label=3)
    with pytest.raises(InputError, match="class names must differ, got a, b, a"):
        task_of([[[0, 1]]], classes=("a", "b", "a"))
    with pytest.raises(InputError, match="1 classes"):
        task_of([[[0, 0]]], classes=("a",))


def test_pictures_and_masks_must_belong_together():
    pictures = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(DataError, match=r"masks must be uint8 of shape \[2, 4, 4\].*\[2, 4, 5\]"):
        MaskedTensors(pictures, torch.zeros(2, 4, 5, dtype=torch.uint8))
    with pytest.raises(DataError, match=r"masks must be uint8.*int64"):
        MaskedTensors(pictures, torch.zeros(2, 4, 4, dtype=torch.int64))
    with pytest.raises(DataError, match=r"pictures must be uint8.*float32"):
        MaskedTensors(pictures.float(), torch.zeros(2, 4, 4, dtype=torch.uint8))


# --- answers ---


def test_a_caption_gives_the_pictures_own_figures(task):
    batch, outputs = random_answers(task)
    answer, truth = task.answers(outputs)[0], task.truths(batch.targets)[0]
    score = judged(task, outputs[:1], Batch(batch.inputs[:1], batch.targets[:1]))
    assert answer.caption(truth) == f"mIoU {score.metric.value:.0%}, pixels {score.others[0].value:.0%}"
    assert truth.caption(truth).split(", ")[0] == "ground"
    assert set(truth.caption(truth).split(", ")) == set(CLASSES)


def test_classes_are_drawn_over_the_picture_and_ignored_pixels_left_as_they_are():
    task = task_of([[[0, 1], [2, 255]]])
    truth = task.truths(next(task.batches("test", batch_size=1)).targets)[0]
    picture = torch.full((3, 2, 2), 100, dtype=torch.uint8)
    drawn = truth.drawn_on(picture)
    assert drawn.dtype == torch.uint8
    assert drawn[:, 1, 1].tolist() == [100] * 3
    assert len({tuple(drawn[:, row, column].tolist()) for row, column in ((0, 0), (0, 1), (1, 0))}) == 3
    # A larger picture gets the same mask.
    large = truth.drawn_on(picture.repeat_interleave(3, 1).repeat_interleave(3, 2))
    assert torch.equal(large[:, ::3, ::3], drawn)


def test_a_class_keeps_its_colour_on_a_picture_of_any_colour():
    task = task_of([[[0, 1], [2, 255]]])
    truth = task.truths(next(task.batches("test", batch_size=1)).targets)[0]
    red, blue = (torch.zeros(3, 2, 2, dtype=torch.uint8) for _ in range(2))
    red[0], blue[2] = 240, 240
    assert torch.equal(truth.drawn_on(red)[:, 0], truth.drawn_on(blue)[:, 0])
    assert not torch.equal(truth.drawn_on(red)[:, 1, 1], truth.drawn_on(blue)[:, 1, 1])  # does not count
    assert truth.colours() == dict(zip(task.classes, map(tuple, class_colours(3).tolist()), strict=True))


def test_the_background_stays_without_colour():
    answer = MaskAnswer(torch.tensor([[0, 1]], dtype=torch.uint8), ("Background", "disc"))
    grey, coloured = answer.drawn_on(torch.full((3, 1, 2), 100, dtype=torch.uint8)).unbind(2)
    assert len(set(grey.flatten().tolist())) == 1
    assert len(set(coloured.flatten().tolist())) > 1
    assert answer.colours() == {"Background": None, "disc": tuple(class_colours(2)[1].tolist())}


def test_wrong_pixels_are_hatched_and_right_ones_are_not():
    classes = ("background", "disc")
    truth = MaskAnswer(torch.zeros(8, 8, dtype=torch.uint8), classes, given=True)
    truth.mask[:, 7] = 255
    answer = MaskAnswer(torch.ones(8, 8, dtype=torch.uint8), classes)
    picture = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    plain, told = answer.drawn_on(picture), answer.against(truth).drawn_on(picture)
    hatched = (plain != told).any(0)
    assert 0 < int(hatched[:, :7].sum()) < 7 * 8 / 2
    assert not hatched[:, 7].any()
    assert torch.equal(truth.against(truth).drawn_on(picture), truth.drawn_on(picture))


def test_a_class_has_one_colour_whatever_the_others_are():
    assert torch.equal(class_colours(24)[:3], class_colours(3))
    assert len(class_colours(24).unique(dim=0)) == 24
    assert torch.equal(class_colours(30)[24:], class_colours(6))


def test_a_network_learns_the_shapes():
    task = shapes_task(train=64, augmentation=PairedAugmentation(flip=True, shift=2))
    torch.manual_seed(0)
    module = TinySegmenter()
    fit(module, task, TrainingPlan(epochs=6, batch_size=16, learning_rate=0.1))
    score = task.score(module, "test")
    # A network that answers the ground everywhere has about 0.29.
    assert score.metric.value > 0.8
    low, high = score.metric.interval
    assert low < score.metric.value < high
