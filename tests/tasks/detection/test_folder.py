import numpy as np
import pytest
import torch
from box_folders import MAKERS, SPLITS, coco, name_of, scene, voc, xml, yolo
from PIL import Image

from edgesynth.errors import DataError, InputError
from edgesynth.tasks import load_boxes


def everything(task):
    for split in SPLITS:
        for batch in task.batches(split, batch_size=16):
            pictures = task.images(batch.inputs)
            yield from zip(pictures, batch.targets["boxes"], batch.targets["labels"], strict=True)


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("kind", MAKERS)
def test_boxes_lie_on_their_objects(kind, fit, tmp_path):
    task = load_boxes(MAKERS[kind](tmp_path / "set"), size=(64, 64), fit=fit)
    assert task.classes == (("even", "odd"))
    assert task.input_shape == (3, 64, 64)
    assert sum(task.size(split) for split in SPLITS) == 40
    assert "hash of the file names" in str(task.description)
    assert kind in str(task.description)
    seen = 0
    for picture, boxes, labels in everything(task):
        if labels[0] < 0:
            continue
        y, x = torch.nonzero(picture[0] > 175, as_tuple=True)
        bright = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1])
        assert torch.allclose(bright.float(), boxes[0], atol=1.6)
        seen += 1
    assert seen == 32


@pytest.mark.parametrize("kind", MAKERS)
def test_pictures_without_annotation_are_negatives(kind, tmp_path):
    task = load_boxes(MAKERS[kind](tmp_path), size=32)
    assert sum(int(labels[0] < 0) for _, _, labels in everything(task)) == 8


@pytest.mark.parametrize("kind", MAKERS)
def test_the_division_is_by_name_and_the_same_for_every_format(kind, tmp_path):
    task = load_boxes(MAKERS[kind](tmp_path), size=32)
    other = load_boxes(yolo(tmp_path / "other"), size=32)
    assert [task.size(split) for split in SPLITS] == [other.size(split) for split in SPLITS]
    assert all(task.size(split) >= 2 for split in SPLITS)


@pytest.mark.parametrize(
    "make",
    [
        lambda root: coco(root, files=("train", "val", "test")),
        lambda root: voc(root, lists=True),
        lambda root: yolo(root, splits=("train", "val", "test")),
    ],
)
def test_given_splits_are_kept(make, tmp_path):
    task = load_boxes(make(tmp_path), size=32)
    assert [task.size(split) for split in SPLITS] == [14, 13, 13]
    assert "splits as given" in str(task.description)


def test_pictures_beyond_the_memory_limit_are_decoded_when_needed(tmp_path):
    root = voc(tmp_path)
    kept, lazy = load_boxes(root, size=32), load_boxes(root, size=32, memory_limit_bytes=0)
    for one, other in zip(everything(kept), everything(lazy), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_user_orders_the_classes(tmp_path):
    task = load_boxes(coco(tmp_path), size=32, classes=("odd", "even"))
    assert task.classes == ("odd", "even")
    assert load_boxes(yolo(tmp_path / "y"), size=32, classes=("a", "b")).classes == ("a", "b")


def test_boxes_that_leave_the_picture_are_clipped(tmp_path):
    root = voc(tmp_path)
    for file in (root / "Annotations").glob("*.xml"):
        file.write_text(xml(0, (-30, -5, 30, 20), "odd"))
    boxes = torch.stack(
        [boxes[0] for _, boxes, labels in everything(load_boxes(root, size=(40, 80))) if labels[0] >= 0]
    )
    assert torch.equal(boxes, torch.tensor([0.0, 0, 30, 20]).expand(32, 4))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_picture_turned_by_exif_has_its_boxes_turned_too(tmp_path, suffix):
    root = yolo(tmp_path)
    for index in (1, 2, 3):
        pixels, _ = scene(index)
        exif = Image.Exif()
        exif[0x0112] = 6  # Stored lying on its side.
        picture = Image.fromarray(np.rot90(pixels).copy()).convert("RGB")
        (root / "images" / name_of(index)).unlink()
        picture.save(root / "images" / f"{index:03}.{suffix}", exif=exif)
    task = load_boxes(root, size=(40, 80))
    for picture, boxes, labels in everything(task):
        if labels[0] >= 0:
            y, x = torch.nonzero(picture[0] > 175, as_tuple=True)
            assert torch.allclose(torch.stack([x.min(), y.min()]).float(), boxes[0, :2], atol=1.0)


def test_a_class_that_was_not_asked_for_is_refused(tmp_path):
    with pytest.raises(DataError, match="object of class 'even'; the classes are odd"):
        load_boxes(voc(tmp_path), size=32, classes=("odd",))


def test_classes_that_are_none_are_not_taken_for_the_default(tmp_path):
    with pytest.raises(InputError, match="classes is empty"):
        load_boxes(voc(tmp_path), size=32, classes=[])
    (tmp_path / "yolo").mkdir()
    (yolo(tmp_path / "yolo") / "classes.txt").write_text("")
    with pytest.raises(DataError, match=r"classes\.txt names no class"):
        load_boxes(tmp_path / "yolo", size=32)


def test_a_format_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="no Pascal VOC annotations"):
        load_boxes(yolo(tmp_path), format="voc", size=32)


def test_pictures_in_folders_inside_are_read_too(tmp_path):
    root = yolo(tmp_path)
    for part, suffix in (("images", "png"), ("labels", "txt")):
        (root / part / "more").mkdir()
        for index in range(20, 40):
            file = root / part / f"{index:03}.{suffix}"
            if file.is_file():
                file.rename(file.parent / "more" / file.name)
    task = load_boxes(root, size=32)
    assert sum(task.size(split) for split in SPLITS) == 40
    assert sum(int(labels[0] >= 0) for _, _, labels in everything(task)) == 32


def test_text_with_a_mark_of_its_byte_order_is_read(tmp_path):
    root = yolo(tmp_path)
    for file in (root / "data.yaml", root / "labels" / "001.txt"):
        file.write_text(file.read_text(), encoding="utf-8-sig")
    assert load_boxes(root, size=32).classes == ("even", "odd")


def test_lists_of_voc_may_name_pictures_of_several_words(tmp_path):
    root = voc(tmp_path, lists=True)
    for path in (root / "JPEGImages" / "003.png", root / "Annotations" / "003.xml"):
        path.rename(path.with_stem("my photo"))
    # Lists of one class have a number after the name.
    (root / "ImageSets" / "Main" / "train.txt").write_text("my photo\n006  1\n009 -1\n")
    assert load_boxes(root, size=32).size("train") == 3


def test_files_that_share_a_name_are_divided_by_their_paths(tmp_path):
    root = yolo(tmp_path / "one")
    names = [file.stem for file in (root / "images").iterdir()]
    for part, suffix in (("images", "png"), ("labels", "txt")):
        for stem in names:
            file = root / part / f"{stem}.{suffix}"
            if file.is_file():
                (root / part / stem).mkdir()
                file.rename(root / part / stem / f"frame.{suffix}")
    task = load_boxes(root, size=32)
    assert all(task.size(split) >= 2 for split in SPLITS)
    other = load_boxes(root.rename(tmp_path / "other"), size=32)
    assert [task.size(split) for split in SPLITS] == [other.size(split) for split in SPLITS]


def test_a_file_of_a_name_of_its_own_stays_where_it_is_whatever_is_added(tmp_path):
    def divided(root):
        task = load_boxes(root, size=32, memory_limit_bytes=0)
        return {path.name: split for split in SPLITS for path in task._samples[split].paths}

    before = divided(yolo(tmp_path))
    for folder in ("a", "b"):
        (tmp_path / "images" / folder).mkdir()
        (tmp_path / "images" / folder / "x.png").write_bytes((tmp_path / "images" / "000.png").read_bytes())
    after = divided(tmp_path)
    assert {name: split for name, split in after.items() if name != "x.png"} == before
