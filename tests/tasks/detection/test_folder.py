import json

import numpy as np
import pytest
import torch
from PIL import Image

from edgesynth.errors import DataError, InputError
from edgesynth.tasks import load_boxes

SPLITS = ("train", "validation", "test")
MODES = ("RGB", "L", "RGBA", "I;16")


def scene(index, width=80, height=40):
    """A dark picture with one bright box in it, and the box."""
    x, y = 4 + 5 * (index % 10), 3 + 2 * (index % 7)
    box = (x, y, x + 20, y + 16)
    pixels = np.full((height, width), 20, dtype=np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 240
    return pixels, box


def save(path, pixels, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "I;16":
        Image.fromarray(pixels.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(pixels).convert(mode).save(path)


def name_of(index):
    return f"{index:03}.png"


def coco(root, count=40, files=("all",)):
    for number, stem in enumerate(files):
        images, annotations = [], []
        for index in range(number, count, len(files)):
            pixels, (x, y, x1, y1) = scene(index)
            save(root / "images" / name_of(index), pixels, MODES[index % 4])
            images.append({"id": index, "file_name": name_of(index), "width": 80, "height": 40})
            if index % 5:
                annotations.append(
                    {
                        "id": index + 1,
                        "image_id": index,
                        "category_id": 7 if index % 2 else 3,
                        "bbox": [x, y, x1 - x, y1 - y],
                        "iscrowd": 0,
                    }
                )
        data = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 7, "name": "odd"}, {"id": 3, "name": "even"}],
        }
        path = root / "annotations" / f"instances_{stem}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data))
    return root


def xml(index, box, label, extra=""):
    x0, y0, x1, y1 = box
    return (
        f"<annotation>{extra}<filename>{name_of(index)}</filename>"
        "<size><width>80</width><height>40</height><depth>3</depth></size>"
        f"<object><name>{label}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object></annotation>"
    )


def voc(root, count=40, lists=False):
    (root / "Annotations").mkdir(parents=True)
    for index in range(count):
        pixels, box = scene(index)
        save(root / "JPEGImages" / name_of(index), pixels, MODES[index % 4])
        if index % 5:
            (root / "Annotations" / f"{index:03}.xml").write_text(
                xml(index, box, "odd" if index % 2 else "even")
            )
    if lists:
        (root / "ImageSets" / "Main").mkdir(parents=True)
        for number, split in enumerate(("train", "val", "test")):
            stems = [f"{index:03}" for index in range(number, count, 3)]
            (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")
    return root


def yolo(root, count=40, splits=None, names="names: [even, odd]\n"):
    for index in range(count):
        pixels, (x0, y0, x1, y1) = scene(index)
        part = splits[index % len(splits)] if splits else ""
        save(root / "images" / part / name_of(index), pixels, MODES[index % 4])
        labels = root / "labels" / part
        labels.mkdir(parents=True, exist_ok=True)
        if index % 5:
            line = f"{index % 2} {(x0 + x1) / 160} {(y0 + y1) / 80} {(x1 - x0) / 80} {(y1 - y0) / 40}\n"
            (labels / f"{index:03}.txt").write_text(line)
    (root / "data.yaml").write_text(names)
    return root


MAKERS = {"coco": coco, "voc": voc, "yolo": yolo}


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


def edited(root, change):
    file = root / "annotations" / "instances_all.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
    return root


def coco_with(change):
    return lambda root: edited(coco(root), change)


def with_file(maker, path, content):
    def make(root):
        maker(root)
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    return make


def without(maker, path):
    def make(root):
        maker(root)
        (root / path).unlink()
        return root

    return make


def without_objects(root, split):
    for file in (root / "labels" / split).iterdir():
        file.write_text("")
    return root


BOMB = xml(1, (1, 1, 9, 9), "odd").replace(
    "<annotation>", '<!DOCTYPE a [<!ENTITY e "eeee">]><annotation><folder>&e;</folder>'
)
BAD = {
    "no folder": (lambda root: root / "missing", "no folder"),
    "no format": (lambda root: root, "no format that is known"),
    "coco, no area": (coco_with(lambda d: d["annotations"][0].update(bbox=[5, 5, 0, 9])), "has no area"),
    "coco, outside": (
        coco_with(lambda d: d["annotations"][0].update(bbox=[90, 5, 9, 9])),
        "outside the picture of 80x40",
    ),
    "coco, unknown class": (
        coco_with(lambda d: d["annotations"][0].update(category_id=99)),
        r"class id 99; known are \[3, 7\]",
    ),
    "coco, unknown image": (
        coco_with(lambda d: d["annotations"][0].update(image_id=999)),
        "of image 999, which is not listed",
    ),
    "coco, missing picture": (without(coco, "images/003.png"), "lists the picture '003.png'"),
    "coco, path out of the folder": (
        coco_with(lambda d: d["images"][0].update(file_name="../../../etc/passwd")),
        "lists the picture '../../../etc/passwd'",
    ),
    "coco, no json": (with_file(coco, "annotations/instances_all.json", "{nonsense"), "as JSON"),
    "coco, other json": (with_file(coco, "annotations/instances_all.json", "[1]"), "holds a list"),
    "coco, no categories": (coco_with(lambda d: d.pop("categories")), "not in the COCO format"),
    "coco, not a number": (
        coco_with(lambda d: d["annotations"][0].update(bbox=[float("nan"), 1, 2, 3])),
        "finite numbers",
    ),
    "coco, wrong size": (
        coco_with(lambda d: d["images"][2].update(width=800)),
        "says 002.png is 800x40, the picture is 80x40",
    ),
    "voc, no area": (
        with_file(voc, "Annotations/001.xml", xml(1, (9, 9, 9, 12), "odd")),
        "001.xml: a box of 001.png .* has no area",
    ),
    "voc, outside": (
        with_file(voc, "Annotations/001.xml", xml(1, (90, 9, 99, 12), "odd")),
        "outside the picture",
    ),
    "voc, missing picture": (without(voc, "JPEGImages/003.png"), "003.xml is about the picture '003'"),
    "voc, corrupt": (with_file(voc, "Annotations/001.xml", "<annotation>"), "1 of the files .* as XML"),
    "voc, entities": (with_file(voc, "Annotations/001.xml", BOMB), "declares a document type"),
    "voc, entities in utf-16": (
        with_file(voc, "Annotations/001.xml", BOMB.encode("utf-16")),
        "declares a document type",
    ),
    "voc, no number": (
        with_file(voc, "Annotations/001.xml", xml(1, (1, 1, 9, 9), "odd").replace(">9<", ">nine<")),
        "give a number",
    ),
    "voc, in two splits": (
        with_file(lambda root: voc(root, lists=True), "ImageSets/Main/val.txt", "000\n"),
        "is in .* as well",
    ),
    "yolo, no area": (with_file(yolo, "labels/001.txt", "0 0.5 0.5 0 0.1"), "has no area"),
    "yolo, outside": (with_file(yolo, "labels/001.txt", "0 1.5 0.5 0.1 0.1"), "outside the picture"),
    "yolo, unknown class": (
        with_file(yolo, "labels/001.txt", "5 0.5 0.5 0.1 0.1"),
        "001.txt, line 1: class index 5, but there are 2",
    ),
    "yolo, corrupt": (with_file(yolo, "labels/001.txt", "0 0.5 0.5"), "line 1: '0 0.5 0.5' is not"),
    "yolo, missing picture": (without(yolo, "images/003.png"), "003.txt is about the picture '003'"),
    "yolo, no names": (without(yolo, "data.yaml"), "neither data.yaml nor classes.txt"),
    "voc, list in latin-1": (
        with_file(voc, "ImageSets/Main/train.txt", "caf\xe9\n".encode("latin-1")),
        r"train\.txt is no text in UTF-8 .*, byte 3\); save it as such",
    ),
    "yolo, classes in latin-1": (
        with_file(yolo, "classes.txt", "stra\xdfe\nb\n".encode("latin-1")),
        r"classes\.txt is no text in UTF-8",
    ),
    "yolo, names in latin-1": (
        with_file(yolo, "data.yaml", "names: [stra\xdfe, b]".encode("latin-1")),
        r"data\.yaml is no text in UTF-8",
    ),
    "yolo, labels in utf-16": (
        with_file(yolo, "labels/001.txt", "0 .5 .5 .1 .1".encode("utf-16")),
        r"1 of the files .*001\.txt is no text in UTF-8",
    ),
    "coco in latin-1": (
        with_file(coco, "annotations/instances_all.json", '{"a": "\xe9"}'.encode("latin-1")),
        r"instances_all\.json is no text in UTF-8",
    ),
    "coco, two images of one id": (
        coco_with(lambda d: d["images"][1].update(id=0)),
        "lists two images with the id 0",
    ),
    "coco, a picture twice": (
        coco_with(lambda d: d["images"][1].update(file_name="000.png")),
        "lists 000.png, which .*instances_all.json lists before",
    ),
    "coco, two classes of one name": (
        coco_with(lambda d: d["categories"][1].update(name="odd")),
        "lists class 3 'odd' after one of that id or name",
    ),
    "coco, two classes of one id": (
        coco_with(lambda d: d["categories"].append({"id": 3, "name": "third"})),
        "lists class 3 'third' after one of that id or name",
    ),
    "coco, half a box": (
        coco_with(lambda d: d["annotations"][0].update(bbox=[1, 2, 3])),
        r"annotation 2 has the box \[1, 2, 3\]; give left, top, width and height",
    ),
    "coco, no box": (coco_with(lambda d: d["annotations"][0].update(bbox=None)), "has the box None"),
    "yolo, two classes of one name": (
        with_file(yolo, "data.yaml", "names: [odd, odd]"),
        "class names must differ, got odd, odd",
    ),
    "yolo, a class without index": (
        with_file(yolo, "data.yaml", "names:\n  0: even\n  5: odd\n"),
        r"data.yaml: its names have the indices \[0, 5\]; number them from 0 on",
    ),
    "yolo, a box thinner than any pixel": (
        with_file(yolo, "labels/001.txt", "0 0.99999999 0.5 0.00000002 0.1"),
        r"001.txt: a box of 001.png .* has no area once the picture is 32x32",
    ),
    "voc, two pictures of one name": (
        with_file(voc, "JPEGImages/003.jpg", b""),
        "two files of one name, 003.jpg and 003.png",
    ),
    "yolo, no object in a split": (
        lambda root: without_objects(yolo(root, splits=("train", "val", "test")), "val"),
        "none of the 13 validation images shows an object",
    ),
    "yolo, a split without labels": (
        with_file(lambda root: yolo(root, splits=("train",)), "images/val/x.png", b""),
        "val holds pictures, and no folder of labels is there for them; add one, empty where",
    ),
    "yolo, two pictures of one name": (
        with_file(yolo, "images/003.jpg", b""),
        "two files of one name, 003.jpg and 003.png",
    ),
    "a corrupt picture": (with_file(voc, "JPEGImages/001.png", b"not a picture"), "cannot read picture"),
    "too few": (lambda root: voc(root, count=2), "leaves no picture for"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(case, tmp_path):
    make, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        load_boxes(make(tmp_path), size=32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", ["voc, corrupt", "voc, entities", "yolo, corrupt", "a corrupt picture"])
def test_what_cannot_be_read_is_left_out_when_asked(case, tmp_path):
    task = load_boxes(BAD[case][0](tmp_path), size=32, skip_corrupt=True)
    assert sum(task.size(split) for split in SPLITS) == 39
    assert "1 unreadable files left out" in str(task.description)


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
