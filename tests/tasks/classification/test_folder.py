import os

import numpy as np
import pytest
import torch
from PIL import Image

from edgesynth import zoo
from edgesynth.errors import DataError
from edgesynth.tasks import Augmentation, ImageFormat, TrainingPlan, fit, load_image_folder

SPLITS = ("train", "validation", "test")


def draw(path, level, size=(20, 16), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(abs(hash((path.name, level))) % 2**32).integers(0, 40, (*size[::-1], 3))
    picture = Image.fromarray((noise + level).clip(0, 255).astype(np.uint8)).convert(mode)
    picture.save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Dark and bright pictures of several formats and modes, one directory per class."""
    kinds = [("png", "RGB"), ("jpg", "RGB"), ("png", "L"), ("png", "RGBA"), ("JPEG", "L"), ("bmp", "RGB")]
    for index in range(36):
        suffix, mode = kinds[index % len(kinds)]
        draw(tmp_path / "dark" / f"{index:02}.{suffix}", 20, mode=mode)
        draw(tmp_path / "bright" / f"{index:02}.{suffix}", 190, mode=mode)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "dark" / "Thumbs.db").write_text("not a picture either")
    (tmp_path / ".cache" / "x").mkdir(parents=True)
    return tmp_path


def test_one_directory_per_class_becomes_three_disjoint_splits(folder):
    task = load_image_folder(folder, size=12)
    assert task.classes == ("bright", "dark")
    assert task.input_shape == (3, 12, 12)
    sizes = [task.size(split) for split in SPLITS]
    assert sum(sizes) == 72
    assert all(size >= 4 for size in sizes)
    parts = [
        {image.numpy().tobytes() for batch in task.batches(split, batch_size=9) for image in batch.inputs}
        for split in SPLITS
    ]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert "hash of the file names" in str(task.description)


def test_the_description_says_what_pictures_were_brought_to(folder):
    task = load_image_folder(folder, size=(12, 16), fit="stretch")
    assert task.description.to_json()["pictures"] == ImageFormat(12, 16, "rgb", "stretch").to_json()


def test_the_division_depends_on_names_alone_and_new_files_move_no_other(folder, tmp_path_factory):
    from edgesynth.tasks.classification.folder import _divided

    def division(root):
        return {
            f"{file.label}/{file.path.name}": split
            for split, files in _divided(root)[0].items()
            for file in files
        }

    before = division(folder)
    for index in range(20):
        draw(folder / "dark" / f"new{index}.png", 30)
    after = division(folder)
    assert {name: after[name] for name in before} == before
    moved = tmp_path_factory.mktemp("elsewhere") / "copy"
    folder.rename(moved)
    assert division(moved) == after


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_a_given_division_is_kept(tmp_path, validation):
    for split, count in (("train", 6), (validation, 3), ("test", 2)):
        for label, level in (("a", 10), ("b", 200)):
            for index in range(count):
                draw(tmp_path / split / label / f"{index}.png", level)
    task = load_image_folder(tmp_path, size=8, colour="grey")
    assert [task.size(split) for split in SPLITS] == [12, 6, 4]
    assert task.input_shape == (1, 8, 8)
    assert task.description.division == "splits as given"


def test_two_directories_of_one_split_are_both_read(tmp_path):
    for split in ("train", "val", "valid", "test"):
        for label, level in (("a", 20), ("b", 190)):
            draw(tmp_path / split / label / "0.png", level)
    assert load_image_folder(tmp_path, size=8).size("validation") == 4


def test_what_is_missing_is_held_out_of_train(tmp_path):
    for split, count in (("train", 40), ("test", 3)):
        for label, level in (("a", 10), ("b", 200)):
            for index in range(count):
                draw(tmp_path / split / label / f"{index}.png", level)
    task = load_image_folder(tmp_path, size=8)
    assert task.size("test") == 6
    assert task.size("train") + task.size("validation") == 80
    assert 1 <= task.size("validation") <= 30
    assert "validation held out of train" in task.description.division


def test_a_class_called_train_is_a_class(tmp_path):
    for label, level in (("train", 10), ("bus", 200)):
        for index in range(40):
            draw(tmp_path / label / f"{index}.png", level)
    assert load_image_folder(tmp_path, size=8).classes == ("bus", "train")


def test_a_network_learns_the_users_pictures(folder):
    task = load_image_folder(folder, size=16, augmentation=Augmentation(shift=1))
    torch.manual_seed(0)
    module = zoo.build("resnet8", in_channels=3, classes=2)
    fit(module, task, TrainingPlan(epochs=4, batch_size=16, learning_rate=0.05))
    assert task.score(module, "test").metric.value == 1.0


def test_pictures_may_stay_on_disk(folder):
    kept = load_image_folder(folder, size=10)
    lazy = load_image_folder(folder, size=10, memory_limit_bytes=0)
    for one, other in zip(
        kept.batches("train", batch_size=16), lazy.batches("train", batch_size=16), strict=True
    ):
        assert torch.equal(one.inputs, other.inputs)
    assert kept.normalization == lazy.normalization


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_corrupt_files_are_counted_and_named_unless_they_may_be_skipped(folder, limit):
    good = (folder / "dark" / "00.png").read_bytes()
    (folder / "dark" / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "dark" / "empty.png").write_bytes(b"")
    (folder / "bright" / "text.jpg").write_text("I am not a picture")
    with pytest.raises(DataError, match="3 of the pictures") as caught:
        load_image_folder(folder, size=8, memory_limit_bytes=limit)
    for name in ("cut.png", "empty.png", "text.jpg", "skip_corrupt = true"):
        assert name in str(caught.value)
    task = load_image_folder(folder, size=8, skip_corrupt=True, memory_limit_bytes=limit)
    assert sum(task.size(split) for split in SPLITS) == 72
    assert "3 unreadable files left out" in task.description.division


def test_folders_nobody_can_learn_from_are_refused(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        load_image_folder(tmp_path / "nowhere", size=8)
    with pytest.raises(DataError, match="holds no pictures"):
        load_image_folder(tmp_path, size=8)
    for index in range(30):
        draw(tmp_path / "only" / f"{index}.png", 10)
    with pytest.raises(DataError, match=r"one class \(only\)"):
        load_image_folder(tmp_path, size=8)
    (tmp_path / "rare").mkdir()
    draw(tmp_path / "val" / "rare" / "0.png", 10)
    with pytest.raises(DataError, match="no train directory"):
        load_image_folder(tmp_path, size=8)


def test_a_class_that_was_never_trained_on_is_refused(tmp_path):
    for label in ("a", "b"):
        for split in SPLITS:
            draw(tmp_path / split / label / "0.png", 10)
    draw(tmp_path / "test" / "c" / "0.png", 10)
    with pytest.raises(DataError, match="class 'c' is in test but has no training picture"):
        load_image_folder(tmp_path, size=8)


def test_too_few_pictures_for_a_split_are_refused(tmp_path):
    for label in ("a", "b"):
        draw(tmp_path / "train" / label / "0.png", 10)
        draw(tmp_path / "test" / label / "0.png", 10)
    with pytest.raises(DataError, match="leaves no picture for train"):
        load_image_folder(tmp_path, size=8)


def test_files_that_are_no_use_are_told(folder):
    (folder / "dark" / "00.png").rename(folder / "dark" / "00.avif")
    (folder / "dark" / "01.jpg").rename(folder / "dark" / "01.jfif")
    task = load_image_folder(folder, size=8)
    assert sum(task.size(split) for split in SPLITS) == 71
    assert task.description.division.endswith("; 1 file of a kind that is not read: .avif")
    (folder / "grey").mkdir()
    (folder / "grey" / "00.heic").touch()
    division = load_image_folder(folder, size=8).description.division
    assert division.endswith("; 2 files of kinds that are not read: .avif, .heic")
    (folder / "dark" / "99.png").symlink_to(folder / "gone.png")
    with pytest.raises(DataError, match=r"1 of the pictures .*: dark/99\.png \(No such file or directory\)"):
        load_image_folder(folder, size=8)
    task = load_image_folder(folder, size=8, skip_corrupt=True)
    assert "; 1 unreadable files left out" in task.description.division


def test_names_that_are_no_utf_8_are_read_and_told(tmp_path):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    for index in range(30):
        for label, level in ((os.fsdecode(b"\xe9"), 20), ("bright", 190)):
            draw(root / label / f"{os.fsdecode(bytes([0xE9]))}{index}.png", level)
    task = load_image_folder(root, size=8)
    assert task.name == r"caf\udce9"
    assert task.classes == ("bright", r"\udce9")
    assert str(task.description).isprintable()
