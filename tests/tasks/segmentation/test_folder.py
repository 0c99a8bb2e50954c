import numpy as np
import pytest
import torch
from mask_folders import SPLITS, assert_aligned, draw, everything, pair, save

from edgesynth.errors import DataError
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
    with pytest.raises(DataError, match=r"05\.png has 40x32 pixels and its mask 05\.png 20x16"):
        load_mask_folder(folder, size=8)


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_corrupt_files_are_counted_and_named_unless_they_may_be_skipped(folder, limit):
    good = (folder / "images" / "00.png").read_bytes()
    (folder / "images" / "11.png").write_bytes(good[: len(good) // 2])
    (folder / "masks" / "12.png").write_text("I am not a mask")
    (folder / "masks" / "13.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"3 of the files in .* cannot be read") as caught:
        load_mask_folder(folder, size=8, memory_limit_bytes=limit)
    for name in ("images/11.png", "masks/12.png", "masks/13.png", "truncated", "skip_corrupt = true"):
        assert name in str(caught.value)
    task = load_mask_folder(folder, size=8, skip_corrupt=True, memory_limit_bytes=limit)
    assert sum(task.size(split) for split in SPLITS) == 37
    assert "3 unreadable files left out" in task.description.division


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
