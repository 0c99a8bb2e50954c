from dataclasses import replace

import pytest
import torch
from detection_shapes import CLASSES, shapes, shapes_task

from edgesynth import zoo
from edgesynth.errors import DataError, InputError
from edgesynth.tasks import (
    Batch,
    BoxAugmentation,
    BoxedTensorSamples,
    DetectionDistillation,
    DetectionTask,
    Illustrated,
    Postprocessed,
    Task,
    TrainingPlan,
    fit,
)

HEADS = {"centre": "centrenet", "grid": "detectnet"}


def inverse_softplus(value):
    return value.double().expm1().clamp_min(1e-12).log().float()


def perfect(task, targets, confidence=8.0):
    """Outputs of a network that knows the truth, for the strides of the zoo."""
    side = task.input_shape[1]
    strides = (8, 16) if task.head.name == "centre" else (8,)
    count, classes = len(targets["labels"]), len(task.classes)
    outputs = []
    for stride in strides:
        cells = side // stride
        outputs.append(torch.full((count, classes, cells, cells), -confidence))
        outputs.append(torch.zeros(count, 4, cells, cells))
        if task.head.name == "centre":
            outputs.append(torch.full((count, 1, cells, cells), -confidence))
    predictions = task.head.predictions(tuple(outputs), classes, (side, side))
    rows = task.head.assigned(predictions, targets["boxes"], targets["labels"])
    start = 0
    each = len(task.head.channels)
    for level, stride in enumerate(strides):
        cells = side // stride
        for image in range(count):
            for cell in range(cells * cells):
                row = int(rows[image, start + cell])
                if row < 0:
                    continue
                i, j = divmod(cell, cells)
                here = torch.tensor([(j + 0.5) * stride, (i + 0.5) * stride])
                box = targets["boxes"][image, row]
                outputs[each * level][image, targets["labels"][image, row], i, j] = confidence
                if each == 3:
                    away = torch.cat([here - box[:2], box[2:] - here]) / stride
                    outputs[1 + 3 * level][image, :, i, j] = inverse_softplus(away.clamp_min(1e-3))
                    central = (torch.minimum(away[:2], away[2:]) / torch.maximum(away[:2], away[2:])).clamp(
                        0.01
                    )
                    outputs[2 + 3 * level][image, 0, i, j] = central.prod().sqrt().clamp(max=0.99).logit()
                else:
                    outputs[1 + 2 * level][image, :, i, j] = (box - here.repeat(2)) / stride
        start += cells * cells
    return tuple(outputs)


@pytest.fixture(params=HEADS)
def task(request):
    return shapes_task(head=request.param)


def test_it_is_a_task_with_pictures_and_postprocessing(task):
    assert isinstance(task, Task)
    assert isinstance(task, Illustrated)
    assert isinstance(task, Postprocessed)
    assert task.postprocessing["classes"] == list(CLASSES)
    assert task.postprocessing["head"] == task.head.name


def test_targets_are_padded_and_images_without_objects_stay(task):
    batches = list(task.batches("train", batch_size=20))
    assert [len(batch.inputs) for batch in batches] == [16] * 4
    labels = torch.cat([batch.targets["labels"] for batch in batches])
    boxes = torch.cat([batch.targets["boxes"] for batch in batches])
    assert labels.shape == (64, 3)
    assert boxes.shape == (64, 3, 4)
    assert bool((labels == -1).all(1).any())
    samples = shapes(64, seed=1)
    for index in range(64):
        count = len(samples.labels[index])
        assert torch.equal(labels[index, :count], samples.labels[index])
        assert torch.equal(boxes[index, :count], samples.boxes[index])
        assert bool((labels[index, count:] == -1).all())


def test_order_is_fixed_without_shuffle_and_drawn_from_the_seed_with_it(task):
    def first(**options):
        return next(task.batches("train", batch_size=8, **options)).inputs

    assert torch.equal(first(), first())
    assert torch.equal(first(shuffle=True, seed=3), first(shuffle=True, seed=3))
    assert not torch.equal(first(shuffle=True, seed=3), first(shuffle=True, seed=4))


def test_a_limit_takes_a_representative_subset(task):
    part = [b.targets["labels"] for b in task.batches("train", batch_size=64, limit=16)]
    labels = torch.cat(part)
    assert len(labels) == 16
    assert set(labels.flatten().tolist()) == {-1, 0, 1, 2}


@pytest.mark.parametrize("name", HEADS)
def test_a_network_that_knows_everything_is_perfect(name):
    task = shapes_task(head=name)
    judge = task.judge("validation")
    for batch in task.batches("validation", batch_size=10):
        judge.add(perfect(task, batch.targets), batch)
    score = judge.score()
    assert score.metric.name == "map50"
    assert score.metric.value == pytest.approx(1.0)
    assert score.metric.interval == pytest.approx((1.0, 1.0))
    # An edge of the grid's cells may make a box inexact; those of shapes are whole pixels.
    assert score.others[0].name == "map"
    assert score.others[0].value > 0.95
    assert set(score.per_class) == set(score.curves) == set(CLASSES)
    assert score.correct is None


def test_the_mean_over_overlaps_may_be_the_metric():
    task = shapes_task(metric="map")
    judge = task.judge("test")
    batch = next(task.batches("test", batch_size=24))
    # Boxes that are a little too wide: right at an overlap of .5, wrong at .95.
    scale = torch.tensor([1.1, 1.0, 1.1, 1.0]).view(1, 4, 1, 1)
    judge.add(
        tuple(part * scale if part.shape[1] == 4 else part for part in perfect(task, batch.targets)), batch
    )
    score = judge.score()
    assert (score.metric.name, score.others[0].name) == ("map", "map50")
    assert score.metric.samples == 24
    assert score.metric.value < score.others[0].value - 0.05
    assert sum(score.per_class.values()) / len(score.per_class) == pytest.approx(score.metric.value)


def test_outputs_heard_batch_by_batch_are_judged_as_at_once(task):
    torch.manual_seed(0)
    module = zoo.build(HEADS[task.head.name], in_channels=3, classes=3)
    one, other = (task.score(module, "validation", batch_size=size) for size in (5, 24))
    assert one.metric == other.metric
    assert one.per_class == other.per_class


def test_the_loss_is_small_for_the_truth_and_large_for_its_opposite(task):
    batch = next(task.batches("train", batch_size=16))
    right = perfect(task, batch.targets)
    flipped = tuple(-part for part in right)
    # Centreness between 0 and 1 keeps its own entropy.
    assert float(task.loss(right, batch.targets)) < 0.7
    assert float(task.loss(flipped, batch.targets)) > 3.0


def test_a_batch_without_objects_has_a_finite_loss_and_gradient(task):
    outputs = perfect(task, next(task.batches("train", batch_size=4)).targets, confidence=2.0)
    outputs = tuple(part[:1].clone().requires_grad_() for part in outputs)
    nothing = {"boxes": torch.zeros(1, 3, 4), "labels": torch.full((1, 3), -1)}
    loss = task.loss(outputs, nothing)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(part.grad).all() for part in outputs if part.grad is not None)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_a_short_training_finds_shapes(name):
    torch.manual_seed(0)
    task = shapes_task(96, head=name)
    module = zoo.build(HEADS[name], in_channels=3, classes=3)
    before = task.score(module, "train").metric.value
    record = fit(module, task, TrainingPlan(epochs=3, batch_size=16, learning_rate=0.05, augment=False))
    after = task.score(module, "train").metric.value
    assert record.loss < record.epochs[0].loss
    assert after > before + 0.05


def test_a_teacher_that_agrees_asks_for_nothing(task):
    outputs = perfect(task, next(task.batches("train", batch_size=8)).targets)
    nothing = {"boxes": torch.zeros(8, 3, 4), "labels": torch.full((8, 3), -1)}
    full = shapes_task(head=task.head.name, distillation=DetectionDistillation(weight=1.0))
    student = tuple(part.clone().requires_grad_() for part in outputs)
    full.distillation_loss(student, outputs, nothing).backward()
    for name, part in zip(task.head.channels * 2, student, strict=False):
        if name not in ("distances", "offsets"):
            assert float(part.grad.abs().max()) < 1e-6


def test_a_teacher_pulls_a_student_towards_itself(task):
    batch = next(task.batches("train", batch_size=8))
    teacher = perfect(task, batch.targets)
    nothing = {"boxes": torch.zeros(8, 3, 4), "labels": torch.full((8, 3), -1)}
    full = shapes_task(head=task.head.name, distillation=DetectionDistillation(weight=1.0))
    student = [torch.zeros_like(part).requires_grad_() for part in teacher]
    optimizer = torch.optim.Adam(student, lr=0.2)
    for _ in range(150):
        optimizer.zero_grad()
        full.distillation_loss(tuple(student), teacher, nothing).backward()
        optimizer.step()
    judge = full.judge("train")
    judge.add(tuple(part.detach() for part in student), batch)
    assert judge.score().metric.value > 0.95


def test_a_teacher_with_other_cells_is_refused():
    task = shapes_task(head="grid")
    batch = next(task.batches("train", batch_size=2))
    fine, coarse = ((torch.zeros(2, 3, n, n, requires_grad=True), torch.zeros(2, 4, n, n)) for n in (8, 4))
    with pytest.raises(
        InputError, match=r"teacher has cells of strides \[16\], the student of strides \[8\]"
    ):
        task.distillation_loss(fine, coarse, batch.targets)


@pytest.mark.parametrize(
    ("head", "outputs", "message"),
    [
        ("centre", (torch.zeros(2, 3, 8, 8),), "got 1 tensors"),
        ("centre", (), "got 0 tensors"),
        ("grid", (torch.zeros(2, 5, 8, 8), torch.zeros(2, 4, 8, 8)), r"shape \[2, 5, 8, 8\] as output 0"),
        ("grid", (torch.zeros(2, 3, 8, 8), torch.zeros(2, 4, 4, 4)), r"shape \[2, 4, 4, 4\] as output 1"),
        ("grid", (torch.zeros(2, 3, 7, 7), torch.zeros(2, 4, 7, 7)), "no one whole stride"),
        ("grid", torch.zeros(2, 10), "got 1 tensors"),
    ],
)
def test_outputs_of_another_kind_are_refused(head, outputs, message):
    task = shapes_task(head=head)
    targets = next(task.batches("train", batch_size=2)).targets
    with pytest.raises(InputError, match=message):
        task.loss(outputs, targets)


def test_nothing_heard_and_nothing_to_find_are_said():
    task = shapes_task()
    with pytest.raises(InputError, match="no outputs were given"):
        task.judge("test").score()
    nothing = {"boxes": torch.zeros(2, 3, 4), "labels": torch.full((2, 3), -1)}
    judge = task.judge("test")
    judge.add(perfect(task, nothing), Batch(torch.zeros(2, 3, 64, 64), nothing))
    with pytest.raises(InputError, match="none of the 2 images shows an object"):
        judge.score()


def test_answers_are_drawn_and_told(task):
    batch = next(task.batches("validation", batch_size=24))
    truths = task.truths(batch.targets)
    answers = task.answers(perfect(task, batch.targets))
    pictures = task.images(batch.inputs)
    assert pictures.dtype == torch.uint8
    full = max(range(24), key=lambda index: len(truths[index].labels))
    count = len(truths[full].labels)
    assert answers[full].caption(truths[full]) == f"{count} of {count} found, 0 false"
    drawn = answers[full].drawn_on(pictures[full])
    assert drawn.shape == pictures[full].shape
    assert not torch.equal(drawn, pictures[full])
    empty = next(index for index in range(24) if not len(truths[index].labels))
    assert truths[empty].caption(truths[empty]) == "nothing"
    assert torch.equal(truths[empty].drawn_on(pictures[empty]), pictures[empty])
    wrong = replace(answers[full], labels=(answers[full].labels + 1) % 3)
    assert wrong.caption(truths[full]) == f"0 of {count} found, {count} false"


def test_a_wrong_box_looks_different_from_a_right_one():
    task = shapes_task()
    batch = next(task.batches("validation", batch_size=24))
    truth = next(truth for truth in task.truths(batch.targets) if len(truth.labels))
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    answer = replace(truth, scores=torch.ones(len(truth.labels)))
    moved = replace(answer, boxes=truth.boxes, labels=(truth.labels + 1) % 3)
    solid, dashed = answer.against(truth).drawn_on(image), moved.against(truth).drawn_on(image)
    assert 0 < int((dashed.sum(0) > 0).sum()) < int((solid.sum(0) > 0).sum())


def test_missed_objects_and_the_colours_of_classes_are_told():
    task = shapes_task()
    batch = next(task.batches("validation", batch_size=24))
    truth = next(truth for truth in task.truths(batch.targets) if len(truth.labels))
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    none = replace(truth, boxes=truth.boxes[:0], labels=truth.labels[:0], scores=torch.zeros(0))
    white = (none.against(truth).drawn_on(image) == 255).all(0)
    assert 0 < int(white.sum()) < int((truth.drawn_on(image).sum(0) > 0).sum())
    assert not (truth.against(truth).drawn_on(image) == 255).all(0).any()
    drawn = {tuple(pixel) for pixel in truth.drawn_on(image).flatten(1).T.tolist()} - {(0, 0, 0)}
    assert drawn == set(truth.colours().values())
    assert set(truth.colours()) == {CLASSES[label] for label in truth.labels.tolist()}


SAMPLES = shapes(8, seed=5)


def bad(**changes):
    arguments = dict.fromkeys(("train", "validation", "test"), SAMPLES) | {"classes": CLASSES} | changes
    return DetectionTask("bad", **arguments)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: bad(classes=("a",)), DataError, r"labels run from \d to 2, but there are 1 classes"),
        (lambda: bad(classes=()), DataError, "no class to find"),
        (
            lambda: bad(test=SAMPLES.subset(torch.zeros(0, dtype=torch.int64))),
            DataError,
            "test split is empty",
        ),
        (lambda: bad(test=shapes(4, seed=1, side=48)), DataError, r"shape \(3, 48, 48\)"),
        (
            lambda: bad(
                train=BoxedTensorSamples(SAMPLES.inputs, [torch.zeros(0, 4)] * 8, [torch.zeros(0)] * 8)
            ),
            DataError,
            "show no object",
        ),
        (lambda: bad(head="corner"), InputError, "unknown detection head 'corner'; there are centre, grid"),
        (lambda: bad(metric="accuracy"), InputError, "map50 or map, not 'accuracy'"),
        (lambda: bad(nms_iou=2.0), InputError, "nms_iou in"),
        (lambda: DetectionDistillation(weight=2), InputError, "weight in"),
        (lambda: BoxAugmentation(scale=(2.0, 1.0)), InputError, "least and a largest"),
        (lambda: BoxAugmentation(shift=1.5), InputError, "shares in"),
        (
            lambda: BoxedTensorSamples(SAMPLES.inputs, SAMPLES.boxes[:3], SAMPLES.labels),
            DataError,
            "8 images come with 3",
        ),
        (
            lambda: BoxedTensorSamples(SAMPLES.inputs.float(), SAMPLES.boxes, SAMPLES.labels),
            DataError,
            "are uint8",
        ),
        (
            lambda: BoxedTensorSamples(
                SAMPLES.inputs[:1], [torch.tensor([[3.0, 3, 3, 9]])], [torch.tensor([0])]
            ),
            DataError,
            "image 0 has a box without area",
        ),
        (
            lambda: BoxedTensorSamples(
                SAMPLES.inputs[:1], [torch.tensor([[3.0, 3, 90, 9]])], [torch.tensor([0])]
            ),
            DataError,
            "64x64 and has a box that leaves it",
        ),
        (
            lambda: BoxedTensorSamples(
                SAMPLES.inputs[:1], [torch.tensor([[3.0, 3, 9, 9]])], [torch.tensor([0.5])]
            ),
            DataError,
            "one class index per box",
        ),
    ],
)
def test_bad_input_is_told_in_one_line(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_unknown_split_is_refused(task):
    with pytest.raises(InputError, match="unknown split 'dev'"):
        task.size("dev")
