import pytest

from edgesynth.errors import DataError
from edgesynth.tasks.images import (
    by_name,
    check_filled,
    draw,
    first_few,
    held_out,
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
