"""Profiles say what is known, and refuse what they do not know."""

from pathlib import Path

import pytest

from edgesynth.devices import list_profiles, load_profile, open_device
from edgesynth.devices.catalog import find_profile
from edgesynth.errors import InputError

TX2 = find_profile("jetson-tx2").read_text()


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_every_shipped_profile_loads_under_its_own_name():
    names = list_profiles()

    assert {"host-cpu", "jetson-tx2"} <= set(names)
    assert [load_profile(name).name for name in names] == names


def test_tx2_is_what_nvidia_says():
    tx2 = load_profile("jetson-tx2")

    assert (tx2.gpu.sm, tx2.gpu.cuda_cores, tx2.gpu.max_clock_mhz) == ("6.2", 256, 1300.5)
    assert tx2.memory.bandwidth_gb_s == 59.7
    assert tx2.rails.total == ("VDD_IN",)
    assert tx2.compiler.opset == 13
    assert (tx2.software.tensorrt, tx2.software.python) == ("8.2.1", "3.6")
    assert tx2.mode().name == "MAXN"
    assert tx2.mode("MAXP_CORE_ARM").gpu_clock_mhz == 1120
    assert tx2.has_energy


def test_tx2_refuses_int8_with_the_reason():
    with pytest.raises(InputError, match=r"dp4a.*use fp32, fp16"):
        load_profile("jetson-tx2").precision("int8")


def test_a_host_without_counters_has_no_energy_and_says_why():
    assert not load_profile("host-cpu").has_energy

    with open_device("host-cpu") as host:
        assert not host.has_energy
        assert "shows no energy counter of its processor" in host.profile.no_energy_reason


@pytest.mark.parametrize(
    ("ask", "hint"),
    [
        (lambda: load_profile("jetson-tx3"), "did you mean 'jetson-tx2'"),
        (lambda: load_profile("nowhere.toml"), "nowhere.toml"),
        (lambda: load_profile("../profiles/jetson-tx2"), "no device profile"),
        (lambda: load_profile("jetson-tx2").mode("MAXP_ARM"), "did you mean 'MAXP_CORE_ARM'"),
        (lambda: load_profile("jetson-tx2").precision("fp61"), "did you mean 'fp16'"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(ask, hint):
    with pytest.raises(InputError, match=hint):
        ask()


def test_a_users_own_file_is_a_profile(tmp_path):
    path = written(tmp_path, TX2.replace('name = "jetson-tx2"', 'name = "my-board"'))

    assert load_profile(path).name == "my-board"
    assert load_profile(str(path)).name == "my-board"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cuda_cores = 256", "cuda_core = 256", "'gpu.cuda_core'; did you mean 'cuda_cores'"),
        ("opset = 13", 'opset = "thirteen"', "compiler.opset"),
        ('sm = "6.2"\n', "", "'gpu.sm' is missing"),
        ("[software]", "[sofware]", "did you mean 'software'"),
        ('total = ["VDD_IN"]', 'total = ["VDD_INN"]', "did you mean 'VDD_IN'"),
        ("VDD_IN = 38\n", "", "no positive step for rail 'VDD_IN'"),
        ('links = ["simulated", "ssh", "local"]', "links = []", "'links' is empty"),
        ("idle_mw = 153", "idel_mw = 153", "did you mean 'idle_mw'"),
        ("speedup = 2.0", "speed_up = 2.0", "did you mean 'speedup'"),
        ('name = "MAXQ"\ngpu_clock_mhz', 'name = "MAXQ"\ngpu_clok_mhz', "did you mean 'gpu_clock_mhz'"),
        ("[gpu]", "[gpu", "cannot be read"),
        ("linear = 0.24", "", "efficiency.linear"),
        ("fp16 = 15", "", "no energy for fp16"),
        ("[simulation.rails.VDD_4V0_WIFI]", "[simulation.rails.VDD_4V0]", "no power for rail 'VDD_4V0_WIFI'"),
        ("gpu_clock_mhz = 850", "gpu_clock_mhz = 0", "'MAXQ' needs clocks above 0; leave out"),
        ("gpu_clock_mhz = 850\n", "", "'MAXQ' needs every clock"),
        (
            "cpu_online = [true, false, false, true, true, true]\n",
            "",
            "'MAXQ' needs every clock and cpu_online",
        ),
        ("[true, false, false, true, true, true]", "[false, false]", "'MAXQ' has no core that is on"),
        ("bandwidth_gb_s = 59.7", "bandwidth_gb_s = 0", "must be above 0; leave it out"),
        ("size_mb = 7859", "size_mb = -1", "memory.size_mb must be above 0"),
        ("max_clock_mhz = 1866\n", "", "memory needs size, bandwidth and clock"),
        ("speedup = 2.0", "speedup = 0", "precisions.fp16.speedup must be above 0"),
        ("speedup = 2.0", "", "precisions.fp16.speedup is missing"),
        ("parts = [", 'fallback = ["VDD_INN"]\nparts = [', "rails.fallback names 'VDD_INN'; did you mean"),
        ("parts = [", 'carrier = ["VDD_MUX"]\nparts = [', "rails.carrier names 'VDD_MUX'"),
        ('total = ["VDD_IN"]', "total = []", "rails.total is empty"),
        ("[simulation]\n", "[gpu2]\n", "did you mean 'gpu'"),
    ],
)
def test_a_mistake_is_named_with_what_was_meant(tmp_path, old, new, message):
    assert old in TX2
    with pytest.raises(InputError, match=r"mine\.toml.*" + message):
        load_profile(written(tmp_path, TX2.replace(old, new, 1)))


def test_a_rail_without_a_sensor_is_refused(tmp_path):
    start, end = TX2.index("[sensor]"), TX2.index("[simulation]")

    with pytest.raises(InputError, match="come together"):
        load_profile(written(tmp_path, TX2[:start] + TX2[end:]))


def test_a_simulated_board_needs_parameters(tmp_path):
    with pytest.raises(InputError, match="needs \\[simulation\\]"):
        load_profile(written(tmp_path, TX2[: TX2.index("[simulation]")]))


def test_a_precision_is_refused_only_with_a_reason(tmp_path):
    start = TX2.index("reason =", TX2.index("[precisions.int8]"))
    text = TX2[:start] + TX2[TX2.index("\n", start) :]

    with pytest.raises(InputError, match="gives no reason"):
        load_profile(written(tmp_path, text))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InputError, match="cannot be read"):
        load_profile(path)


def test_profiles_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert Path(find_profile("jetson-tx2")).is_absolute()


@pytest.mark.parametrize(("name", "needed"), [("jetson-tx2", ("VDD_IN",)), ("jetson-thor", ())])
def test_a_board_need_not_have_a_rail_that_others_can_stand_for(name, needed):
    rails = load_profile(name).rails

    assert rails is not None
    assert rails.needed == needed
    assert set(needed) <= set(rails.total)
