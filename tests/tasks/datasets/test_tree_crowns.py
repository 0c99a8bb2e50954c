import importlib.util

import numpy as np
import pytest
from PIL import Image

from edgesynth.errors import DataError, MissingDependencyError
from edgesynth.tasks import load_task
from edgesynth.tasks.datasets.tree_crowns import DIVIDED, TRAINING, Annotated, Strip, strips, tiles

SPLITS = ("train", "validation", "test")

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("deepforest") is None, reason="deepforest is not installed"
)


def annotated(height=1200, width=600, boxes=((10, 20, 50, 60),)):
    rows = np.arange(height, dtype=np.int64)[:, None, None] * np.ones((1, width, 3), dtype=np.int64)
    return Annotated((rows % 256).astype(np.uint8), np.array(boxes, dtype=np.float32))


def voc(boxes):
    crowns = "".join(
        f"<object><name>Tree</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for a, b, c, d in boxes
    )
    return f"<annotation>{crowns}</annotation>"


@pytest.fixture
def folder(tmp_path):
    """Four pictures in the layout of the package, a crown in each corner of a grid of 100 pixels."""
    for name in (*DIVIDED, *TRAINING):
        Image.fromarray(annotated().pixels).save(tmp_path / f"{name}.png")
        boxes = [(x, y, x + 40, y + 40) for y in range(10, 1150, 100) for x in range(10, 550, 100)]
        (tmp_path / f"{name}.xml").write_text(voc(boxes))
    return tmp_path


def test_no_row_is_in_two_splits_and_some_lie_between():
    parts = strips(annotated(height=1000))
    assert parts["train"].top == 0
    assert parts["validation"].top - parts["train"].bottom == 40
    assert parts["test"].top - parts["validation"].bottom == 40
    assert parts["test"].bottom == 1000


def test_tiles_stay_in_their_strip_and_boxes_follow():
    picture = annotated(boxes=((10, 20, 50, 60), (110, 300, 140, 340), (300, 330, 340, 370)))
    made = tiles([Strip(picture, 200, 500)], 128)
    assert made.inputs.shape == (2 * 4, 3, 128, 128)
    assert made.inputs[:, 0, 0, 0].tolist() == [200] * 4 + [328 % 256] * 4
    # Of the second box 42 % are in one tile, too little is in three others; the third is whole in one.
    assert made.boxes[0].tolist() == [[110, 100, 128, 128]]
    assert made.boxes[6].tolist() == [[44, 2, 84, 42]]
    assert sum(map(len, made.boxes)) == 2


def test_a_folder_is_read_and_divided(folder):
    task = load_task("tree-crowns", root=folder)
    assert task.classes == ("tree",)
    assert task.input_shape == (3, 128, 128)
    rows = {split: set(task._samples[split].inputs[:, 0, 0, 0].tolist()) for split in ("validation", "test")}
    assert not rows["validation"] & rows["test"]
    assert load_task("tree-crowns", root=folder, train_size=7).size("train") == 7
    with pytest.raises(DataError, match="train_size must lie between 2 and"):
        load_task("tree-crowns", root=folder, train_size=1)


@needs_package
def test_the_real_pictures_have_their_crowns():
    task = load_task("tree-crowns")
    assert [task.size(split) for split in SPLITS] == [856, 60, 77]
    crowns = [sum(map(len, task._samples[split].boxes)) for split in SPLITS]
    assert crowns == [1953, 117, 177]
    text = str(task.description)
    assert "real data" in text
    assert "small" in text
    shown = [{tile.numpy().tobytes() for tile in task._samples[split].inputs} for split in SPLITS]
    assert not shown[2] & (shown[0] | shown[1])


def test_a_picture_too_small_to_divide_is_refused(folder):
    for name in DIVIDED:
        Image.fromarray(annotated(height=500).pixels).save(folder / f"{name}.png")
    with pytest.raises(DataError, match="validation: no tile of 128x128 pixels fits"):
        load_task("tree-crowns", root=folder)


def test_damaged_annotations_are_named(folder):
    (folder / f"{DIVIDED[0]}.xml").write_text("<annotation>")
    with pytest.raises(DataError, match=rf"cannot read .*{DIVIDED[0]}"):
        load_task("tree-crowns", root=folder)
    (folder / f"{DIVIDED[0]}.xml").write_text(voc([(5, 5, 5, 9)]))
    with pytest.raises(DataError, match="holds no boxes, or one without area"):
        load_task("tree-crowns", root=folder)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"pip install --no-deps deepforest==2\.1\.0"):
        load_task("tree-crowns")
