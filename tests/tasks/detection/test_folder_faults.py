"""What is wrong with folders of boxes, each in one clear line."""

import json

import pytest
from box_folders import SPLITS, coco, voc, xml, yolo

from edgesynth.errors import DataError
from edgesynth.tasks import load_boxes


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


MANY = {
    # What is done to three annotations, what is said of them, and how many pictures and objects are left.
    "coco, no area": (coco, "annotations", "has no area", 40, 29),
    "coco, outside": (coco, "annotations", "lies outside the picture", 40, 29),
    "coco, unknown class": (coco, "annotations", "class id 99", 40, 29),
    "coco, unknown image": (coco, "annotations", "image 999", 40, 29),
    "coco, no box": (coco, "annotations", "has the box", 40, 29),
    "coco, missing picture": (coco, "files", "lists the picture", 37, 29),
    "coco, wrong size": (coco, "files", "is 800x40, the picture is 80x40", 37, 29),
    "voc, no area": (voc, "annotations", "has no area", 40, 29),
    "voc, wrong size": (voc, "files", "is 800x40, the picture is 80x40", 37, 29),
    "voc, missing picture": (voc, "files", "is about the picture", 37, 29),
    "yolo, no area": (yolo, "annotations", "has no area", 40, 29),
    "yolo, outside": (yolo, "annotations", "lies outside the picture", 40, 29),
    "yolo, unknown class": (yolo, "annotations", "class index 5", 40, 29),
    "yolo, missing picture": (yolo, "files", "is about the picture", 37, 29),
}


def spoilt(root, case):
    """A folder of which pictures 1, 2 and 3 have such a fault."""
    kind, fault = case.split(", ")
    MANY[case][0](root)
    changes = {
        "no area": ({"bbox": [5, 5, 0, 9]}, (9, 9, 9, 12), "0 .5 .5 0 .1"),
        "outside": ({"bbox": [90, 5, 9, 9]}, None, "0 1.5 .5 .1 .1"),
        "unknown class": ({"category_id": 99}, None, "5 .5 .5 .1 .1"),
        "unknown image": ({"image_id": 999}, None, None),
        "no box": ({"bbox": None}, None, None),
    }.get(fault)
    for index in (1, 2, 3):
        stem = f"{index:03}"
        if fault == "missing picture":
            (root / ("JPEGImages" if kind == "voc" else "images") / f"{stem}.png").unlink()
        elif fault == "wrong size" and kind == "coco":
            edited(root, lambda d, index=index: d["images"][index].update(width=800))
        elif fault == "wrong size":
            file = root / "Annotations" / f"{stem}.xml"
            file.write_text(file.read_text().replace("<width>80<", "<width>800<"))
        elif kind == "coco":
            edited(root, lambda d, index=index: d["annotations"][index - 1].update(changes[0]))
        elif kind == "voc":
            (root / "Annotations" / f"{stem}.xml").write_text(xml(index, changes[1], "odd"))
        else:
            (root / "labels" / f"{stem}.txt").write_text(changes[2])
    return root


@pytest.mark.parametrize("case", MANY)
def test_all_faults_are_told_at_once_and_left_out_when_asked(case, tmp_path):
    _, what, message, pictures, objects = MANY[case]
    root = spoilt(tmp_path, case)
    with pytest.raises(DataError, match=f"3 of the {what} in .* cannot be used: ") as caught:
        load_boxes(root, size=32)
    assert str(caught.value).count(message) == 3
    task = load_boxes(root, size=32, skip_corrupt=True)
    said = {
        "files": "3 unreadable files left out",
        "annotations": "3 annotations that cannot be used left out",
    }
    assert said[what] in str(task.description)
    assert sum(task.size(split) for split in SPLITS) == pictures
    batches = [batch for split in SPLITS for batch in task.batches(split, batch_size=64)]
    assert sum(int((batch.targets["labels"] >= 0).sum()) for batch in batches) == objects


def test_five_of_many_faults_are_named_and_all_kinds_of_them_counted(tmp_path):
    root = yolo(tmp_path)
    for index in (1, 2, 3, 4, 6, 7):
        (root / "labels" / f"{index:03}.txt").write_text("0 .5 .5 0 .1\n9 .5 .5 .1 .1\n1 .5 .5 .1 .1")
    (root / "images" / "008.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"13 of the files and annotations in .*; and 8 more; repair or"):
        load_boxes(root, size=32)
    described = str(load_boxes(root, size=32, skip_corrupt=True).description)
    assert "1 unreadable files left out; 12 annotations that cannot be used left out" in described


def test_a_split_of_which_nothing_is_left_is_refused(tmp_path):
    root = yolo(tmp_path, splits=("train", "val", "test"))
    for file in (root / "images" / "val").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="leaves no picture for validation"):
        load_boxes(root, size=32, skip_corrupt=True)
