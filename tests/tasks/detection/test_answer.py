from dataclasses import replace

import torch
from detection_answers import perfect
from detection_shapes import CLASSES, shapes_task


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
