import torch
from mask_answers import judged, random_answers, task_of
from shape_scenes import CLASSES

from edgesynth.tasks import Batch
from edgesynth.tasks.images import class_colours
from edgesynth.tasks.segmentation import MaskAnswer


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
