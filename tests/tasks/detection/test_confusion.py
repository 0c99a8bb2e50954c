import numpy as np
import pytest
import torch
from detection_answers import perfect
from detection_shapes import shapes_task

from edgesynth.tasks.detection.average_precision import ImageBoxes
from edgesynth.tasks.detection.confusion import SHOWN, confusions
from edgesynth.tasks.detection.samples import BoxMark

LEFT, RIGHT, BIG = (0, 0, 10, 10), (40, 0, 50, 10), (0, 0, 60, 60)
NEAR = (0, 0, 10, 8)
OBJECT, DIFFICULT, CROWD = BoxMark


def boxes(rows):
    return np.array([row[0] for row in rows], np.float32).reshape(-1, 4), np.array(
        [row[1] for row in rows], np.int64
    )


def counted(found, truth):
    """Pairs of truth and answer that are counted, 2 for no object; both classes are 0 and 1."""
    answers = ImageBoxes(*boxes(found), scores=np.array([row[2] for row in found], np.float32))
    marks = np.array([row[2] if len(row) > 2 else OBJECT for row in truth], np.int64)
    counts = confusions([answers], [ImageBoxes(*boxes(truth), marks=marks)], 2)
    assert counts.shape == (3, 3)
    return sorted((*pair, int(counts[tuple(pair)])) for pair in counts.nonzero().tolist())


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        ([], [], []),
        ([(LEFT, 0, 0.9)], [(NEAR, 0)], [(0, 0, 1)]),
        ([(LEFT, 1, 0.9)], [(LEFT, 0)], [(0, 1, 1)]),
        ([(RIGHT, 1, 0.9)], [(LEFT, 0)], [(0, 2, 1), (2, 1, 1)]),
        # Too faint to be counted.
        ([(LEFT, 0, SHOWN - 0.01)], [(LEFT, 0)], [(0, 2, 1)]),
        # Each once: the second box means nothing, the surer one has the object.
        ([(NEAR, 1, 0.9), (LEFT, 0, 0.8)], [(LEFT, 0)], [(0, 1, 1), (2, 0, 1)]),
        ([(LEFT, 0, 0.8), (NEAR, 1, 0.9)], [(LEFT, 0)], [(0, 1, 1), (2, 0, 1)]),
        # Of two objects in one place a box means that of its class, though it covers the other better.
        ([(LEFT, 1, 0.9), (LEFT, 0, 0.8)], [(LEFT, 0), (NEAR, 1)], [(0, 0, 1), (1, 1, 1)]),
        # Crowds and difficult objects are not counted, nor what finds them.
        ([(LEFT, 0, 0.9), (NEAR, 0, 0.8)], [(BIG, 0, CROWD)], []),
        ([(LEFT, 0, 0.9)], [(NEAR, 0, DIFFICULT)], []),
        ([(LEFT, 1, 0.9)], [(BIG, 0, CROWD)], [(2, 1, 1)]),
        ([(LEFT, 0, 0.9)], [(BIG, 0, DIFFICULT)], [(2, 0, 1)]),
        ([(LEFT, 0, 0.9)], [(BIG, 0, CROWD), (LEFT, 0)], [(0, 0, 1)]),
    ],
)
def test_objects_are_taken_for_classes_or_missed_and_boxes_made_up(found, truth, expected):
    assert counted(found, truth) == expected


def test_images_are_counted_apart_and_added():
    answer = ImageBoxes(*boxes([(LEFT, 0)]), scores=np.array([0.9], np.float32))
    nothing = ImageBoxes(*boxes([]), scores=np.zeros(0, np.float32))
    truth = ImageBoxes(*boxes([(LEFT, 0)]))
    counts = confusions([answer, nothing, answer], [truth, truth, truth], 1)
    assert counts.tolist() == [[2, 1], [0, 0]]


def test_a_judge_tells_what_was_taken_for_what():
    task = shapes_task()
    judge = task.judge("test")
    objects = torch.zeros(3, dtype=torch.int64)
    for batch in task.batches("test", batch_size=10):
        outputs = perfect(task, batch.targets)
        # Classes 0 and 1 change places.
        turned = [part[:, [1, 0, 2]] if part.shape[1] == 3 else part for part in outputs]
        judge.add(tuple(turned), batch)
        labels = batch.targets["labels"]
        objects += torch.bincount(labels[labels >= 0], minlength=3)
    counts = judge.score().confusion
    assert counts.shape == (4, 4)
    one, other, third = objects.tolist()
    assert counts.tolist() == [[0, one, 0, 0], [other, 0, 0, 0], [0, 0, third, 0], [0, 0, 0, 0]]
