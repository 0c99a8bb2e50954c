import numpy as np
import pytest
from mask_folders import PALETTE, assert_aligned, draw, everything, save, values
from PIL import Image

from edgesynth.errors import DataError
from edgesynth.tasks import load_mask_folder


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


@pytest.mark.parametrize("orientation", [3, 6])
def test_masks_are_turned_as_their_exif_orientation_says_like_pictures(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for index in range(30):
        draw(tmp_path / "plain" / f"{index}.png", index)
        kinds = (np.uint8, np.uint16)
        for place, array in (
            ("images", np.asarray(Image.open(tmp_path / "plain" / f"{index}.png"))),
            ("masks", values(index).astype(kinds[index % 2])),
        ):
            (tmp_path / place).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / place / f"{index}.png", exif=exif)
    task = load_mask_folder(tmp_path, size=(20, 16) if orientation == 6 else (16, 20))
    assert_aligned(task)


def test_masks_of_fractions_are_refused(folder):
    (folder / "masks" / "04.png").unlink()
    save(folder / "masks" / "04.tif", values(4).astype(np.float32))
    with pytest.raises(DataError, match=r"04\.tif \(holds fractions"):
        load_mask_folder(folder, size=8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "PA"])
def test_greys_are_values_whatever_they_are_stored_as(folder, mode):
    for index in range(40):
        (folder / "masks" / f"{index:02}.png").unlink()
        stored = Image.fromarray(values(index))
        if mode == "PA":
            stored = Image.merge("LA", (stored, Image.new("L", stored.size, 255)))
            stored.putpalette(PALETTE)
        stored.convert(mode).save(folder / "masks" / f"{index:02}.tif")
    assert Image.open(folder / "masks" / "00.tif").mode == mode
    assert_aligned(load_mask_folder(folder, size=(16, 20)))


def test_greys_that_may_mean_more_are_no_values(folder):
    for index, mode in ((7, "RGBA"), (8, "CMYK")):
        (folder / "masks" / f"0{index}.png").unlink()
        Image.new(mode, (20, 16)).save(folder / "masks" / f"0{index}.tif")
    with pytest.raises(DataError, match=r"masks/07\.tif, masks/08\.tif \(holds colours and nothing says"):
        load_mask_folder(folder, size=8)


def test_unknown_colours_are_named_with_their_file(folder):
    with_colours = np.zeros((16, 20, 3), dtype=np.uint8)
    with_colours[0, 0] = (1, 2, 3)
    save(folder / "masks" / "07.png", with_colours)
    with pytest.raises(DataError, match=r"07\.png \(holds colours and nothing says .* label_colors\.txt"):
        load_mask_folder(folder, size=8)
    (folder / "label_colors.txt").write_text("0 0 0 sky\n9 9 9 road\n7 7 7 tree\n")
    with pytest.raises(DataError, match=r"07\.png \(holds the colour \(1, 2, 3\) \(1 pixels"):
        load_mask_folder(folder, size=8)
