"""The benchmark's own claim holds: the simulated TX2 stays within the bar of published figures."""

import importlib.util
import statistics
import sys
from pathlib import Path

import pytest

from edgesynth.devices import load_profile

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "simulated_tx2.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("simulated_tx2", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_shipped_profile_is_within_the_bar(benchmark):
    profile = load_profile("jetson-tx2")
    errors = [abs(row.predict(profile) / row.published - 1) for row in benchmark.published_rows()]

    assert statistics.median(errors) < 0.20
    assert max(errors) < 0.40


@pytest.mark.parametrize(("index", "macs"), [(0, 15.6e6), (1, 114.0e6), (2, 78.6e6)])
def test_the_rebuilt_networks_have_the_published_size(benchmark, index, macs):
    assert benchmark.nas_bench_201(index, 32).macs == pytest.approx(macs, rel=0.01)


@pytest.mark.slow
def test_families_left_out_of_the_fit_are_within_the_bar(benchmark):
    rows = benchmark.published_rows()
    without = benchmark.left_out(load_profile("jetson-tx2"), rows)
    errors = [abs(row.predict(without[row.family]) / row.published - 1) for row in rows]

    assert statistics.median(errors) < 0.20
    assert max(errors) < 0.40
