import pytest
import torch
from detection_answers import HEADS, perfect
from detection_shapes import CLASSES, shapes, shapes_task

from edgesynth import zoo
from edgesynth.errors import DataError, InputError
from edgesynth.tasks import (
    BoxAugmentation,
    BoxedTensorSamples,
    BoxMark,
    DataDescription,
    DetectionDistillation,
    DetectionTask,
    Illustrated,
    Postprocessed,
    Task,
    TrainingPlan,
    fit,
)
from edgesynth.tasks.division import stratified_order


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


def test_one_crowded_image_fills_no_batch_but_its_own():
    crowded = rarely(64, {3: [0] * 5000, 20: [1], 40: [2]})
    task = DetectionTask("crowded", train=crowded, validation=crowded, test=crowded, classes=CLASSES)
    rows = [b.targets["labels"].shape[1] for b in task.batches("train", batch_size=16)]
    assert rows == [5000, 100, 100, 100]


@pytest.mark.parametrize(
    ("train", "test", "most", "told"),
    [
        (100, 3, 100, ""),
        (256, 3, 256, ""),
        (3, 130, 100, "at most 100 objects of an image are found, the fullest image has 130"),
        (1500, 3, 1000, "at most 1,000 objects of an image are found, the fullest image has 1,500"),
    ],
)
def test_as_many_objects_are_found_as_the_fullest_image_has(train, test, most, told):
    parts = {"train": rarely(2, {1: [0] * train}), "test": rarely(2, {1: [0] * test})}
    task = DetectionTask("full", **parts, validation=rarely(2, {1: [0]}), classes=("a",))
    assert task.max_detections == task.postprocessing["max_detections"] == most
    assert task.description.division == told
    given = DetectionTask("full", **parts, validation=parts["test"], classes=("a",), max_detections=7)
    assert given.max_detections == 7


def test_crowds_need_no_detections():
    samples = rarely(2, {1: [0] * 300})
    marks = [torch.zeros(0), torch.tensor([0, 1] + [2] * 298)]
    marked = BoxedTensorSamples(samples.inputs, samples.boxes, samples.labels, marks)
    task = DetectionTask("full", train=marked, validation=marked, test=marked, classes=("a",))
    assert task.max_detections == 100


def test_a_perfect_detector_of_a_full_image_is_perfect():
    places = torch.arange(256)
    corner = torch.stack([places % 16, places // 16], -1) * 8.0
    boxes = torch.cat([corner + 1, corner + 7], -1)
    labels = torch.zeros(256, dtype=torch.int64)
    inputs = torch.zeros(2, 3, 128, 128, dtype=torch.uint8)
    full = BoxedTensorSamples(inputs, [boxes] * 2, [labels] * 2)
    task = DetectionTask("full", train=full, validation=full, test=full, classes=("a",), head="grid")
    judge = task.judge("test")
    for batch in task.batches("test", batch_size=2):
        judge.add(perfect(task, batch.targets), batch)
    assert judge.score().metric.value == pytest.approx(1.0)


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


def rarely(count, shown):
    """Images without objects, but for some: by index, the classes each shows."""
    labels = [torch.tensor(shown.get(index, []), dtype=torch.int64) for index in range(count)]
    boxes = [torch.tensor([[3.0, 3, 20, 20]]).expand(len(part), 4) for part in labels]
    inputs = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    return BoxedTensorSamples(inputs, boxes, labels)


@pytest.mark.parametrize("limit", [3, 50, 299])
def test_a_limit_leaves_no_class_out_however_rare(limit):
    common = {index: [1] for index in range(100, 160)}
    samples = rarely(300, {7: [0], 201: [2]} | common)
    task = DetectionTask("rare", train=samples, validation=samples, test=samples, classes=CLASSES)
    labels = torch.cat(
        [b.targets["labels"].flatten() for b in task.batches("validation", batch_size=64, limit=limit)]
    )
    assert set(labels.tolist()) >= {0, 1, 2}
    # The rest is in proportion.
    assert abs(int((labels == 1).sum()) - limit / 5) < 2


def test_a_limit_that_shows_every_class_takes_the_images_it_always_took(task):
    labels = shapes(64, seed=1).labels
    counts = torch.bincount(torch.cat(labels))
    rarest = torch.tensor([int(part[counts[part].argmin()]) if len(part) else 3 for part in labels])
    order = stratified_order(rarest, seed=0)
    for limit in (12, 20, 40):
        first = order[:limit].sort().values
        assert set(torch.cat([labels[i] for i in first]).tolist()) == {0, 1, 2}
        taken = torch.cat([b.targets["labels"] for b in task.batches("train", batch_size=64, limit=limit)])
        for row, index in zip(taken, first.tolist(), strict=True):
            assert row[row >= 0].tolist() == labels[index].tolist()


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


SAMPLES = shapes(8, seed=5)


HELD = {"test": rarely(8, {2: [1]})}


def taught_by_crowds():
    samples = rarely(8, {1: [0], 2: [1]})
    marks = [torch.where(part == 1, BoxMark.CROWD, BoxMark.OBJECT) for part in samples.labels]
    return BoxedTensorSamples(samples.inputs, samples.boxes, samples.labels, marks)


def test_named_data_may_be_shortened_to_images_without_a_class():
    parts = {"train": rarely(8, {1: [0]}), "validation": HELD["test"], "test": HELD["test"]}
    named = DataDescription("named", "real", "somewhere")
    assert DetectionTask("named", **parts, classes=CLASSES, description=named).size("train") == 8
    with pytest.raises(DataError, match="test images show"):
        DetectionTask("mine", **parts | {"validation": parts["train"]}, classes=CLASSES)


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
            "none of the 8 train images shows an object",
        ),
        (
            lambda: bad(train=rarely(8, {1: [1]}), validation=rarely(8, {1: [2, 1, 0]}), **HELD),
            DataError,
            "validation images show 'square', 'cross', of which no train image has an object",
        ),
        (
            lambda: bad(train=taught_by_crowds(), **dict.fromkeys(("validation", "test"), HELD["test"])),
            DataError,
            "validation images show 'disc', of which no train",
        ),
        (lambda: bad(head="corner"), InputError, "unknown detection head 'corner'; there are centre, grid"),
        (lambda: bad(metric="accuracy"), InputError, "map50 or map, not 'accuracy'"),
        (lambda: bad(nms_iou=2.0), InputError, "nms_iou in"),
        (lambda: bad(max_detections=0), InputError, "max_detections is at least 1"),
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
