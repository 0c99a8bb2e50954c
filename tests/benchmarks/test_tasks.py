"""The benchmark of the three tasks: what is held against the bars, and that all of it runs."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
MODULES = ("_budget", "_peers", "_ours", "_rows", "tasks")


@pytest.fixture(scope="module")
def benchmark():
    """The script as a module."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("tasks")
    finally:
        sys.path.remove(str(FOLDER))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture
def row(benchmark):
    """A seed that meets every bar."""
    return benchmark.Row(
        data="scenes-masks",
        origin="composed",
        metric="miou",
        seed=1,
        prototype=0.6,
        networks=(0.59, 0.60),
        width=0.55,
        full_macs=1e8,
        macs=(1e7, 0.9e7),
        width_macs=1e7,
        parameters=(1e6, 1e5),
        per_joule=(50.0, (250.0, 270.0), 240.0),
        spent=(0.97, 0.99),
        minutes=(8.0, 20.0, 9.0),
        core_minutes=(15.0, 39.0, 17.0),
    )


def test_a_row_is_read_as_it_was(benchmark, row, tmp_path):
    row.write(tmp_path / "deep" / "row.json")
    assert benchmark.Row.read(tmp_path / "deep" / "row.json") == row


def test_a_part_that_is_kept_is_not_made_again(benchmark, tmp_path):
    made = benchmark.Part(
        quality=(0.59, 0.6),
        macs=(1e7, 0.9e7),
        parameters=(1e5, 1.1e5),
        per_joule=(250.0, 270.0),
        spent=0.97,
        minutes=20.0,
        core_minutes=39.0,
    )

    def again():
        raise AssertionError("it is kept")

    path = tmp_path / "synthesis.json"
    assert benchmark.Part.kept(path, lambda: made) == made
    assert benchmark.Part.kept(path, again) == made
    assert list(tmp_path.iterdir()) == [path]


def test_every_bar_is_about_the_mean_over_networks_and_seeds(benchmark, row):
    worse = replace(row, seed=2, networks=(0.572, 0.58))
    fewer, loss, energy, minutes = benchmark.bars([row, worse])
    assert loss.value == pytest.approx((0.5 + 2.4) / 2)
    assert fewer.value == pytest.approx(10)
    assert energy.value == pytest.approx(5.2)
    assert minutes.value == pytest.approx(28)
    assert loss.met
    assert fewer.met
    assert energy.met
    assert minutes.met


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"networks": (0.58, 0.585)}, "points lost"),
        ({"macs": (1.01e7, 0.5e7)}, "times fewer MACs"),
        ({"per_joule": (50.0, (190.0, 200.0), 240.0)}, "times the inferences per joule (simulated)"),
        ({"minutes": (20.0, 26.0, 5.0)}, "minutes for prototype and synthesis, here"),
    ],
)
def test_each_bar_can_be_missed(benchmark, row, change, missed):
    bars = benchmark.bars([replace(row, **change)])
    assert [bar.what for bar in bars if not bar.met] == [missed]
    assert "MISSED" in "\n".join(map(str, bars))


def test_accuracy_has_a_narrower_bar(benchmark, row):
    loss = benchmark.bars([replace(row, metric="accuracy", networks=(0.588, 0.588))])[1]
    assert loss.value == pytest.approx(1.2)
    assert not loss.met


def test_the_table_shows_spread_and_the_narrower_network(benchmark, row):
    text = benchmark.table([row, replace(row, seed=2, width=0.5)])
    assert "59.50 % (59.00..60.00)" in text
    assert "+5.00" in text
    assert "networks: +0.50 points lost on average, standard deviation over 2 seeds 0.00" in text
    assert "narrower network: +7.50 points lost on average" in text


def test_a_folder_goes_on_with_its_own_setting_only(benchmark, tmp_path):
    from edgesynth.errors import InputError

    folder, setting = tmp_path / "seed", benchmark.SETTINGS["tree-crowns"]
    benchmark.claim(folder, setting)
    benchmark.claim(folder, setting)
    with pytest.raises(InputError, match="another setting"):
        benchmark.claim(folder, replace(setting, epochs=1))
    (folder / "setting.json").unlink()
    with pytest.raises(InputError, match="another setting"):
        benchmark.claim(folder, setting)


def test_every_published_set_is_of_the_kind_its_prototype_is_for(benchmark):
    from edgesynth.tasks.registry import DATASETS
    from edgesynth.zoo import prototype_kind

    for name, setting in benchmark.SETTINGS.items():
        assert DATASETS[name].kind == prototype_kind(setting.prototype)
    assert {DATASETS[name].kind for name in benchmark.PUBLISHED} == {
        "classification",
        "segmentation",
        "detection",
    }


@pytest.mark.slow
@pytest.mark.parametrize("data", ["shapes-masks", "shapes-boxes"])
def test_it_runs_from_end_to_end_and_goes_on_from_what_is_kept(
    benchmark, data, tmp_path, monkeypatch, capsys
):
    # As small as a synthesis may be; the figures mean nothing.
    monkeypatch.setattr(
        benchmark,
        "quickened",
        lambda setting: replace(setting, epochs=17, budget=17, train_size=128, side=32),
    )
    arguments = ["--quick", "--data", data, "--seeds", "1", "--keep", str(tmp_path)]
    assert benchmark.main(arguments) == 0
    first = capsys.readouterr().out
    assert f"{data} (generated)" in first
    assert "energy simulated, batch 16" in first
    kept = benchmark.Row.read(next(tmp_path.glob("*/row.json")))
    assert max(kept.macs) <= kept.full_macs / 10
    assert len(kept.networks) == 1
    monkeypatch.setattr(benchmark, "measure", lambda *_: pytest.fail("it was kept"))
    assert benchmark.main(arguments) == 0
    assert capsys.readouterr().out == first
