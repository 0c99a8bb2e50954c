import numpy as np
import pytest
import torch
from mask_folders import PALETTE, SPLITS, assert_aligned, draw, everything, pair, save, values

from edgesynth.errors import DataError
from edgesynth.tasks import load_mask_folder
from edgesynth.tasks.segmentation.layouts import CITYSCAPES_IDS, VOC_CLASSES, find_layout


def test_camvid_folders_of_index_masks_are_read(tmp_path):
    for split, count in (("train", 5), ("val", 3), ("test", 2)):
        for index in range(count):
            pair(tmp_path / split, tmp_path / f"{split}annot", f"0016E5_{index}", index)
    # The last value of CamVid's masks is void.
    task = load_mask_folder(tmp_path, size=(16, 20), classes=("sky", "road"), ignore_label=2)
    assert task.classes == ("sky", "road")
    assert [task.size(split) for split in SPLITS] == [5, 3, 2]
    assert set(everything(task)[1].unique().tolist()) == {0, 1, 255}
    assert_aligned(task)


def test_camvid_is_read_as_it_was_published(tmp_path):
    colours = np.array([[128, 0, 0], [0, 0, 0], [64, 0, 128]], dtype=np.uint8)
    for index in range(30):
        draw(tmp_path / "701_StillsRaw_full" / f"0001TP_{index:06}.png", index)
        mask = colours[values(index)]
        save(tmp_path / "LabeledApproved_full" / f"0001TP_{index:06}_L.png", mask)
        split = ("train", "val", "test")[index % 3]
        draw(tmp_path / "copy" / split / f"0001TP_{index:06}.png", index)
        save(tmp_path / "copy" / f"{split}_labels" / f"0001TP_{index:06}_L.png", mask)
    (tmp_path / "label_colors.txt").write_text("128 0 0\tBuilding\n0 0 0\t\tVoid\n64 0 128\tCar\n")
    (tmp_path / "copy" / "class_dict.csv").write_text(
        'name,r,g,b\nBuilding,128,0,0\n"Void", 0, 0, 0\n\nCar,64,0,128\n'
    )
    published = load_mask_folder(tmp_path, size=(16, 20))
    copy = load_mask_folder(tmp_path / "copy", size=(16, 20))
    assert published.classes == copy.classes == ("Building", "Car")
    assert sum(published.size(split) for split in SPLITS) == 30
    assert "frames of one video may lie in different splits" in published.description.division
    assert [copy.size(split) for split in SPLITS] == [10, 10, 10]
    for task in (published, copy):
        pictures, masks = everything(task)
        stored = (pictures[:, 0].int() + 25) // 50
        assert torch.equal(masks, torch.tensor([0, 255, 1], dtype=torch.uint8)[stored])


def test_voc_lists_decide_and_palettes_are_indices(tmp_path):
    for index in range(24):
        pair(tmp_path / "JPEGImages", tmp_path / "SegmentationClass", f"2007_{index:06}", index, "", PALETTE)
    draw(tmp_path / "JPEGImages" / "unlisted.png", 99)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"2007_{index:06}\n" for index in range(20)))
    (lists / "val.txt").write_text("".join(f"2007_{index:06}\n" for index in range(20, 24)))
    (lists / "test.txt").write_text("2008_000001\n")
    task = load_mask_folder(tmp_path, size=(16, 20))
    assert task.classes == VOC_CLASSES
    assert task.size("validation") == 4
    assert task.size("train") + task.size("test") == 20
    assert "test held out of train" in task.description.division
    assert_aligned(task)
    own = load_mask_folder(tmp_path, size=(16, 20), classes=("ground", "cat", "dog"))
    assert own.classes == ("ground", "cat", "dog")
    (lists / "val.txt").write_text("2007_000021\n2007_000003\n")
    with pytest.raises(DataError, match=r"val\.txt lists '2007_000003', which is in another list as well"):
        load_mask_folder(tmp_path, size=16)
    (lists / "val.txt").write_text("2007_000021\nnowhere\n")
    with pytest.raises(DataError, match=r"no picture for a line of val\.txt: nowhere"):
        load_mask_folder(tmp_path, size=16)


def test_voc_folders_without_lists_are_divided_by_name(tmp_path):
    for index in range(30):
        pair(tmp_path / "JPEGImages", tmp_path / "SegmentationClass", f"{index:02}", index, "", PALETTE)
    task = load_mask_folder(tmp_path, size=(16, 20))
    assert sum(task.size(split) for split in SPLITS) == 30
    (tmp_path / "JPEGImages" / "04.png").unlink()
    with pytest.raises(DataError, match=r"SegmentationClass/04\.png \(without a picture in JPEGImages\)"):
        load_mask_folder(tmp_path, size=16)


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes_ids_become_its_nineteen_classes(tmp_path, kind):
    stored = np.array([7, 33, 4] if kind == "labelIds" else [0, 18, 255], dtype=np.uint8)
    for split, count in (("train", 16), ("val", 3), ("test", 2)):
        for index in range(count):
            stem = f"ulm_{index:06}_000019"
            draw(tmp_path / "leftImg8bit" / split / "ulm" / f"{stem}_leftImg8bit.png", index)
            path = tmp_path / "gtFine" / split / "ulm" / f"{stem}_gtFine_{kind}.png"
            save(path, stored[values(index)])
    task = load_mask_folder(tmp_path, size=(16, 20))
    assert task.classes == tuple(CITYSCAPES_IDS)
    assert len(task.classes) == 19
    assert set(everything(task)[1].unique().tolist()) == {0, 18, 255}
    assert task.size("validation") == 3
    assert task.size("train") + task.size("test") == 16
    assert "withheld" in task.description.division
    picked = load_mask_folder(tmp_path, size=(16, 20), classes=("bicycle", "road"))
    assert torch.equal(everything(picked)[1] == 0, everything(task)[1] == 18)
    path.unlink()
    (tmp_path / "gtFine" / "val" / "ulm" / f"ulm_000001_000019_gtFine_{kind}.png").unlink()
    with pytest.raises(DataError, match=r"/ulm_000001_000019_leftImg8bit\.png \(without a mask in ulm\)"):
        load_mask_folder(tmp_path, size=16)


def test_folders_in_no_known_layout_are_refused(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        load_mask_folder(tmp_path / "nowhere", size=8)
    with pytest.raises(DataError, match="no pictures with masks in a known layout; expected images/"):
        load_mask_folder(tmp_path, size=8)
    (tmp_path / "val" / "images").mkdir(parents=True)
    (tmp_path / "val" / "masks").mkdir()
    with pytest.raises(DataError, match="holds validation but no pictures to train on"):
        load_mask_folder(tmp_path, size=8)
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match="no SegmentationClass/"):
        load_mask_folder(tmp_path, size=8)
    (tmp_path / "JPEGImages").rename(tmp_path / "leftImg8bit")
    with pytest.raises(DataError, match="no gtFine/"):
        load_mask_folder(tmp_path, size=8)


def test_missing_and_superfluous_masks_are_counted_and_named(folder):
    for index in range(7):
        (folder / "masks" / f"{index:02}.png").unlink()
    named = ", ".join(f"images/0{index}.png" for index in range(5))
    with pytest.raises(
        DataError, match=rf"7 of the files .*: {named} \(without a mask in masks\) and 2 more; repair"
    ):
        load_mask_folder(folder, size=8)
    for index in range(8):
        (folder / "images" / f"{index:02}.png").unlink()
    with pytest.raises(DataError, match=r"1 of the files .*: masks/07\.png \(without a picture in images\)"):
        load_mask_folder(folder, size=8)


@pytest.mark.parametrize("part", ["images", "masks"])
def test_two_files_of_one_name_are_refused(folder, part):
    draw(folder / part / "02.bmp", 2)
    with pytest.raises(DataError, match=rf"{part} holds two files of one name, 02\.bmp and 02\.png"):
        load_mask_folder(folder, size=8)


def test_masks_stored_with_losses_are_refused(folder):
    (folder / "masks" / "02.png").unlink()
    save(folder / "masks" / "02.jpg", values(2))
    with pytest.raises(DataError, match=r"02\.jpg is stored with losses"):
        load_mask_folder(folder, size=8)


def test_two_folders_of_masks_are_one_too_many(folder):
    (folder / "labels").mkdir()
    with pytest.raises(DataError, match="both masks/ and labels/"):
        load_mask_folder(folder, size=8)


def test_splits_inside_images_and_masks_are_kept(tmp_path):
    for split, count in (("train", 5), ("val", 3), ("test", 2)):
        for index in range(count):
            pair(tmp_path / "images" / split, tmp_path / "masks" / split, f"{index}", index)
    task = load_mask_folder(tmp_path, size=(16, 20))
    assert [task.size(split) for split in SPLITS] == [5, 3, 2]
    assert task.description.division == "splits as given"


def test_two_folders_of_one_split_are_both_read(tmp_path):
    for split in ("train", "val", "valid", "test"):
        for index in range(3):
            pair(tmp_path / "a" / split / "images", tmp_path / "a" / split / "masks", f"{index}", index)
            pair(tmp_path / "b" / split, tmp_path / "b" / f"{split}annot", f"{index}", index)
    for root in (tmp_path / "a", tmp_path / "b"):
        assert load_mask_folder(root, size=8).size("validation") == 6


def test_a_split_whose_masks_are_missing_is_not_passed_over(tmp_path):
    for index in range(30):
        pair(tmp_path / "a" / "train" / "images", tmp_path / "a" / "train" / "masks", f"{index}", index)
        pair(tmp_path / "b" / "train", tmp_path / "b" / "trainannot", f"{index}", index)
    draw(tmp_path / "a" / "val" / "images" / "0.png", 0)
    draw(tmp_path / "b" / "val" / "0.png", 0)
    for root in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(DataError, match="val holds pictures, and no folder of masks is there for them"):
            load_mask_folder(root, size=8)
        (root / "val").rename(root / "unlabelled")
        assert sum(load_mask_folder(root, size=8).size(split) for split in SPLITS) == 30


def test_pairs_of_nested_folders_keep_their_folder_in_the_name(tmp_path):
    for town in ("bonn", "ulm"):
        for index in range(3):
            pair(tmp_path / "images" / town, tmp_path / "masks" / town, f"{index}", index)
    names = [found.name for found in find_layout(tmp_path).pairs["train"]]
    assert names == ["bonn/0", "bonn/1", "bonn/2", "ulm/0", "ulm/1", "ulm/2"]
