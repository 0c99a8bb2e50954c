"""Energy counters of a processor, in a real tree of files that a thread advances."""

import contextlib
import os
import tempfile
import time
from pathlib import Path

import pytest
from counter_tree import RANGE_UJ, CounterTree

from edgesynth.agent.tegrastats import parse_line
from edgesynth.devices.rapl import Rapl
from edgesynth.errors import SensorError


@pytest.fixture
def tree(tmp_path):
    return CounterTree(tmp_path)


def mean_rails(counter, seconds):
    counter.line()
    time.sleep(seconds)
    return parse_line(counter.line()).rails


def test_packages_and_their_memory_are_the_total_and_cores_are_parts(tree):
    tree.add("intel-rapl:0", "package-0")
    tree.add("intel-rapl:0:0", "core")
    tree.add("intel-rapl:0:1", "dram")
    tree.add("intel-rapl:1", "package-1")
    tree.add("intel-rapl:1:0", "dram")
    tree.add("intel-rapl:2", "psys")
    tree.add("intel-rapl-mmio:0", "package-0")

    rails = Rapl(tree.root).rails

    assert rails.total == ("PACKAGE_0", "DRAM_0", "PACKAGE_1", "DRAM_1")
    assert rails.parts == ("CORE_0",)
    assert rails.total_text == "PACKAGE_0 + DRAM_0 + PACKAGE_1 + DRAM_1 (processor with its memory)"


def test_a_package_alone_is_said_to_be_alone(tree):
    tree.add("intel-rapl:0", "package-0")

    assert Rapl(tree.root).rails.total_text == "PACKAGE_0 (processor alone)"


def test_counters_that_advance_come_back_as_their_power(tree):
    tree.add("intel-rapl:0", "package-0", power_mw=42_000)
    tree.add("intel-rapl:0:0", "core", power_mw=30_000)
    with tree:
        rails = mean_rails(Rapl(tree.root), 0.5)

    assert rails["PACKAGE_0"] == pytest.approx(42_000, rel=0.03)
    assert rails["CORE_0"] == pytest.approx(30_000, rel=0.03)


def test_a_counter_that_begins_anew_loses_nothing(tree):
    tree.add("intel-rapl:0", "package-0", power_mw=42_000, start_uj=RANGE_UJ - 5_000_000)
    with tree:
        counter = Rapl(tree.root)
        counter.line()
        time.sleep(0.5)
        after_uj = int((tree.root / "intel-rapl:0/energy_uj").read_text())
        rails = parse_line(counter.line()).rails

    assert after_uj < 42_000_000  # it has begun anew in between
    assert rails["PACKAGE_0"] == pytest.approx(42_000, rel=0.03)


def test_the_first_reading_tells_no_power(tree):
    tree.add("intel-rapl:0", "package-0")

    assert Rapl(tree.root).line() == ""


def test_a_machine_without_counters_says_so(tmp_path):
    with pytest.raises(SensorError, match=r"no intel-rapl zone below .*virtual machines"):
        Rapl(tmp_path)
    with pytest.raises(SensorError, match="shows no energy counter"):
        Rapl(tmp_path / "absent")


@contextlib.contextmanager
def unprivileged():
    """As a user who is not root, whoever runs the tests."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_counters_that_only_root_may_read_say_what_to_do():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        tree = CounterTree(Path(folder))
        tree.add("intel-rapl:0", "package-0")
        (tree.root / "intel-rapl:0/energy_uj").chmod(0o400 if os.geteuid() == 0 else 0)

        with unprivileged(), pytest.raises(SensorError) as raised:
            Rapl(tree.root)

    assert "only root may read the energy counters" in str(raised.value)
    assert "intel-rapl:0/energy_uj" in str(raised.value)
    assert "sudo chmod a+r" in str(raised.value)
