import os

import pytest

from edgesynth.errors import DataError
from edgesynth.tasks.images import (
    by_name,
    check_filled,
    draw,
    first_few,
    held_out,
    not_read,
    pictures_in,
    split_directories,
)


def test_splits_are_found_whatever_they_are_called(tmp_path):
    for name in ("Train", "val", "TEST", ".valid", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "test.txt").touch()
    found = [(split, path.name) for split, path in split_directories(tmp_path)]
    assert found == [("test", "TEST"), ("train", "Train"), ("validation", "val")]


def test_pictures_are_told_from_other_files_by_their_ending(tmp_path):
    (tmp_path / "inner" / "folder.png").mkdir(parents=True)
    (tmp_path / ".copies").mkdir()
    for name in ("b.PNG", "a.jpeg", ".hidden.png", "notes.txt", "inner/c.tif", ".copies/a.png"):
        (tmp_path / name).touch()
    assert [path.name for path in pictures_in(tmp_path)] == ["a.jpeg", "b.PNG"]
    assert [path.name for path in pictures_in(tmp_path, "**/*")] == ["a.jpeg", "b.PNG", "c.tif"]
    assert pictures_in(tmp_path / "nowhere") == []


def test_only_missing_splits_are_held_out_of_train():
    names = [f"{index}.png" for index in range(1000)]
    divided, note = held_out({"train": names}, draw)
    assert sorted(name for part in divided.values() for name in part) == sorted(names)
    assert 100 < len(divided["test"]) < 200
    assert 100 < len(divided["validation"]) < 200
    assert note == "test and validation held out of train by a hash of the file names"
    given, note = held_out({"train": names, "test": ["x.png"]}, draw)
    assert given["test"] == ["x.png"]
    # Fewer hold-outs do not move the pictures of train elsewhere.
    assert set(divided["train"]) <= set(given["train"])
    assert note.startswith("validation held out")


def test_an_empty_split_is_named(tmp_path):
    check_filled(tmp_path, {"train": [1], "test": [2]})
    with pytest.raises(DataError, match="leaves no picture for test; add pictures, or splits of your own"):
        check_filled(tmp_path, {"train": [1], "test": []})


def test_many_names_are_cut_short():
    assert first_few(["a", "b"]) == "a, b"
    assert first_few(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_two_files_of_one_name_are_told(tmp_path):
    files = [tmp_path / "a.png", tmp_path / "inner" / "a.png"]
    assert by_name(tmp_path, files) == {"a": files[0], "inner/a": files[1]}
    with pytest.raises(DataError, match=r"two files of one name, a\.png and a\.jpg; rename or remove"):
        by_name(tmp_path, [*files, tmp_path / "a.jpg"])


def test_links_to_folders_are_followed_and_what_lies_there_keeps_its_place(tmp_path):
    for name in ("own/train/b.png", "own/train/a.png", "far/val/c.png", "far/val/inner/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    own = tmp_path / "own"
    before = pictures_in(own, "**/*")
    (own / "val").symlink_to(tmp_path / "far" / "val")
    found = [path.relative_to(own).as_posix() for path in pictures_in(own, "**/*")]
    assert found == ["train/a.png", "train/b.png", "val/c.png", "val/inner/d.png"]
    assert pictures_in(own, "**/*")[:2] == before
    assert [path.name for path in pictures_in(own / "val")] == ["c.png"]


def test_links_that_lead_back_or_to_one_folder_find_nothing_twice(tmp_path):
    own = tmp_path / "own"
    (own / "train").mkdir(parents=True)
    (own / "train" / "a.png").touch()
    (own / "train" / "again").symlink_to(own)
    (own / "above").symlink_to(tmp_path)
    (own / "copy").symlink_to(own / "train")
    (own / "itself").symlink_to("itself")
    assert [path.relative_to(own).as_posix() for path in pictures_in(own, "**/*")] == ["train/a.png"]


def test_a_link_that_leads_nowhere_is_a_picture_that_cannot_be_read(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "notes").symlink_to(tmp_path / "gone")
    for pattern in ("*", "**/*"):
        assert [path.name for path in pictures_in(tmp_path, pattern)] == ["a.png"]


def test_names_that_are_no_utf_8_are_drawn_as_well():
    assert draw("class/a.png") == 0.720446689801286
    assert 0 <= draw(os.fsdecode(b"caf\xe9.png")) < 1


def test_pictures_of_kinds_that_are_not_read_are_counted(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("a.png", "notes.txt", "b.AVIF"):
        (tmp_path / name).touch()
    assert not_read([inner]) == ""
    assert not_read([tmp_path, inner, tmp_path]) == "; 1 file of a kind that is not read: .avif"
    (inner / "c.heic").touch()
    assert not_read([tmp_path, inner]) == "; 2 files of kinds that are not read: .avif, .heic"
    (tmp_path / "a.jfif").touch()
    assert [path.name for path in pictures_in(tmp_path)] == ["a.jfif", "a.png"]


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    with pytest.raises(DataError, match=r"cannot look into .*: Permission denied; give a folder you may"):
        pictures_in(tmp_path)
