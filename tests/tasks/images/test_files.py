import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from edgesynth.errors import DataError, InputError
from edgesynth.tasks import ImageFormat, load_image_folder
from edgesynth.tasks.images import read_image, read_images


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


def test_whole_numbers_of_more_than_16_bits_are_refused_instead_of_read_as_black(tmp_path):
    for name, dtype in (("deep.tif", np.int32), ("signed.tif", np.int16)):
        pixels = np.full((4, 4), 200, dtype=dtype)
        if dtype is np.int32:
            Image.fromarray(pixels).save(tmp_path / name)
        else:
            signed = {258: 16, 339: 2}
            raw = Image.frombytes("I;16", (4, 4), pixels.tobytes())
            raw.save(tmp_path / name, tiffinfo=signed)
        with Image.open(tmp_path / name) as kept:
            assert kept.mode == "I"
        with pytest.raises(
            DataError, match=rf"{name}: it holds 32-bit or signed integers; save it with 8 or 16"
        ):
            read_image(tmp_path / name, ImageFormat(4, 4))


@pytest.mark.parametrize(
    ("most", "value", "read"), [(65_535, 0x80FF, 0x80), (1023, 512, 0x80), (255, 128, 128)]
)
def test_grey_maps_are_read_by_what_they_say_is_white(tmp_path, most, value, read):
    kind = ">u2" if most > 255 else "u1"
    pixels = np.full(16, value, dtype=kind).tobytes()
    (tmp_path / "grey.pgm").write_bytes(f"P5 4 4 {most}\n".encode() + pixels)
    assert read_image(tmp_path / "grey.pgm", ImageFormat(4, 4, "grey")).unique().tolist() == [read]


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
    # Pillow warns of the first, and refuses the second.
    for limit in (2000, 100):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with pytest.raises(
                DataError, match=rf"bomb\.png: it has more than {limit:,} pixels, .*; scale it down"
            ):
                read_image(path, ImageFormat(4, 4))
        assert told == []


def test_pictures_too_large_to_trust_are_counted_and_left_out_when_asked(tmp_path, monkeypatch):
    for index in range(30):
        side = 60 if index == 3 else 8
        for kind in ("dark", "bright"):
            folder = tmp_path / kind
            folder.mkdir(exist_ok=True)
            Image.new("L", (side, side), 200 * (kind == "bright")).save(folder / f"{index}.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(DataError, match=r"2 of the pictures in .*3\.png.* \(it has more than 2,000 pixels"):
        load_image_folder(tmp_path, size=8)
    task = load_image_folder(tmp_path, size=8, skip_corrupt=True)
    assert sum(task.size(split) for split in ("train", "validation", "test")) == 58
    assert "2 unreadable files left out" in str(task.description)


def test_threads_that_open_pictures_leave_the_filters_of_warnings_alone(tmp_path):
    for index in range(64):
        Image.new("L", (8, 8), index).save(tmp_path / f"{index:02}.png")
    before = list(warnings.filters)
    read_images(sorted(tmp_path.iterdir()), ImageFormat(8, 8))
    assert warnings.filters == before


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


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("64", "whole numbers of pixels, got \\('64', '64'\\)"),
        (64.0, "whole numbers of pixels, got \\(64.0, 64.0\\)"),
        ((1, 2, 3), "one number of pixels, or height and width, got \\(1, 2, 3\\)"),
        (60_000, "at least 1x1 and at most 8192x8192, got 60000x60000"),
    ],
)
def test_sizes_that_are_none_are_refused(size, said):
    with pytest.raises(InputError, match=said):
        ImageFormat.of(size, "rgb", "crop")


def test_words_that_mean_nothing_are_refused():
    assert ImageFormat.of([np.int64(4), 5], "grey", "crop").shape == (1, 4, 5)
    with pytest.raises(InputError, match="colour must be 'rgb' or 'grey', got 'gray'"):
        ImageFormat(4, 5, "gray")
    with pytest.raises(InputError, match="fit must be 'crop' or 'stretch' or 'letterbox', got 'fill'"):
        ImageFormat(4, 5, fit="fill")
