"""Crowds and difficult objects: in data, in the loss, in precision, in pictures."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from detection_answers import HEADS, perfect
from detection_shapes import CLASSES, shapes
from PIL import Image

from edgesynth import zoo
from edgesynth.errors import DataError, InputError
from edgesynth.tasks import Batch, BoxAugmentation, BoxedTensorSamples, BoxMark, DetectionTask, load_boxes
from edgesynth.tasks.detection.average_precision import (
    IOU_THRESHOLDS,
    ImageBoxes,
    average_precision,
    class_precision,
    matches,
)


def scene(seed, mark, images=30, classes=3):
    """Objects, some of them marked, and detections near them and inside the marked ones."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(images):
        count = rng.integers(0, 6)
        corners = rng.uniform(0, 60, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(10, 50, (count, 2))], 1)
        labels, marks = rng.integers(0, classes, count), np.where(rng.random(count) < 0.4, mark, 0)
        truth.append(ImageBoxes(boxes, labels, marks=marks))
        near = np.repeat(boxes, 2, axis=0) + rng.normal(0, 3, (2 * count, 4))
        # Small boxes inside, of which a crowd excuses many and an object none.
        within = np.repeat(boxes[:, :2], 3, axis=0) + rng.uniform(0, 8, (3 * count, 2))
        near = np.concatenate([near, np.concatenate([within, within + 6], 1)])
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        said = np.concatenate([np.repeat(labels, 2), np.repeat(labels, 3)])
        found.append(ImageBoxes(near, said, rng.random(len(said)).round(1)))
    return found, truth


def coco_precision(found, truth, classes):
    """``[10, 101, classes]``: what pycocotools itself says of annotations with ``iscrowd``."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def listed(images, score):
        rows = []
        for index, image in enumerate(images):
            for row, (x0, y0, x1, y1) in enumerate(image.boxes.tolist()):
                extra = (
                    {"score": float(image.scores[row])} if score else {"iscrowd": int(image.marks[row] > 0)}
                )
                rows.append(
                    {
                        "id": len(rows) + 1,
                        "image_id": index,
                        "category_id": int(image.labels[row]),
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": (x1 - x0) * (y1 - y0),
                        **extra,
                    }
                )
        return rows

    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            "info": {},
            "images": [{"id": index} for index in range(len(truth))],
            "categories": [{"id": index} for index in range(classes)],
            "annotations": listed(truth, score=False),
        }
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(listed(found, score=True)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    # All areas, at most 100 detections.
    return evaluation.eval["precision"][:, :, :, 0, 2]


@pytest.mark.parametrize("seed", range(4))
def test_precision_beside_crowds_is_that_of_pycocotools(seed):
    found, truth = scene(seed, int(BoxMark.CROWD))
    matched, table = matches(found, truth, 3, max_detections=100)
    theirs = coco_precision(found, truth, 3)
    assert np.array_equal(table, theirs)
    for index, each in enumerate(matched):
        assert class_precision(each) == pytest.approx(theirs[:, :, index].mean(1), abs=1e-12)
    assert average_precision(matched) == pytest.approx(theirs.mean(), abs=1e-12)
    plain = [ImageBoxes(image.boxes, image.labels) for image in truth]
    assert average_precision(matched) != average_precision(matches(found, plain, 3, max_detections=100)[0])


def voc_precision(found, truth, label, least):
    """The rule of the VOC development kit: the object of the largest overlap decides, and is found once."""

    def iou(one, other):
        low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
        common = np.clip(high - low, 0, None).prod()
        return common / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - common)

    answers = sorted(
        (
            (-score, image, row)
            for image, each in enumerate(found)
            for row, score in enumerate(each.scores)
            if each.labels[row] == label
        ),
        key=lambda answer: answer[0],
    )
    hits, taken = [], set()
    for _, image, row in answers:
        rivals = [k for k in range(len(truth[image].labels)) if truth[image].labels[k] == label]
        overlaps = [iou(found[image].boxes[row], truth[image].boxes[k]) for k in rivals]
        best = int(np.argmax(overlaps)) if rivals else -1
        if best < 0 or overlaps[best] < least:
            hits.append(False)
        elif truth[image].marks[rivals[best]] == 0:
            hits.append((image, rivals[best]) not in taken)
            taken.add((image, rivals[best]))
    total = sum(int(((image.labels == label) & (image.marks == 0)).sum()) for image in truth)
    right = np.cumsum(hits)
    precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
    grid = np.searchsorted(right / total, np.linspace(0, 1, 101))
    return np.where(grid < len(precision), precision[np.minimum(grid, len(precision) - 1)], 0.0).mean()


def test_difficult_objects_are_left_out_as_the_voc_development_kit_does():
    """Objects far apart, so that the order in which rivals are looked at does not matter."""
    rng = np.random.default_rng(5)
    truth, found = [], []
    for _ in range(40):
        boxes = np.array([[x, 0.0, x + 20, 20.0] for x in (0, 50, 100, 150)])
        marks = np.where(rng.random(4) < 0.5, int(BoxMark.DIFFICULT), 0)
        truth.append(ImageBoxes(boxes, np.zeros(4, np.int64), marks=marks))
        # One answer per object, some off; twice on the difficult; and a small one inside each of them.
        near = boxes + rng.normal(0, 3, (4, 1))
        again = boxes[marks > 0] + 1.0
        small = boxes[marks > 0] * [1, 0, 1, 0] + [4, 4, -10, 10]
        all_found = np.concatenate([near, again, small])
        found.append(ImageBoxes(all_found, np.zeros(len(all_found), np.int64), rng.random(len(all_found))))
    (matched,), _ = matches(found, truth, 1, max_detections=100)
    ours = class_precision(matched)
    for index, least in enumerate(IOU_THRESHOLDS[:3]):
        assert ours[index] == pytest.approx(voc_precision(found, truth, 0, least), abs=1e-9)


def marked(samples, mark, every=2):
    """The same with every second box marked."""
    marks = [torch.where(torch.arange(len(part)) % every == 0, int(mark), 0) for part in samples.labels]
    return BoxedTensorSamples(samples.inputs, samples.boxes, samples.labels, marks)


def task_of(mark, **options):
    parts = [marked(shapes(count, seed=seed), mark) for seed, count in enumerate((32, 24, 24))]
    return DetectionTask(
        "shapes", train=parts[0], validation=parts[1], test=parts[2], classes=CLASSES, **options
    )


def only_objects(targets):
    """Targets that say nothing of what is to be left alone."""
    labels = torch.where(targets["difficult"], -1, targets["labels"].clamp_min(-1))
    return {"boxes": targets["boxes"], "labels": labels}


@pytest.mark.parametrize("head", HEADS)
def test_a_network_that_finds_everything_is_perfect_beside_what_is_left_alone(head):
    for mark in (BoxMark.CROWD, BoxMark.DIFFICULT):
        task = task_of(mark, head=head)
        batch = next(task.batches("test", batch_size=24))
        everything = {
            **batch.targets,
            "labels": torch.where(
                batch.targets["labels"] < -1, -2 - batch.targets["labels"], batch.targets["labels"]
            ),
        }
        outputs = perfect(task, everything)
        judge, strict = task.judge("test"), task.judge("test")
        judge.add(outputs, batch)
        strict.add(outputs, Batch(batch.inputs, only_objects(batch.targets)))
        assert judge.score().metric.value == pytest.approx(1.0)
        assert strict.score().metric.value < 0.9


@pytest.mark.parametrize("head", HEADS)
def test_nothing_is_lost_by_what_is_said_of_a_class_inside_a_crowd(head):
    task = task_of(BoxMark.CROWD, head=head, augmentation=None)
    boxes = torch.tensor([[[0.0, 0.0, 40.0, 40.0], [46.0, 46.0, 62.0, 62.0]]])
    targets = {"boxes": boxes, "labels": torch.tensor([[-2 - 1, 0]])}
    torch.manual_seed(0)
    with torch.no_grad():
        outputs = zoo.build(HEADS[head], in_channels=3, classes=3).eval()(torch.randn(1, 3, 64, 64))

    def loss_with(label, row, column, of):
        changed = [part.clone() for part in outputs]
        changed[0][0, label, row, column] += 6.0
        return float(task.loss(tuple(changed), of))

    plain, without = (
        float(task.loss(outputs, targets)),
        only_objects({**targets, "difficult": torch.zeros(1, 2, dtype=bool)}),
    )
    assert loss_with(1, 2, 2, targets) == plain
    assert loss_with(1, 2, 2, without) > float(task.loss(outputs, without))
    # Of other classes, and outside, something is.
    assert loss_with(2, 2, 2, targets) > plain
    assert loss_with(1, 0, 7, targets) > plain


def test_what_is_left_alone_moves_with_the_picture():
    images = torch.zeros(64, 3, 64, 64, dtype=torch.uint8)
    images[:, :, 10:30, 4:24] = 255
    boxes = torch.tensor([[[4.0, 10.0, 24.0, 30.0]]]).repeat(64, 1, 1)
    labels = torch.full((64, 1), -2)
    augmentation = BoxAugmentation(flip=True, shift=0.4, scale=(0.7, 1.4), colour=0)
    varied, moved, kept = augmentation(images, boxes, labels, torch.Generator().manual_seed(0))
    assert set(kept.flatten().tolist()) <= {-1, -2}
    partly = 0
    for image, box, label in zip(varied, moved[:, 0], kept[:, 0], strict=True):
        white = image[0] > 200
        if label == -2 and bool(white.any()):
            y, x = torch.nonzero(white, as_tuple=True)
            bright = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1], dtype=torch.float32)
            assert torch.allclose(bright, box, atol=1.3)
            partly += int(white.sum()) < 60
        else:
            assert int(white.sum()) <= 60
    # An object of which so little is in view would have been dropped.
    assert partly > 0


def test_boxes_on_what_is_left_alone_are_not_called_false():
    task = task_of(BoxMark.CROWD)
    batch = next(task.batches("validation", batch_size=24))
    truths = task.truths(batch.targets)
    index = next(i for i, truth in enumerate(truths) if truth.ignored is not None and len(truth.labels))
    truth = truths[index]
    crowd = truth.ignored
    both = torch.cat([truth.boxes, crowd.boxes]), torch.cat([truth.labels, crowd.labels])
    said = type(truth)(*both, CLASSES, torch.ones(len(both[0])))
    count = len(truth.labels)
    assert said.caption(truth) == f"{count} of {count} found, 0 false"
    assert len(said.against(truth).labels) == count
    assert "Crowds" in truth.reading
    elsewhere = type(truth)(both[0], (both[1] + 1) % 3, CLASSES, torch.ones(len(both[0])))
    assert elsewhere.caption(truth) == f"0 of {count} found, {len(both[0])} false"


def test_images_of_crowds_alone_can_neither_be_judged_nor_trained_on():
    parts = shapes(24, seed=0)
    with pytest.raises(DataError, match="none of the 24 test images shows an object that is not a crowd"):
        DetectionTask(
            "crowds",
            train=parts,
            validation=parts,
            test=marked(parts, BoxMark.CROWD, every=1),
            classes=CLASSES,
        )
    task = task_of(BoxMark.CROWD)
    batch = next(task.batches("test", batch_size=24))
    crowds = {**batch.targets, "labels": batch.targets["labels"].clamp_max(-1)}
    judge = task.judge("test")
    judge.add(perfect(task, crowds), Batch(batch.inputs, crowds))
    with pytest.raises(InputError, match="none of the 24 images shows an object that counts"):
        judge.score()


def test_marks_that_mean_nothing_are_refused():
    parts = shapes(4, seed=0)
    with pytest.raises(DataError, match=r"has the mark 7; there are \[0, 1, 2\]"):
        BoxedTensorSamples(
            parts.inputs, parts.boxes, parts.labels, [torch.full_like(p, 7) for p in parts.labels]
        )
    with pytest.raises(DataError, match="give one per box"):
        BoxedTensorSamples(parts.inputs, parts.boxes, parts.labels, [torch.zeros(9)] * 4)


def pictures(folder, count=40):
    folder.mkdir(parents=True)
    for index in range(count):
        Image.fromarray(np.full((40, 80), 6 * index, np.uint8)).save(folder / f"{index:03}.png")


@pytest.mark.parametrize("memory_limit_bytes", [1 << 30, 0])
def test_crowds_of_coco_reach_the_targets(tmp_path, memory_limit_bytes):
    pictures(tmp_path / "images")
    annotations = [
        {
            "id": 2 * i + crowd,
            "image_id": i,
            "category_id": 1,
            "bbox": [10 + 30 * crowd, 10, 20, 20],
            "iscrowd": crowd,
        }
        for i in range(40)
        for crowd in (0, 1)
    ]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_all.json").write_text(
        json.dumps(
            {
                "images": [{"id": i, "file_name": f"{i:03}.png"} for i in range(40)],
                "categories": [{"id": 1, "name": "ball"}],
                "annotations": annotations,
            }
        )
    )
    task = load_boxes(tmp_path, size=(40, 80), memory_limit_bytes=memory_limit_bytes)
    assert "40 regions marked as crowds, in which nothing is judged" in str(task.description)
    targets = next(task.batches("train", batch_size=4)).targets
    assert targets["labels"].tolist() == [[0, -2]] * 4
    assert targets["boxes"][0].tolist() == [[10, 10, 30, 30], [40, 10, 60, 30]]
    assert not targets["difficult"].any()
    varied = next(task.batches("train", batch_size=4, augment=True)).targets
    assert set(varied["labels"][:, 1].tolist()) == {-2}


def test_difficult_objects_of_voc_are_learnt_and_not_judged(tmp_path):
    pictures(tmp_path / "JPEGImages")
    (tmp_path / "Annotations").mkdir()
    corners = "<bndbox><xmin>{}</xmin><ymin>11</ymin><xmax>{}</xmax><ymax>30</ymax></bndbox>"
    for index in range(40):
        objects = "".join(
            f"<object><name>ball</name>{flag}{corners.format(left + 1, left + 20)}</object>"
            for left, flag in ((0, ""), (30, "<difficult>1</difficult>"), (55, "<difficult>0</difficult>"))
        )
        (tmp_path / "Annotations" / f"{index:03}.xml").write_text(f"<annotation>{objects}</annotation>")
    task = load_boxes(tmp_path, size=(40, 80))
    assert "40 objects marked as difficult, which are not judged" in str(task.description)
    targets = next(task.batches("test", batch_size=1)).targets
    assert targets["labels"].tolist() == [[0, 0, 0]]
    assert targets["difficult"].tolist() == [[False, True, False]]
    (truth,) = task.truths(targets)
    assert truth.boxes.tolist() == [[0, 10, 20, 30], [55, 10, 75, 30]]
