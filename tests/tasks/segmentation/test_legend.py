import numpy as np
import pytest
import torch
from mask_folders import assert_aligned, draw, everything, save, values

from edgesynth.errors import DataError, InputError
from edgesynth.tasks import load_mask_folder


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
    picked = load_mask_folder(tmp_path, size=(16, 20), classes=("Car", "Void", "Building"))
    assert picked.classes == ("Car", "Building")
    assert torch.equal(everything(picked)[1] == 255, stored == 1)
    assert torch.equal(everything(picked)[1] == 0, stored == 2)
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


def test_names_may_stand_in_a_file(folder):
    (folder / "classes.txt").write_text("sky\nroad\ntree\n")
    assert load_mask_folder(folder, size=8).classes == ("sky", "road", "tree")


def test_lists_of_names_are_utf_8_whatever_editor_wrote_them(folder):
    (folder / "classes.txt").write_bytes("\ufeffstra\xdfe\nroad\ntree\n".encode())
    assert load_mask_folder(folder, size=8).classes == ("stra\xdfe", "road", "tree")
    (folder / "classes.txt").write_bytes("stra\xdfe\nroad\ntree\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"classes\.txt is no text in UTF-8 .*, byte 4\); save it as such"):
        load_mask_folder(folder, size=8)


def test_an_ignored_value_among_named_ones_moves_no_name(folder):
    for names in (("one", "two"), ("none", "one", "two")):
        with pytest.raises(
            InputError,
            match=rf"ignore_label = 0 is the value of the class '{names[0]}'; .*have \"void\" in place 0"
            r".*, or set ignore_label to a value that is no class, e\.g\. 255",
        ):
            load_mask_folder(folder, size=8, classes=names, ignore_label=0)
    task = load_mask_folder(folder, size=(16, 20), classes=("void", "one", "two"), ignore_label=0)
    assert task.classes == ("one", "two")
    pictures, masks = everything(task)
    stored = (pictures[:, 0].int() + 25) // 50
    assert torch.equal(masks == 255, stored == 0)
    assert torch.equal(masks == 0, stored == 1)


def test_names_in_a_file_are_not_moved_either(folder):
    (folder / "classes.txt").write_text("sky\nroad\ntree\n")
    with pytest.raises(InputError, match="ignore_label = 1 is the value of the class 'road'"):
        load_mask_folder(folder, size=8, ignore_label=1)
    (folder / "classes.txt").write_text("sky\nIgnore\ntree\n")
    task = load_mask_folder(folder, size=(16, 20), ignore_label=1)
    assert task.classes == ("sky", "tree")
    pictures, masks = everything(task)
    stored = (pictures[:, 0].int() + 25) // 50
    assert torch.equal(masks == 255, stored == 1)
    assert torch.equal(masks == 1, stored == 2)


@pytest.mark.parametrize("listed", [False, True])
def test_void_does_not_count_wherever_it_is_named(folder, listed):
    names = ("sky", "Void", "tree")
    if listed:
        (folder / "classes.txt").write_text("\n".join(names))
    task = load_mask_folder(folder, size=(16, 20), classes=None if listed else names)
    assert task.classes == ("sky", "tree")
    pictures, masks = everything(task)
    stored = (pictures[:, 0].int() + 25) // 50
    assert torch.equal(masks, torch.tensor([0, 255, 1], dtype=torch.uint8)[stored])


def test_tables_of_colours_nobody_can_use_are_refused(folder):
    (folder / "class_dict.csv").write_text("name,r,g,b\nsky,1,2\n")
    with pytest.raises(DataError, match=r"csv line 2: expected a name, red, green and blue, got 'sky,1,2'"):
        load_mask_folder(folder, size=8)


def test_an_ignore_label_that_is_no_number_is_refused(folder):
    with pytest.raises(InputError, match="ignore_label is a value of 8 bits, 0 to 255, got '5'"):
        load_mask_folder(folder, size=8, ignore_label="5")


def test_a_class_that_was_asked_for_is_not_ignored(folder):
    colours = {"a": (10, 20, 30), "b": (0, 0, 0), "void": (9, 9, 9)}
    with pytest.raises(
        InputError, match="ignore_label = 1 is the value of the class 'b'; leave that one out"
    ):
        load_mask_folder(folder, size=8, classes=colours, ignore_label=1)
    (folder / "label_colors.txt").write_text("1 0 0\tBuilding\n0 0 0\tVoid\n64 0 128\tCar\n")
    with pytest.raises(InputError, match="ignore_label = 2 is the value of the class 'Car'"):
        load_mask_folder(folder, size=8, classes=("Building", "Car"), ignore_label=2)


def test_classes_that_are_none_are_not_taken_for_the_default(folder):
    for none in ((), {}):
        with pytest.raises(
            InputError, match=r"classes is empty, .*leave classes out to take what the folder"
        ):
            load_mask_folder(folder, size=8, classes=none)
    with pytest.raises(
        InputError, match=r"classes = 'road' is one text; give a list of names, e\.g\. \['road'\]"
    ):
        load_mask_folder(folder, size=8, classes="road")
    for none in (5, (1, 2, 3)):
        with pytest.raises(InputError, match=r"classes = .* is no list of names; write each as text"):
            load_mask_folder(folder, size=8, classes=none)
    coloured = {"a": np.array([0, 0, 0]), "b": (np.uint8(1), 1, 1)}
    assert load_mask_folder(folder, size=8, classes={**coloured, "c": [2, 2, 2]}).classes == ("a", "b", "c")
    for colour in (5, (1, 2), ("1", 2, 3), (1, 2, 256)):
        with pytest.raises(DataError, match=r"class 'a' has the colour .*; give red, green, blue of"):
            load_mask_folder(folder, size=8, classes={"a": colour, "b": (1, 2, 3)})
    (folder / "classes.txt").write_text("\n")
    with pytest.raises(DataError, match=r"classes\.txt names no class; write one name a line"):
        load_mask_folder(folder, size=8)


def test_unknown_values_are_named_with_their_file(folder):
    odd = values(3)
    odd[5, 7] = 9
    save(folder / "masks" / "03.png", odd)
    with pytest.raises(DataError, match=r"masks/03\.png \(holds the value 9, .* none of the 3 classes"):
        load_mask_folder(folder, size=8, classes=("a", "b", "c"))
    deep = values(3).astype(np.uint16)
    deep[5, 7] = 999
    save(folder / "masks" / "03.png", deep)
    with pytest.raises(DataError, match=r"03\.png \(holds the value 999"):
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
    for index in range(30):
        save(tmp_path / "masks" / f"{index}.png", np.full((16, 20), 255, dtype=np.uint8))
    with pytest.raises(DataError, match="show no class beside the ignored value 255"):
        load_mask_folder(tmp_path, size=8)
    with pytest.raises(InputError, match="ignore_label is a value of 8 bits, 0 to 255, got -1"):
        load_mask_folder(tmp_path, size=8, ignore_label=-1)
