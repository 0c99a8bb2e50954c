"""Every Jetson module has a profile that fits what real boards of it print, and claims no more."""

import json
from pathlib import Path

import pytest

from edgesynth.agent.tegrastats import parse_line
from edgesynth.devices import list_profiles, load_profile, open_device
from edgesynth.errors import DeviceError, InputError
from edgesynth.profiler.rails import distrust, rule_for, step_mw, total_mw

RECORDS = json.loads((Path(__file__).parent / "data" / "tegrastats_rails.json").read_text())
READINGS = [(record["profile"], parse_line(record["line"]).rails) for record in RECORDS]
IDS = [f"{record['profile']} {record['release']}" for record in RECORDS]

MODULES = [profile for profile in map(load_profile, list_profiles()) if profile.family == "jetson"]
WITH_RAILS = [profile for profile in MODULES if profile.rails is not None]

SM_OF_GPU = {"Maxwell": "5.3", "Pascal": "6.2", "Volta": "7.2", "Ampere": "8.7", "Blackwell": "11.0"}
LANES_OF_SM = {"5.3": 128, "6.2": 128, "7.2": 64, "8.7": 128, "11.0": 128}
WITHOUT_DP4A = {"5.3", "6.2"}
OPSET_OF_TENSORRT = {"8.2": 13, "8.5": 17, "10.3": 20, "10.13": 20}


def by_name(profiles):
    return pytest.mark.parametrize("profile", profiles, ids=[profile.name for profile in profiles])


def test_every_module_has_a_profile():
    assert {profile.name for profile in MODULES} == {
        "jetson-tx2",
        "jetson-tx2-nx",
        "jetson-nano",
        "jetson-xavier-nx",
        "jetson-agx-xavier",
        "jetson-orin-nano",
        "jetson-orin-nx",
        "jetson-agx-orin",
        "jetson-thor",
    }


@by_name(MODULES)
def test_the_gpu_is_one_that_exists(profile):
    gpu = profile.gpu

    assert gpu.sm == SM_OF_GPU[gpu.name.split()[0]]
    assert gpu.cuda_cores == gpu.multiprocessors * LANES_OF_SM[gpu.sm]
    assert (gpu.tensor_cores > 0) == (float(gpu.sm) >= 7)
    clocks = [mode.gpu_clock_mhz for mode in profile.modes if mode.gpu_clock_mhz is not None]
    assert max(clocks, default=gpu.max_clock_mhz) == gpu.max_clock_mhz


@by_name(MODULES)
def test_half_precision_runs_everywhere_and_int8_where_the_gpu_has_the_instruction(profile):
    assert profile.precision("fp16").bytes == 2
    assert profile.precisions["int8"].bytes == 1
    assert profile.precisions["int8"].supported == (profile.gpu.sm not in WITHOUT_DP4A)
    if profile.gpu.sm in WITHOUT_DP4A:
        with pytest.raises(InputError, match=rf"sm {profile.gpu.sm}.*dp4a.*use fp32, fp16"):
            profile.precision("int8")


@by_name(MODULES)
def test_a_speedup_is_relative_to_fp32_and_lower_precision_is_faster(profile):
    assert profile.precisions["fp32"].speedup == 1.0
    known = [compute.speedup for compute in profile.precisions.values() if compute.speedup is not None]
    assert known == sorted(known)
    assert set(profile.compiler.channel_alignment) == {
        name for name, compute in profile.precisions.items() if compute.supported
    }


@by_name(MODULES)
def test_the_opset_is_what_the_parser_of_its_tensorrt_reads(profile):
    version = ".".join(profile.software.tensorrt.split(".")[:2])

    assert profile.compiler.opset == OPSET_OF_TENSORRT[version]


@by_name(MODULES)
def test_its_software_and_part_numbers_are_told(profile):
    assert all(vars(profile.software).values())
    assert profile.part_numbers
    assert profile.software.l4t.startswith("R")


@by_name(MODULES)
def test_no_module_has_two_modes_of_one_name_or_a_different_number_of_cores(profile):
    names = [mode.name for mode in profile.modes]

    assert len(set(names)) == len(names)
    assert len({len(mode.cpu_online) for mode in profile.modes if mode.cpu_online}) <= 1


@pytest.mark.parametrize("name", ["jetson-agx-xavier", "jetson-xavier-nx"])
def test_a_mode_named_after_its_cores_has_as_many(name):
    named = [mode for mode in load_profile(name).modes if mode.name.endswith("CORE")]

    assert named
    assert all(mode.name.endswith(f"_{sum(mode.cpu_online)}CORE") for mode in named)


@by_name(WITH_RAILS)
def test_rails_are_named_once_and_every_one_has_a_step(profile):
    rails = profile.rails

    assert len(set(rails.names)) == len(rails.names)
    assert {*rails.total, *rails.parts, *rails.fallback, *rails.carrier} == set(rails.names)
    assert not set(rails.total) & set(rails.parts)
    assert set(profile.sensor.step_mw) == set(rails.names)
    assert all(step > 0 for step in profile.sensor.step_mw.values())


def test_every_module_has_rails_and_all_but_one_have_a_record_of_them():
    assert WITH_RAILS == MODULES
    # Of the TX2 NX there is none; its rails are those that its device tree names.
    assert {profile.name for profile in MODULES} - {name for name, _ in READINGS} == {"jetson-tx2-nx"}


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_the_rails_are_those_of_a_real_record_in_its_order(record):
    rails = load_profile(record["profile"]).rails
    printed = list(parse_line(record["line"]).rails)

    assert printed == [name for name in rails.names if name in printed]
    assert set(printed) >= set(rule_for(dict.fromkeys(printed, 0.0), rails).total)


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_the_total_is_that_of_the_record_and_is_believed(record):
    profile = load_profile(record["profile"])
    readings = parse_line(record["line"]).rails
    rule = rule_for(readings, profile.rails)

    assert total_mw(readings, rule) == record["total_mw"]
    assert distrust(readings, rule, profile.sensor) == ""
    assert step_mw(rule, profile.sensor) <= 700  # a sum of rails of 400 each


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_the_memory_and_the_cores_are_those_of_the_record(record):
    profile = load_profile(record["profile"])
    found = parse_line(record["line"])

    assert found.ram_total_mb == pytest.approx(profile.memory.size_mb, rel=0.001)
    cores = {len(mode.cpu_online) for mode in profile.modes if mode.cpu_online}
    assert not found.cpu or cores == {len(found.cpu)}


@by_name(WITH_RAILS)
def test_a_record_of_another_module_is_refused_with_the_rails_named(profile):
    others = [
        (name, readings) for name, readings in READINGS if not set(readings) <= set(profile.rails.names)
    ]

    assert others
    for _, readings in others:
        doubt = distrust(readings, rule_for(readings, profile.rails), profile.sensor)
        assert "not the module of this profile" in doubt
        assert next(name for name in readings if name not in profile.rails.names) in doubt
        assert next(name for name in profile.rails.names if name not in readings) in doubt


def test_modules_on_one_carrier_print_the_same_rails_and_share_the_rule():
    alike = [load_profile(name) for name in ("jetson-xavier-nx", "jetson-orin-nano", "jetson-orin-nx")]

    assert len({profile.rails for profile in alike}) == 1


@by_name([profile for profile in MODULES if profile.name != "jetson-tx2"])
def test_what_nobody_published_measurements_of_cannot_be_simulated(profile):
    assert profile.simulation is None
    assert profile.links == ("ssh", "local")
    with pytest.raises(DeviceError, match=rf"{profile.name} cannot be simulated.*measurements") as refused:
        open_device(profile.name, "simulated")
    assert "open a real board over ssh or local, or simulate jetson-tx2" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_board_without_an_address_is_asked_for_one():
    with pytest.raises(InputError, match=r"say where it is, with a link like ssh://"):
        open_device("jetson-orin-nx")


def test_what_is_unknown_is_left_out():
    thor = load_profile("jetson-thor")

    assert thor.precision("fp16").speedup is None
    assert thor.memory.max_clock_mhz is None
    assert thor.mode("70W").gpu_clock_mhz is None
    assert thor.mode("70W").cpu_online == ()
