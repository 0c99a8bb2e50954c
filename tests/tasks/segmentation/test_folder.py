import numpy as np
import pytest
import torch
from PIL import Image

from edgesynth.errors import DataError, InputError
from edgesynth.tasks import load_mask_folder
from edgesynth.tasks.segmentation.layouts import CITYSCAPES_IDS, VOC_CLASSES, find_layout

SPLITS = ("train", "validation", "test")
PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def values(seed, size=(20, 16), top=3):
    """A mask of blocks, with every value below ``top``."""
    blocks = np.random.default_rng(seed).integers(0, top, (size[1] // 4, size[0] // 4))
    blocks.ravel()[:top] = range(top)
    return blocks.repeat(4, 0).repeat(4, 1).astype(np.uint8)


def draw(path, seed, size=(20, 16), mode="RGB"):
    """A picture that shows its mask: value times fifty in red, noise in the other channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    pixels[..., 0] = 50 * values(seed, size)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def save(path, array, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    if palette is not None:
        picture = picture.convert("P")
        picture.putpalette(palette)
    picture.save(path)
    return path


def pair(images, masks, name, seed, ending="", palette=None):
    draw(images / f"{name}.png", seed)
    save(masks / f"{name}{ending}.png", values(seed), palette)


@pytest.fixture
def folder(tmp_path):
    """Forty pictures with masks, divided by nobody."""
    for index in range(40):
        pair(tmp_path / "images", tmp_path / "masks", f"{index:02}", index)
    return tmp_path


def everything(task, split="train"):
    (batch,) = task.batches(split, batch_size=10_000)
    return task.images(batch.inputs), batch.targets


def assert_aligned(task):
    """Red tells the class, wherever the picture was read."""
    for split in SPLITS:
        pictures, masks = everything(task, split)
        counts = masks != 255
        assert torch.equal(((pictures[:, 0].int() + 25) // 50)[counts], masks.int()[counts])
        assert counts.any()


# --- layouts ---


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


def test_camvid_colours_are_read_and_void_is_ignored(tmp_path):
    colours = np.array([[128, 0, 0], [0, 0, 0], [64, 0, 128]], dtype=np.uint8)
    (tmp_path / "label_colors.txt").write_text("128 0 0\tBuilding\n0 0 0\t\tVoid\n64 0 128\tCar\n")
    for index in range(30):
        draw(tmp_path / "images" / f"{index:02}.png", index)
        save(tmp_path / "labels" / f"{index:02}_L.png", colours[values(index)])
    task = load_mask_folder(tmp_path, size=(16, 20))
    assert task.classes == ("Building", "Car")
    _, masks = everything(task)
    assert set(masks.unique().tolist()) == {0, 1, 255}
    pictures, _ = everything(task)
    stored = (pictures[:, 0].int() + 25) // 50
    assert torch.equal(stored == 1, masks == 255)
    assert torch.equal(stored == 2, masks == 1)
    picked = load_mask_folder(tmp_path, size=(16, 20), classes=("Car", "Void"))
    assert picked.classes == ("Car", "Void")
    assert torch.equal(everything(picked)[1] == 255, stored == 0)
    with pytest.raises(DataError, match=r"knows no class 'Cars'; did you mean 'Car'"):
        load_mask_folder(tmp_path, size=16, classes=("Cars", "Void"))


def test_colours_may_be_given(tmp_path):
    colours = np.array([[10, 20, 30], [0, 0, 0], [255, 255, 255]], dtype=np.uint8)
    for index in range(30):
        draw(tmp_path / "images" / f"{index:02}.png", index)
        save(tmp_path / "masks" / f"{index:02}.png", colours[values(index)])
    classes = {"a": (10, 20, 30), "b": (0, 0, 0), "c": (255, 255, 255)}
    task = load_mask_folder(tmp_path, size=(16, 20), classes=classes)
    assert task.classes == ("a", "b", "c")
    assert_aligned(task)


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
    (lists / "val.txt").write_text("2007_000021\nnowhere\n")
    with pytest.raises(DataError, match=r"no picture for a line of val\.txt: nowhere"):
        load_mask_folder(tmp_path, size=16)


def test_voc_folders_without_lists_are_divided_by_name(tmp_path):
    for index in range(30):
        pair(tmp_path / "JPEGImages", tmp_path / "SegmentationClass", f"{index:02}", index, "", PALETTE)
    task = load_mask_folder(tmp_path, size=(16, 20))
    assert sum(task.size(split) for split in SPLITS) == 30
    (tmp_path / "JPEGImages" / "04.png").unlink()
    with pytest.raises(DataError, match="no picture for a mask: 04"):
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
    with pytest.raises(DataError, match=r"labelIds\.png for a picture: val/ulm/ulm_000001_000019"):
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


# --- what masks hold ---


def test_values_of_sixteen_bits_and_of_one_bit_are_read(tmp_path):
    for index in range(30):
        draw(tmp_path / "images" / f"{index:02}.png", index)
        path = tmp_path / "masks" / f"{index:02}.png"
        if index % 2:
            save(path, values(index).astype(np.uint16))
        else:
            save(path, values(index) > 0)
    task = load_mask_folder(tmp_path, size=(16, 20))
    assert set(everything(task)[1].unique().tolist()) == {0, 1, 2}


def test_names_may_stand_in_a_file(folder):
    (folder / "classes.txt").write_text("sky\nroad\ntree\n")
    assert load_mask_folder(folder, size=8).classes == ("sky", "road", "tree")


def test_an_ignored_value_among_the_classes_moves_the_others_up(folder):
    task = load_mask_folder(folder, size=(16, 20), classes=("one", "two"), ignore_label=0)
    pictures, masks = everything(task)
    stored = (pictures[:, 0].int() + 25) // 50
    assert torch.equal(masks == 255, stored == 0)
    assert torch.equal(masks == 0, stored == 1)


def test_masks_keep_to_their_pictures_when_both_are_cut_and_shrunk(tmp_path):
    # One edge each way; a crop of a wide picture, at a third of the size.
    for index in range(30):
        mask = np.zeros((60, 120), dtype=np.uint8)
        mask[10 + index :, :] = 1
        mask[:, 40 + index :] = 1
        save(tmp_path / "images" / f"{index}.png", 200 * mask)
        save(tmp_path / "masks" / f"{index}.png", mask)
    for fit in ("crop", "stretch"):
        task = load_mask_folder(tmp_path, size=20, fit=fit, colour="grey")
        assert task.input_shape == (1, 20, 20)
        pictures, masks = everything(task)
        assert (pictures[:, 0].float() / 200 - masks).abs().max() <= 0.6
        assert 0.02 < masks.float().mean() < 0.98


def test_unknown_values_are_named_with_their_file(folder):
    odd = values(3)
    odd[5, 7] = 9
    save(folder / "masks" / "03.png", odd)
    with pytest.raises(DataError, match=r"masks/03\.png holds the value 9, .* none of the 3 classes"):
        load_mask_folder(folder, size=8, classes=("a", "b", "c"))
    deep = values(3).astype(np.uint16)
    deep[5, 7] = 999
    save(folder / "masks" / "03.png", deep)
    with pytest.raises(DataError, match=r"03\.png holds the value 999"):
        load_mask_folder(folder, size=8, skip_corrupt=True)


def test_masks_of_fractions_are_refused(folder):
    (folder / "masks" / "04.png").unlink()
    save(folder / "masks" / "04.tif", values(4).astype(np.float32))
    with pytest.raises(DataError, match=r"04\.tif holds fractions"):
        load_mask_folder(folder, size=8, skip_corrupt=True)


def test_unknown_colours_are_named_with_their_file(folder):
    with_colours = np.zeros((16, 20, 3), dtype=np.uint8)
    with_colours[0, 0] = (1, 2, 3)
    save(folder / "masks" / "07.png", with_colours)
    with pytest.raises(DataError, match=r"07\.png holds colours and nothing says .* label_colors\.txt"):
        load_mask_folder(folder, size=8)
    (folder / "label_colors.txt").write_text("0 0 0 sky\n9 9 9 road\n7 7 7 tree\n")
    with pytest.raises(DataError, match=r"07\.png holds the colour \(1, 2, 3\) \(1 pixels"):
        load_mask_folder(folder, size=8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 sky\n", "line 1: expected red, green, blue and a name, got '1 2 sky'"),
        ("1 2 3 sky\n1 2 3 road\n", "'sky' and 'road' have one colour"),
        ("1 2 300 sky\n1 2 3 road\n", "give red, green, blue of 0 to 255"),
        ("1 2 3 sky\n3 2 1 sky\n", "names 2 classes, 1 of them distinct"),
    ],
)
def test_lists_of_colours_nobody_can_use_are_refused(folder, text, message):
    (folder / "label_colors.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        load_mask_folder(folder, size=8)


def test_one_class_is_not_enough(tmp_path):
    for index in range(30):
        draw(tmp_path / "images" / f"{index}.png", index)
        save(tmp_path / "masks" / f"{index}.png", 255 * (values(index) > 0).astype(np.uint8))
    with pytest.raises(DataError, match=r"one class beside the ignored value 255; .*set ignore_label"):
        load_mask_folder(tmp_path, size=8)
    assert load_mask_folder(tmp_path, size=8, ignore_label=254).classes == ("0", "255")
    with pytest.raises(InputError, match="ignore_label is a value of 8 bits, 0 to 255, got -1"):
        load_mask_folder(tmp_path, size=8, ignore_label=-1)


# --- what does not belong together ---


def test_missing_and_superfluous_masks_are_counted_and_named(folder):
    for index in range(7):
        (folder / "masks" / f"{index:02}.png").unlink()
    with pytest.raises(DataError, match=r"no mask for a picture of images/: 00, 01, 02, 03, 04 and 2 more"):
        load_mask_folder(folder, size=8)
    for index in range(8):
        (folder / "images" / f"{index:02}.png").unlink()
    with pytest.raises(DataError, match="no picture for a mask of masks/: 07"):
        load_mask_folder(folder, size=8)


def test_pictures_and_masks_of_different_size_are_refused(folder):
    draw(folder / "images" / "05.png", 5, size=(40, 32))
    with pytest.raises(DataError, match=r"05\.png has 40x32 pixels and its mask 05\.png 20x16"):
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


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_corrupt_files_are_counted_and_named_unless_they_may_be_skipped(folder, limit):
    good = (folder / "images" / "00.png").read_bytes()
    (folder / "images" / "11.png").write_bytes(good[: len(good) // 2])
    (folder / "masks" / "12.png").write_text("I am not a mask")
    (folder / "masks" / "13.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"3 of the files in .* cannot be read") as caught:
        load_mask_folder(folder, size=8, memory_limit_bytes=limit)
    for name in ("images/11.png", "masks/12.png", "masks/13.png", "skip_corrupt = true"):
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


def test_pairs_of_nested_folders_keep_their_folder_in_the_name(tmp_path):
    for town in ("bonn", "ulm"):
        for index in range(3):
            pair(tmp_path / "images" / town, tmp_path / "masks" / town, f"{index}", index)
    names = [found.name for found in find_layout(tmp_path).pairs["train"]]
    assert names == ["bonn/0", "bonn/1", "bonn/2", "ulm/0", "ulm/1", "ulm/2"]
