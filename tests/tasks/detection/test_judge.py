import pytest
import torch
from detection_answers import HEADS, perfect
from detection_shapes import CLASSES, shapes_task

from edgesynth import zoo
from edgesynth.errors import InputError
from edgesynth.tasks import Batch


@pytest.mark.parametrize("name", HEADS)
def test_a_network_that_knows_everything_is_perfect(name):
    task = shapes_task(head=name)
    judge = task.judge("validation")
    for batch in task.batches("validation", batch_size=10):
        judge.add(perfect(task, batch.targets), batch)
    score = judge.score()
    assert score.metric.name == "map50"
    assert score.metric.value == pytest.approx(1.0)
    low, high = score.metric.interval
    # Fewer images than all show each class.
    assert high == pytest.approx(1.0)
    assert 0.3 < low < 0.025 ** (1 / score.metric.samples)
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


def test_nothing_heard_and_nothing_to_find_are_said():
    task = shapes_task()
    with pytest.raises(InputError, match="no outputs were given"):
        task.judge("test").score()
    nothing = {"boxes": torch.zeros(2, 3, 4), "labels": torch.full((2, 3), -1)}
    judge = task.judge("test")
    judge.add(perfect(task, nothing), Batch(torch.zeros(2, 3, 64, 64), nothing))
    with pytest.raises(InputError, match="none of the 2 images shows an object"):
        judge.score()


def test_one_image_says_nothing_of_others():
    task = shapes_task()
    batch = next(task.batches("test", batch_size=1, limit=1))
    judge = task.judge("test")
    judge.add(perfect(task, batch.targets), batch)
    score = judge.score()
    assert [metric.interval for metric in (score.metric, *score.others)] == [(0.0, 1.0), (0.0, 1.0)]
