import importlib.util
from pathlib import Path

import pytest
import torch
from PIL import Image

from edgesynth.errors import DataError, MissingDependencyError
from edgesynth.tasks import load_task
from edgesynth.tasks.datasets.synthetic.backgrounds import PHOTOGRAPHS, find_backgrounds, photographic
from edgesynth.tasks.datasets.synthetic.composition import Sprite
from edgesynth.tasks.datasets.synthetic.cutouts import KINDS, STAMPS, divide_cutouts, find_cutouts
from edgesynth.tasks.datasets.synthetic.scenes import scenes

SPLITS = ("train", "validation", "test")

needs_photographs = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="scikit-image, which has the photographs, is missing"
)
needs_stamps = pytest.mark.skipif(
    not STAMPS.is_dir(), reason="the Debian package tuxpaint-stamps-default is not installed"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Stamps in the layout of the package: discs of one colour, six of each class."""
    root = tmp_path_factory.mktemp("stamps")
    for label, places in enumerate(KINDS.values()):
        for number, name in enumerate(("ant", "bat", "cow", "dog", "elk", "fox")):
            path = root / places[0] / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGBA", (40, 30 + number), (40 * label, 30 * number, 99, 255)).save(path)
    return root


def sprites(*names, label=0):
    return [Sprite(name, label, ()) for name in names]


def test_pictures_of_possibly_one_object_stay_together():
    names = [f"animals/{animal}{more}.png" for animal in "abcdefgh" for more in ("", "-2", "_sitting", "3")]
    parts = divide_cutouts(sprites(*names))
    families = [{Path(sprite.name).stem[0] for sprite in parts[split]} for split in SPLITS]
    assert sorted(len(found) for found in families) == [2, 2, 4]
    assert not families[0] & families[1]
    assert not families[2] & (families[0] | families[1])


def test_numbered_flowers_are_different_flowers():
    parts = divide_cutouts(sprites(*(f"plants/flowers/flower{number}.png" for number in range(20))))
    assert [len(parts[split]) for split in SPLITS] == [12, 3, 5]


def test_the_division_does_not_depend_on_the_order():
    given = sprites(*(f"a/{name}.png" for name in "abcdefghijkl"))
    one, other = divide_cutouts(given), divide_cutouts(given[::-1])
    assert all({s.name for s in one[split]} == {s.name for s in other[split]} for split in SPLITS)


def test_no_background_is_in_two_splits():
    files = [
        {(package, file) for package, names in PHOTOGRAPHS[split].items() for file in names}
        for split in SPLITS
    ]
    assert not files[0] & files[1]
    assert not files[2] & (files[0] | files[1])


@needs_photographs
def test_backgrounds_are_found_and_vary():
    import numpy as np

    for split in SPLITS:
        found = find_backgrounds(split)
        assert len(found) >= 2
        assert all(min(picture.size) >= 256 and picture.mode == "RGB" for picture in found.values())
    ground = photographic(tuple(find_backgrounds("train").values()))
    one, same, other = (ground(np.random.default_rng(seed), 48) for seed in (1, 1, 2))
    assert one.shape == (48, 48, 3)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@needs_photographs
@pytest.mark.parametrize(("name", "classes"), [("scenes-masks", 6), ("scenes-boxes", 5)])
def test_scenes_are_composed_of_given_stamps_and_say_so(folder, name, classes, monkeypatch):
    few = {"train": 30, "validation": 12, "test": 12}
    monkeypatch.setattr("edgesynth.tasks.datasets.synthetic.scenes.SIZES", few)
    task = load_task(name, root=folder, train_size=30)
    assert task.size("train") == 30
    assert len(task.classes) == classes
    text = str(task.description)
    assert "composed of real pictures, not recorded so" in text
    assert "split by object (15/5/10)" in text
    assert "GPL-2" in text


@needs_photographs
@needs_stamps
def test_no_object_of_the_installed_stamps_is_in_two_splits():
    found = find_cutouts()
    parts = divide_cutouts(found)
    names = [{sprite.name for sprite in parts[split]} for split in SPLITS]
    assert sum(map(len, names)) == len(found) > 150
    assert not names[0] & names[1]
    assert not names[2] & (names[0] | names[1])
    for split in SPLITS:
        assert {sprite.label for sprite in parts[split]} == set(range(len(KINDS)))


@needs_photographs
@needs_stamps
def test_scenes_of_the_installed_stamps_show_every_class():
    for split in SPLITS:
        made = scenes(split, 60, 96)
        assert made.masks.unique().tolist() == list(range(6))
        assert torch.cat(made.labels).unique().tolist() == list(range(5))
        covered = float((made.masks > 0).float().mean())
        assert 0.05 < covered < 0.3


def test_missing_stamps_are_answered_with_what_to_install(tmp_path):
    with pytest.raises(DataError, match=r"no stamps in .*apt install tuxpaint-stamps-default"):
        load_task("scenes-masks", root=tmp_path / "nowhere")
    with pytest.raises(DataError, match="0 pictures of the class 'bird'"):
        load_task("scenes-boxes", root=tmp_path)


def test_a_damaged_stamp_is_named(folder, tmp_path):
    import shutil

    broken = tmp_path / "stamps"
    shutil.copytree(folder, broken)
    (broken / "animals/birds/cow.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(DataError, match=r"cannot read picture .*cow\.png"):
        find_cutouts(broken)


def test_missing_photographs_are_answered_with_the_extra(folder, monkeypatch):
    find_backgrounds.cache_clear()
    scenes.cache_clear()
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "skimage" else found(name))
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgesynth\[data\]'"):
        load_task("scenes-masks", root=folder)
    find_backgrounds.cache_clear()
