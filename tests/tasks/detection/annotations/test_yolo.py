from box_folders import SPLITS, yolo

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
