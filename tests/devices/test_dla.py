"""What is known of DLA before a board is asked."""

import dataclasses

import pytest

from edgesynth.devices import list_profiles, load_profile, open_device
from edgesynth.devices.catalog import find_profile
from edgesynth.devices.dla import Placement, check_core, check_precision, check_tensorrt
from edgesynth.devices.profile import Dla
from edgesynth.errors import DeviceError, InputError

WITH = {"jetson-xavier-nx", "jetson-agx-xavier", "jetson-orin-nx", "jetson-agx-orin"}


def test_every_shipped_profile_says_whether_there_is_a_dla():
    cores = {name: load_profile(name).dla.cores for name in list_profiles()}

    assert {name for name, count in cores.items() if count} == WITH
    assert {cores[name] for name in WITH} == {2}


@pytest.mark.parametrize("name", sorted(set(list_profiles()) - WITH))
def test_a_device_without_one_refuses_it_with_the_reason(name):
    profile = load_profile(name)

    link = profile.links[0].replace("ssh", "ssh://nobody-there")
    with pytest.raises(InputError, match="leave the DLA out") as refusal:
        open_device(name, link, dla_core=0)
    assert profile.dla.reason in str(refusal.value)


def test_a_core_is_one_of_the_modules():
    orin = load_profile("jetson-agx-orin")

    check_core(orin, 1)
    with pytest.raises(InputError, match=r"no DLA core 2; its cores are 0, 1$"):
        check_core(orin, 2)
    with pytest.raises(InputError, match=r"is not known; put \[dla\]"):
        check_core(dataclasses.replace(orin, dla=None), 0)


def test_a_simulated_board_has_no_model_of_it():
    tx2 = dataclasses.replace(load_profile("jetson-tx2"), dla=Dla(2))

    with pytest.raises(InputError, match=r"has no model of its DLA.*ssh://"):
        check_core(tx2, 0)
    check_core(tx2, 0, "ssh://board")


@pytest.mark.parametrize(
    ("precision", "why"), [("fp32", "fp16 and int8 only"), ("int8", "ranges of a calibrator")]
)
def test_a_precision_it_does_not_take_is_refused_with_what_to_do(precision, why):
    with pytest.raises(InputError, match=f"cannot run {precision}: .*{why}.*ask for fp16"):
        check_precision(load_profile("jetson-agx-orin"), precision)
    check_precision(load_profile("jetson-agx-orin"), "fp16")


@pytest.mark.parametrize(
    ("version", "uses"),
    [
        ("7.1.3", True),
        ("8.5.2", True),
        ("10.3.0.30", True),
        ("10.7.0", True),
        ("10.8.0", False),
        ("10.16.2.10", False),
        ("11.1.0.106", False),
        ("11.4.0", False),
        ("11.4.1.2", True),
        ("11.5", True),
        ("before 8", True),
        ("", True),
    ],
)
def test_releases_between_use_none(version, uses):
    if uses:
        check_tensorrt(version, "ssh://board")
    else:
        with pytest.raises(DeviceError, match=rf"TensorRT {version} on ssh://board uses no DLA: 10\.7 was"):
            check_tensorrt(version, "ssh://board")


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"dla_core": 1}, "DLA core 1"),
        (
            {"dla_core": 0, "dla_layers": 9, "dla_fallback_count": 0, "dla_fallback": []},
            "DLA core 0, with none of 9 layers on the GPU",
        ),
        (
            {"dla_core": 0, "dla_layers": 9, "dla_fallback_count": 3, "dla_fallback": ["a (X)", "b"]},
            "DLA core 0, with 3 of 9 layers on the GPU: a (X), b and 1 more",
        ),
        (
            {
                "dla_core": 0,
                "dla_layers": None,
                "dla_fallback_count": 1,
                "dla_fallback": ["a"],
                "dla_full": True,
            },
            "DLA core 0, with at least 1 layer on the GPU: a",
        ),
    ],
)
def test_where_layers_run_is_said_in_a_sentence(told, says):
    assert Placement.told({"tensorrt": "10.3.0", **told}).says == says


def test_an_engine_of_the_gpu_alone_has_no_placement():
    assert Placement.told({"tensorrt": "10.3.0"}) is None


@pytest.mark.parametrize("cores", ["0", "-1\nreason = 'none'"])
def test_a_profile_without_a_reason_or_with_fewer_cores_than_none_is_refused(tmp_path, cores):
    text = find_profile("jetson-agx-orin").read_text().replace("\ncores = 2\n", f"\ncores = {cores}\n")
    (tmp_path / "mine.toml").write_text(text)

    with pytest.raises(InputError, match=r"dla\.cores must be above 0, or 0 with a 'reason'"):
        load_profile(tmp_path / "mine.toml")
