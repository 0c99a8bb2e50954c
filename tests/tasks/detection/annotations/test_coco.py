import json

import numpy as np
import pytest
from box_folders import SPLITS, coco
from PIL import Image

from edgesynth.errors import DataError
from edgesynth.tasks import load_boxes


def edited(root, change):
    file = root / "annotations" / "instances_all.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
    return root


def sizes(task):
    return [task.size(split) for split in SPLITS]


def test_the_case_of_the_ending_does_not_matter(tmp_path):
    root = coco(tmp_path)
    (root / "annotations" / "instances_all.json").rename(root / "annotations" / "Instances_All.JSON")
    assert sum(sizes(load_boxes(root, size=32))) == 40


@pytest.mark.parametrize("parts", [("train", "valid", "test"), ("train",)])
def test_annotations_may_lie_beside_the_pictures_of_each_split(parts, tmp_path):
    root = coco(tmp_path, files=parts)
    for part in parts:
        file = root / "annotations" / f"instances_{part}.json"
        (root / part).mkdir()
        for image in json.loads(file.read_text())["images"]:
            (root / "images" / image["file_name"]).rename(root / part / image["file_name"])
        file.rename(root / part / "_annotations.coco.json")
    (root / "annotations").rmdir()
    task = load_boxes(root, size=32)
    assert sum(sizes(task)) == 40
    assert sizes(task) == [14, 13, 13] or parts == ("train",)


def test_one_file_beside_its_pictures_may_be_given(tmp_path):
    root = coco(tmp_path)
    (root / "images").rename(root / "valid")
    file = (root / "annotations" / "instances_all.json").rename(root / "valid" / "_annotations.coco.json")
    assert sum(sizes(load_boxes(file, size=32))) == 40


@pytest.mark.parametrize("pictures", ["images", "annotations", "."])
def test_the_file_of_a_folder_of_annotations_may_be_given(pictures, tmp_path):
    root = coco(tmp_path)
    for picture in (root / "images").iterdir():
        picture.rename(root / pictures / picture.name)
    task = load_boxes(root / "annotations" / "instances_all.json", size=32)
    assert sizes(task) == sizes(load_boxes(root, size=32))


def test_pictures_of_kinds_that_are_not_read_are_told(tmp_path):
    root = coco(tmp_path)
    (root / "images" / "041.heic").write_bytes(b"whatever")
    division = str(load_boxes(root, size=32).description)
    assert "1 file of a kind that is not read: .heic" in division


def test_pictures_may_be_links(tmp_path):
    root = coco(tmp_path / "set")
    (root / "images").rename(tmp_path / "elsewhere")
    (root / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "003.png").rename(tmp_path / "003.png")
    (tmp_path / "elsewhere" / "003.png").symlink_to(tmp_path / "003.png")
    assert sum(sizes(load_boxes(root, size=32))) == 40


def test_names_may_lead_back_into_the_folder(tmp_path):
    root = edited(coco(tmp_path), lambda d: d["images"][0].update(file_name="../images/000.png"))
    assert sum(sizes(load_boxes(root, size=32))) == 40


@pytest.mark.parametrize("crowd", [0, 1, False, True, None])
def test_a_crowd_is_said_by_a_truth_value(crowd, tmp_path):
    root = edited(coco(tmp_path), lambda d: d["annotations"][0].update(iscrowd=crowd))
    assert ("1 regions marked as crowds" in str(load_boxes(root, size=32).description)) == bool(crowd)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["annotations"][0].update(iscrowd="0"),
            "annotation 2 has iscrowd '0'; give 0 or 1",
        ),
        (
            lambda d: d["annotations"][0].update(category_id=7.5),
            r"annotation 2 has the category_id 7\.5; give a whole number",
        ),
        (
            lambda d: d["annotations"][0].update(image_id=float("inf")),
            "annotation 2 has the image_id inf; give a whole number",
        ),
        (lambda d: d["annotations"][0].update(bbox=[10**400, 1, 2, 3]), "annotation 2 has the box"),
        (lambda d: d["annotations"][0].pop("bbox"), "annotation 2 has the box None"),
        (lambda d: d["images"][0].update(id=float("nan")), "an image has the id nan; give a whole number"),
        (lambda d: d["images"][0].update(width=float("inf")), "image 0 has the width inf"),
        (lambda d: d["images"][0].update(file_name="x" * 5000), "lists the picture 'x{79}[.]{3}, which is"),
        (lambda d: d["images"][0].update(file_name="/etc/passwd"), "lists the picture '/etc/passwd', which"),
        (lambda d: d["categories"][0].update(id="cat"), "a class has the id 'cat'; give a whole number"),
        (lambda d: d["categories"][0].update(name="\ud800"), r"names a class '\\ud800', which holds half"),
        (lambda d: d["categories"][0].update(name=" "), "has a class whose name is empty"),
    ],
)
def test_values_that_are_none_are_one_clear_line(change, message, tmp_path):
    with pytest.raises(DataError, match=f"instances_all.json:? .*{message}|instances_all.json:? {message}"):
        load_boxes(edited(coco(tmp_path), change), size=32)


def test_numbers_that_were_written_as_text_are_read(tmp_path):
    def as_text(data):
        for each in (*data["images"], *data["annotations"], *data["categories"]):
            each.update({key: str(value) for key, value in each.items() if isinstance(value, int)})
            each.pop("iscrowd", None)

    assert sizes(load_boxes(edited(coco(tmp_path / "a"), as_text), size=32)) == sizes(
        load_boxes(coco(tmp_path / "b"), size=32)
    )


def test_the_folder_may_be_named_by_a_way_back_behind_a_link(tmp_path):
    coco(tmp_path / "there" / "set")
    (tmp_path / "there" / "inner").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "inner")
    assert sum(sizes(load_boxes(tmp_path / "link" / ".." / "set", size=32))) == 40


def test_json_that_is_nested_too_deeply_is_refused(tmp_path):
    (coco(tmp_path) / "annotations" / "instances_all.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"instances_all\.json is nested too deeply"):
        load_boxes(tmp_path, size=32)


def test_sizes_of_the_picture_before_exif_turned_it_are_explained(tmp_path):
    root = coco(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.full((40, 80), 9, np.uint8)).save(root / "images" / "003.png", exif=exif)
    Image.fromarray(np.full((80, 40), 9, np.uint8)).save(root / "images" / "004.png")
    with pytest.raises(DataError) as caught:
        load_boxes(root, size=32)
    said = str(caught.value)
    assert "2 of the files" in said
    assert "003.png is 80x40, the picture is 40x80 as its EXIF orientation turns it" in said
    assert "004.png is 80x40, the picture is 40x80;" in said
