import pytest
import torch
from box_folders import SPLITS, scene, yolo

from edgesynth.errors import DataError
from edgesynth.tasks import load_boxes


def count(task):
    return sum(task.size(split) for split in SPLITS)


def objects(task):
    return sum(
        int((batch.targets["labels"] >= 0).sum())
        for split in SPLITS
        for batch in task.batches(split, batch_size=64)
    )


def test_the_case_of_endings_does_not_matter(tmp_path):
    root = yolo(tmp_path)
    (root / "data.yaml").unlink()
    for file in (root / "labels").iterdir():
        file.rename(file.with_suffix(".TXT"))
    (root / "labels" / "Classes.TXT").write_text("even\nodd\n")
    task = load_boxes(root, size=32)
    assert (count(task), objects(task)) == (40, 32)
    assert "8 pictures without an annotation file, taken to show no object" in str(task.description)


def test_where_the_classes_are_known_a_damaged_yaml_is_no_reason_to_refuse(tmp_path):
    root = yolo(tmp_path)
    (root / "data.yaml").write_text("names: [even, odd\n\tpath: x")
    with pytest.raises(DataError, match=r"data\.yaml as YAML"):
        load_boxes(root, size=32)
    assert count(load_boxes(root, size=32, classes=["even", "odd"])) == 40
    (root / "classes.txt").write_text("even\nodd\n")
    assert count(load_boxes(root, size=32)) == 40


def test_pictures_that_all_have_labels_are_not_spoken_of(tmp_path):
    root = yolo(tmp_path)
    for index in range(0, 40, 5):
        (root / "labels" / f"{index:03}.txt").write_text("")
    assert "without an annotation" not in str(load_boxes(root, size=32).description)


def test_links_to_folders_are_followed_and_their_loops_are_not(tmp_path):
    root = yolo(tmp_path / "set")
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        for file in list((root / part).iterdir()):
            if file.stem < "020":
                file.rename(tmp_path / part / file.name)
        (root / part / "more").symlink_to(tmp_path / part)
        (tmp_path / part / "round").symlink_to(root / part)
        (tmp_path / part / "self").symlink_to("self")
    task = load_boxes(root, size=32)
    assert (count(task), objects(task)) == (40, 32)


def test_files_that_are_hidden_are_no_labels(tmp_path):
    root = yolo(tmp_path)
    (root / "labels" / "._001.txt").write_bytes(b"\x00\x05\x16\x07")
    assert count(load_boxes(root, size=32)) == 40


def outline(index):
    """The box as a diamond whose corners touch its sides."""
    _, (x0, y0, x1, y1) = scene(index)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    points = ((x, y0), (x1, y), (x, y1), (x0, y))
    return f"{index % 2} " + " ".join(f"{across / 80} {down / 40}" for across, down in points)


def test_of_outlines_the_box_around_them_is_taken(tmp_path):
    boxes, outlines = yolo(tmp_path / "boxes"), yolo(tmp_path / "outlines")
    for file in (outlines / "labels").iterdir():
        file.write_text(outline(int(file.stem)))
    tasks = [load_boxes(root, size=(40, 80)) for root in (boxes, outlines)]
    one, other = (next(task.batches("test", batch_size=64)).targets for task in tasks)
    assert torch.equal(one["labels"], other["labels"])
    assert torch.allclose(one["boxes"], other["boxes"], atol=1e-4)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("0 .1 .1 .2 .2", "names: [even, odd]\nkpt_shape: [2, 2]\n"),
        ("0 .5 .5 .4 .4 .9", "names: [even, odd]\n"),
        ("0 .5 .5 .4 .4 .9 .9 .1", "names: [even, odd]\n"),
    ],
)
def test_numbers_that_are_no_outline_are_refused(line, names, tmp_path):
    root = yolo(tmp_path, names=names)
    (root / "labels" / "001.txt").write_text(f"{line} .3 .3" if "kpt" in names else line)
    with pytest.raises(DataError, match=r"001\.txt, line 1: .* is not 'class x y width height'"):
        load_boxes(root, size=32)
