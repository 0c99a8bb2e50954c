import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from edgesynth.errors import DataError
from edgesynth.tasks import ImageFormat
from edgesynth.tasks.images import Corrupt, PictureFiles, corrupt_names, left_out, read_image, read_splits

FORM = ImageFormat(4, 6, "grey")


@pytest.fixture
def divided(tmp_path):
    """Pictures of one level each, two of them damaged."""
    parts = {"train": [], "validation": [], "test": []}
    for level in range(9):
        path = tmp_path / f"{level}.png"
        Image.fromarray(np.full((4, 6), level, dtype=np.uint8)).save(path)
        parts[("train", "validation", "test")[level % 3]].append(path)
    for name in ("8.png", "3.png"):
        (tmp_path / name).write_bytes(b"not a picture")
    return parts


def test_what_cannot_be_read_is_set_apart_and_the_rest_keeps_its_order(divided, tmp_path):
    found, corrupt = read_splits(divided, lambda path: int(read_image(path, FORM).max()))
    assert {split: [level for _, level in part] for split, part in found.items()} == {
        "train": [0, 6],
        "validation": [1, 4, 7],
        "test": [2, 5],
    }
    assert [path.stem for path, _ in found["train"]] == ["0", "6"]
    assert [error.path.name for error in corrupt] == ["3.png", "8.png"]
    assert corrupt_names(tmp_path, corrupt) == "3.png, 8.png (no picture, or damaged)"


def test_many_corrupt_files_are_named_by_what_is_wrong_with_them(tmp_path):
    why = ("odd", "odd", "odd", "worn", "odd", "worn", "worn")
    corrupt = [Corrupt(tmp_path / name, "", reason) for name, reason in zip("abcdefg", why, strict=True)]
    told = corrupt_names(tmp_path, corrupt[::-1])
    assert told == "a, b, c (odd), d (worn), e (odd) and 2 more"


def test_an_error_of_another_kind_ends_the_reading(divided):
    def refuse(path):
        raise DataError(f"{path} means nothing")

    with pytest.raises(DataError, match=r"0\.png means nothing"):
        read_splits(divided, refuse)


def test_what_is_corrupt_is_refused_or_left_out_and_counted(divided):
    _, corrupt = read_splits(divided, lambda path: read_image(path, FORM))
    assert left_out([], "files", skip_corrupt=False) == ""
    assert left_out(corrupt, "files", skip_corrupt=True) == "; 2 unreadable files left out"
    assert left_out(corrupt, "files", skip_corrupt=True, called="pairs") == "; 2 pairs left out"
    with pytest.raises(DataError, match=r"^2 of the files are odd; .* skip_corrupt = true$"):
        left_out(corrupt, "files are odd", skip_corrupt=False)


def test_the_error_about_a_file_crosses_processes(divided):
    _, corrupt = read_splits(divided, lambda path: read_image(path, FORM))
    error = pickle.loads(pickle.dumps(corrupt[0]))
    assert isinstance(error, Corrupt)
    assert (error.path, str(error)) == (corrupt[0].path, str(corrupt[0]))
    assert "cannot read picture" in str(error)


def test_pictures_in_files_are_decoded_in_the_order_asked_for(divided):
    class Samples(PictureFiles):
        paths = divided["validation"]
        form = FORM

    assert Samples().shape == (1, 4, 6)
    taken = Samples().take(torch.tensor([2, 0, 2]))
    assert taken.shape == (3, 1, 4, 6)
    assert taken[:, 0, 0, 0].tolist() == [7, 1, 7]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb.png", r"a\nb.png"),
        ("\x1b[31mred.png", r"\x1b[31mred.png"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\udce9.png"),
        ("straße 1.png", "straße 1.png"),
    ],
)
def test_no_name_of_a_file_breaks_a_message_or_a_terminal(tmp_path, name, shown):
    path = tmp_path / name
    path.write_text("I am not a picture")
    with pytest.raises(Corrupt) as caught:
        read_image(path, FORM)
    assert f"cannot read picture {tmp_path}/{shown}: " in str(caught.value)
    assert str(caught.value).isprintable()
    assert corrupt_names(tmp_path, [caught.value]).startswith(f"{shown} (")
    assert str(DataError(f"{path} is odd")) == f"{tmp_path}/{shown} is odd"
