import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mask_answers import judged, random_answers, task_of
from shape_scenes import CLASSES, TinySegmenter, scenes, shapes_task

from edgesynth.errors import DataError, InputError
from edgesynth.tasks import (
    Distillation,
    MaskedTensors,
    PairedAugmentation,
    SegmentationTask,
    TrainingPlan,
    fit,
)

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
    for strange in (["a", 1, 1], [[1], 1, 1], [math.inf, 1, 1], [math.nan, 1, 1], 5):
        with pytest.raises(InputError, match=r"one class weight, finite, not below 0 .*, got "):
            shapes_task(class_weights=strange)


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
