import numpy as np
import pytest

from edgesynth.tasks.detection.average_precision import (
    ImageBoxes,
    average_precision,
    class_precision,
    curve,
    matches,
)

BOX = np.array([[10.0, 10.0, 30.0, 30.0]])


def scene(seed, images=30, classes=4):
    """Objects, and detections near some of them, with wrong classes, doubles and inventions among them."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(images):
        count = rng.integers(0, 6)
        corners = rng.uniform(0, 60, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (count, 2))], 1)
        labels = rng.integers(0, classes, count)
        truth.append(ImageBoxes(boxes, labels))
        near = np.repeat(boxes, 2, axis=0) + rng.normal(0, 2.5, (2 * count, 4))
        near = np.concatenate([near, rng.uniform(0, 40, (2, 4)) + np.array([0, 0, 45, 45])])
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        said = np.concatenate([np.repeat(labels, 2), rng.integers(0, classes, 2)])
        # Rounded, so that scores tie across images.
        found.append(ImageBoxes(near, said, rng.random(len(said)).round(1)))
    return found, truth


@pytest.mark.parametrize("seed", range(4))
def test_precision_summed_up_again_is_that_of_pycocotools(seed):
    found, truth = scene(seed)
    matched, table = matches(found, truth, 4, max_detections=100)
    for index, each in enumerate(matched):
        assert class_precision(each) == pytest.approx(table[:, :, index].mean(1), abs=1e-12)
    assert average_precision(matched) == pytest.approx(table.mean(), abs=1e-12)
    assert 0 < average_precision(matched) < average_precision(matched, thresholds=slice(0, 1)) < 1


def test_an_image_that_occurs_twice_counts_like_two_images():
    found, truth = scene(7, images=12)
    counts = np.array([2, 0, 1, 3, 1, 0, 0, 2, 1, 1, 1, 0])
    matched, _ = matches(found, truth, 4, max_detections=100)
    order = np.repeat(np.arange(12), counts)
    again, _ = matches([found[i] for i in order], [truth[i] for i in order], 4, max_detections=100)
    # Copies of a detection are one step here and several there: precision within a step may differ a little.
    assert average_precision(matched, counts) == pytest.approx(average_precision(again), abs=0.02)


def test_a_class_without_objects_counts_in_no_mean():
    found = [ImageBoxes(np.repeat(BOX, 2, 0), np.array([0, 1]), np.array([0.9, 0.9]))]
    matched, table = matches(found, [ImageBoxes(BOX, np.array([0]))], 3, max_detections=100)
    assert average_precision(matched) == pytest.approx(1.0)
    assert class_precision(matched[1]) is None
    assert (table[:, :, 1:] == -1).all()


def test_a_missed_class_is_worth_nothing():
    matched, _ = matches(
        [ImageBoxes(BOX[:0], np.zeros(0, int), np.zeros(0))],
        [ImageBoxes(BOX, np.array([0]))],
        1,
        max_detections=100,
    )
    assert average_precision(matched) == 0.0


def test_the_curve_ends_at_the_recall_that_was_reached():
    truth = [ImageBoxes(np.concatenate([BOX, BOX + 100]), np.array([0, 0]))]
    found = [ImageBoxes(BOX, np.array([0]), np.array([0.8]))]
    _, table = matches(found, truth, 1, max_detections=100)
    drawn = curve(table[0, :, 0])
    assert drawn.recall[-1] == pytest.approx(0.5)
    assert drawn.precision == pytest.approx([1.0] * 51)
    assert list(drawn.recall) == sorted(drawn.recall)


def test_nothing_is_printed(capsys):
    matches(*scene(0, images=3), 4, max_detections=100)
    assert capsys.readouterr().out == ""
