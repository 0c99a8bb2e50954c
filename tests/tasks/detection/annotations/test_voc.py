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


def test_two_annotations_of_one_picture_are_refused(tmp_path):
    root = voc(tmp_path)
    (root / "Annotations" / "001.XML").write_text("<annotation/>")
    with pytest.raises(DataError, match=r"two files of one name, 001\.XML and 001\.xml"):
        load_boxes(root, size=32)
