import pytest
from box_folders import SPLITS, voc

from edgesynth.errors import DataError
from edgesynth.tasks import load_boxes


def test_the_case_of_endings_does_not_matter(tmp_path):
    root = voc(tmp_path, lists=True)
    for folder in (root / "Annotations", root / "ImageSets" / "Main"):
        for file in folder.iterdir():
            file.rename(file.with_suffix(file.suffix.upper()))
    task = load_boxes(root, size=32)
    assert [task.size(split) for split in SPLITS] == [14, 13, 13]
    assert "8 pictures without an annotation file" in str(task.description)


def dangling(file):
    file.unlink()
    file.symlink_to("nowhere.xml")


def folder(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dangling, r"cannot read .*001\.xml: No such file"),
        (folder, r"cannot read .*001\.xml: Is a directory"),
        (
            lambda file: file.write_text('<?xml version="1.0" encoding="klingon"?>' + file.read_text()),
            r"cannot read .*001\.xml as XML: unknown encoding",
        ),
    ],
)
def test_an_annotation_that_cannot_be_read_is_one_clear_line_or_left_out(change, message, tmp_path):
    root = voc(tmp_path)
    change(root / "Annotations" / "001.xml")
    with pytest.raises(DataError, match=f"1 of the files .*{message}"):
        load_boxes(root, size=32)
    task = load_boxes(root, size=32, skip_corrupt=True)
    assert sum(task.size(split) for split in SPLITS) == 39


def test_two_annotations_of_one_picture_are_refused(tmp_path):
    root = voc(tmp_path)
    (root / "Annotations" / "001.XML").write_text("<annotation/>")
    with pytest.raises(DataError, match=r"two files of one name, 001\.XML and 001\.xml"):
        load_boxes(root, size=32)
