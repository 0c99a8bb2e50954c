import numpy as np
import pytest
from PIL import Image, ImageOps

from edgesynth.errors import DataError, InputError
from edgesynth.tasks import ImageFormat
from edgesynth.tasks.images import read_image


def test_transparent_pixels_become_white_and_deep_grey_keeps_its_upper_byte(tmp_path):
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    clear.save(tmp_path / "clear.png")
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.save(tmp_path / "palette.png", transparency=1)
    Image.fromarray(np.full((4, 4), 0x80FF, dtype=np.uint16)).save(tmp_path / "deep.png")
    rgb, grey = ImageFormat(4, 4), ImageFormat(4, 4, "grey")
    assert read_image(tmp_path / "clear.png", rgb).unique().tolist() == [255]
    assert read_image(tmp_path / "palette.png", rgb).unique().tolist() == [255]
    assert read_image(tmp_path / "deep.png", grey).unique().tolist() == [0x80]


def test_pictures_of_fractions_are_refused_instead_of_read_as_black(tmp_path):
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(tmp_path / "half.tif")
    with pytest.raises(DataError, match=r"half\.tif: it holds fractions; save it with 8 or 16 bits"):
        read_image(tmp_path / "half.tif", ImageFormat(4, 4))


def test_pictures_are_turned_as_the_camera_said(tmp_path):
    picture = Image.new("RGB", (8, 4), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.paste((0, 0, 255), (0, 0, 4, 4))
    picture.save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png", ImageFormat(8, 4))
    assert upright[:, 0, 0].tolist() == [0, 0, 255]
    assert upright[:, 7, 0].tolist() == [255, 0, 0]


def test_crop_keeps_proportions_and_stretch_keeps_everything(tmp_path):
    picture = Image.new("RGB", (30, 10), (0, 0, 0))
    picture.paste((255, 255, 255), (10, 0, 20, 10))
    picture.save(tmp_path / "wide.png")
    crop = read_image(tmp_path / "wide.png", ImageFormat(10, 10))
    stretch = read_image(tmp_path / "wide.png", ImageFormat(10, 10, fit="stretch"))
    assert int(crop.min()) > 200
    assert int(stretch.min()) == 0
    with pytest.raises(InputError, match="0x5"):
        ImageFormat(0, 5)


def test_a_picture_too_large_to_trust_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("RGB", (60, 60)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"bomb\.png"):
        read_image(path, ImageFormat(4, 4))


@pytest.mark.parametrize("colour", ["rgb", "grey"])
@pytest.mark.parametrize("fit", ["crop", "stretch", "letterbox"])
def test_a_program_that_does_as_the_form_says_gets_the_same_pixels(tmp_path, fit, colour):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (30, 50, 3), dtype=np.uint8)).save(tmp_path / "noise.png")
    form = ImageFormat(16, 20, colour, fit)
    told = form.to_json()
    picture = Image.open(tmp_path / "noise.png").convert(told["channels"])
    size, method = (told["width"], told["height"]), Image.Resampling[told["resampling"].upper()]
    if told["fit"] == "letterbox":
        fill = told["fill"]
        inside = ImageOps.contain(picture, size, method)
        made = ImageOps.pad(inside, size, method, fill if told["channels"] == "L" else (fill, fill, fill))
    else:
        made = {"crop": ImageOps.fit, "stretch": Image.Image.resize}[told["fit"]](picture, size, method)
    expected = np.atleast_3d(np.asarray(made)).transpose(2, 0, 1)
    assert np.array_equal(read_image(tmp_path / "noise.png", form).numpy(), expected)
    assert ("fill" in told) == (fit == "letterbox")
