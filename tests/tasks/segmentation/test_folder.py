import os

import numpy as np
import pytest
import torch
from mask_folders import SPLITS, assert_aligned, draw, everything, pair, save, values
from PIL import Image

from edgesynth.errors import DataError, InputError
from edgesynth.tasks import load_mask_folder


def test_a_plain_folder_becomes_three_disjoint_splits(folder):
    task = load_mask_folder(folder, size=(16, 20))
    assert task.classes == ("0", "1", "2")
    assert task.input_shape == (3, 16, 20)
    assert_aligned(task)
    parts = [{x.numpy().tobytes() for x in everything(task, split)[0]} for split in SPLITS]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40
    assert all(len(part) >= 2 for part in parts)
    assert "hash of the file names" in task.description.division
    assert task.description.origin == "user"
    assert task.description.source == f"pictures and masks in {folder}, cropped to 16x20"


def test_the_division_depends_on_names_alone_and_new_files_move_no_other(folder):
    def division():
        task = load_mask_folder(folder, size=(16, 20))
        return {x.numpy().tobytes(): split for split in SPLITS for x in everything(task, split)[0]}

    before = division()
    for index in range(40, 50):
        pair(folder / "images", folder / "masks", f"new{index}", index)
    after = division()
    assert len(after) == 50
    assert {sample: after[sample] for sample in before} == before


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_given_splits_are_kept(tmp_path, validation):
    for split, count in (("train", 5), (validation, 3), ("test", 2)):
        for index in range(count):
            pair(tmp_path / split / "images", tmp_path / split / "labels", f"{split}{index}", index)
    task = load_mask_folder(tmp_path, size=(16, 20))
    assert [task.size(split) for split in SPLITS] == [5, 3, 2]
    assert task.description.division == "splits as given"


def test_pictures_and_masks_of_different_size_are_refused(folder):
    draw(folder / "images" / "05.png", 5, size=(40, 32))
    with pytest.raises(DataError, match=r"05\.png \(40x32 pixels, its mask 05\.png 20x16\)"):
        load_mask_folder(folder, size=8)


def test_a_picture_that_its_orientation_turns_away_from_its_mask_is_told(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.open(folder / "images" / "05.png")
    picture.save(folder / "images" / "05.png", exif=exif)
    with pytest.raises(
        DataError,
        match=r"05\.png \(16x20 pixels once its EXIF orientation turns it, its mask 05\.png 20x16\)",
    ):
        load_mask_folder(folder, size=8)


def test_pairs_nobody_can_use_are_counted_and_named_together_or_left_out(folder):
    draw(folder / "images" / "05.png", 5, size=(40, 32))
    for index in (3, 4, 9):
        save(folder / "masks" / f"{index:02}.png", values(index) + 9)
    (folder / "masks" / "07.png").unlink()
    (folder / "images" / "08.png").unlink()
    save(folder / "masks" / "10.png", np.full((16, 20, 3), (1, 2, 3), dtype=np.uint8))
    names = ("a", "b", "c")
    with pytest.raises(DataError, match=r"^7 of the files in .* cannot be used: ") as caught:
        load_mask_folder(folder, size=8, classes=names)
    told = str(caught.value).partition("be used: ")[2]
    assert told == (
        "images/05.png (40x32 pixels, its mask 05.png 20x16), images/07.png (without a mask in masks), "
        "masks/03.png, masks/04.png (holds the value 9, which is none of the 3 classes; name more classes, "
        "or set ignore_label to it), masks/08.png (without a picture in images) and 2 more; repair or remove "
        "them, or leave them out with skip_corrupt = true"
    )
    task = load_mask_folder(folder, size=8, classes=names, skip_corrupt=True)
    assert sum(task.size(split) for split in SPLITS) == 33
    assert task.description.division.endswith("; 7 pictures or masks that cannot be used left out")


def test_where_no_pair_is_left_the_reason_is_told(folder):
    with pytest.raises(DataError, match=r"40 of the files .* value 1, which is none of the 1 classes"):
        load_mask_folder(folder, size=8, classes=("a",), skip_corrupt=True)


def test_a_class_that_is_never_shown_in_training_is_refused(tmp_path):
    for split, top in (("train", 2), ("val", 3), ("test", 2)):
        for index in range(3):
            draw(tmp_path / split / "images" / f"{index}.png", index)
            save(tmp_path / split / "masks" / f"{index}.png", values(index, top=top))
    with pytest.raises(
        DataError, match=r"masks of validation show 'c' and no training mask does; add some, or divide"
    ):
        load_mask_folder(tmp_path, size=8, classes=("a", "b", "c"))
    assert load_mask_folder(tmp_path, size=8, ignore_label=2).classes == ("0", "1")


def test_splits_behind_links_are_kept(tmp_path):
    for split, count in (("train", 20), ("val", 6)):
        for index in range(count):
            pair(tmp_path / "far" / split / "x", tmp_path / "far" / split / "y", f"{split}{index}", index)
    for part, kind in (("images", "x"), ("masks", "y")):
        (tmp_path / "own" / part).mkdir(parents=True)
        for split in ("train", "val"):
            (tmp_path / "own" / part / split).symlink_to(tmp_path / "far" / split / kind)
    assert load_mask_folder(tmp_path / "own", size=8).size("validation") == 6


def test_files_of_kinds_that_are_not_read_are_told(folder):
    (folder / "images" / "x.heic").touch()
    division = load_mask_folder(folder, size=8).description.division
    assert division.endswith("; 1 file of a kind that is not read: .heic")


def test_names_that_are_no_utf_8_are_read_and_told(tmp_path):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    for index in range(30):
        pair(root / "images", root / "masks", f"{os.fsdecode(bytes([0xE9]))}{index}", index)
    task = load_mask_folder(root, size=8)
    assert task.name == r"caf\udce9"
    assert str(task.description).isprintable()


def test_words_and_sizes_nobody_can_use_are_refused(folder):
    with pytest.raises(InputError, match="fit is 'crop' or 'stretch' for pictures with masks, got 'letterbo"):
        load_mask_folder(folder, size=8, fit="letterbox")
    with pytest.raises(InputError, match="colour must be 'rgb' or 'grey', got 'gray'"):
        load_mask_folder(folder, size=8, colour="gray")


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_corrupt_files_are_counted_and_named_unless_they_may_be_skipped(folder, limit):
    good = (folder / "images" / "00.png").read_bytes()
    (folder / "images" / "11.png").write_bytes(good[: len(good) // 2])
    (folder / "masks" / "12.png").write_text("I am not a mask")
    (folder / "masks" / "13.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"3 of the files in .* cannot be used") as caught:
        load_mask_folder(folder, size=8, memory_limit_bytes=limit)
    for name in ("images/11.png", "masks/12.png, masks/13.png", "damaged", "truncated", "skip_corrupt"):
        assert name in str(caught.value)
    task = load_mask_folder(folder, size=8, skip_corrupt=True, memory_limit_bytes=limit)
    assert sum(task.size(split) for split in SPLITS) == 37
    assert "3 pictures or masks that cannot be used left out" in task.description.division


def test_too_few_pictures_for_a_split_are_refused(tmp_path):
    pair(tmp_path / "images", tmp_path / "masks", "only", 0)
    with pytest.raises(DataError, match="leaves no picture for"):
        load_mask_folder(tmp_path, size=8)


def test_pictures_of_every_kind_are_brought_to_the_colours_asked_for(folder):
    for index, mode in enumerate(("L", "RGBA", "LA", "P", "1", "CMYK")):
        suffix = "tif" if mode == "CMYK" else "png"
        (folder / "images" / f"{index:02}.png").unlink()
        draw(folder / "images" / f"{index:02}.{suffix}", index, mode=mode)
    (folder / "images" / "06.png").unlink()
    save(folder / "images" / "06.png", np.full((16, 20), 0x80FF, dtype=np.uint16))
    assert load_mask_folder(folder, size=(16, 20)).input_shape == (3, 16, 20)
    task = load_mask_folder(folder, size=(16, 20), colour="grey")
    assert task.input_shape == (1, 16, 20)
    assert sum(task.size(split) for split in SPLITS) == 40


def test_pictures_may_stay_on_disk(folder):
    kept = load_mask_folder(folder, size=10)
    lazy = load_mask_folder(folder, size=10, memory_limit_bytes=0)
    for split in SPLITS:
        for one, other in zip(
            kept.batches(split, batch_size=9), lazy.batches(split, batch_size=9), strict=True
        ):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.targets, other.targets)
    assert kept.normalization == lazy.normalization
    few = [next(task.batches("train", batch_size=6, limit=6)) for task in (kept, lazy)]
    assert torch.equal(few[0].targets, few[1].targets)


def test_mirroring_can_be_ruled_out(folder):
    assert load_mask_folder(folder, size=8).augmentation.flip
    assert not load_mask_folder(folder, size=8, mirror=False).augmentation.flip
