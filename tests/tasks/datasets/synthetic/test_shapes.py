import pytest
import torch

from edgesynth.errors import DataError
from edgesynth.tasks import load_task
from edgesynth.tasks.datasets.synthetic.shapes import SHAPES, shape_scenes

SPLITS = ("train", "validation", "test")


@pytest.mark.parametrize("name", ["shapes-masks", "shapes-boxes"])
def test_shapes_need_nothing_and_say_that_they_are_generated(name):
    task = load_task(name, train_size=20)
    assert [task.size(split) for split in SPLITS] == [20, 150, 200]
    assert task.input_shape == (3, 64, 64)
    assert "generated data, not recorded" in str(task.description)
    assert task.description.sizes == {"train": 20, "validation": 150, "test": 200}


def test_every_shape_is_in_every_split():
    for split in SPLITS:
        made = shape_scenes(split, 60)
        assert torch.cat(made.labels).unique().tolist() == list(range(len(SHAPES)))
        assert made.masks.unique().tolist() == [0, 1, 2, 3]


def test_splits_share_no_scene():
    unique = [{image.numpy().tobytes() for image in shape_scenes(split, 60).images} for split in SPLITS]
    assert not unique[0] & unique[1]
    assert not unique[2] & (unique[0] | unique[1])


def test_a_shape_fills_its_box_as_it_should():
    made = shape_scenes("test", 150)
    shares = {label: [] for label in range(3)}
    for mask, boxes, labels in zip(made.masks, made.boxes, made.labels, strict=True):
        if len(boxes) == 1:
            left, top, right, bottom = boxes[0].int().tolist()
            shares[int(labels[0])].append(float((mask[top:bottom, left:right] > 0).float().mean()))
    disc, square, triangle = (sum(found) / len(found) for found in shares.values())
    # A disc fills 78 % of its box, a triangle half; a turned square between its 100 % and half.
    assert 0.74 < disc < 0.85
    assert 0.65 < square < 1
    assert 0.35 < triangle < 0.6


@pytest.mark.parametrize("size", [1, 100_001])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(DataError, match="between 2 and 100,000"):
        load_task("shapes-masks", train_size=size)
