"""What boards differ in is named, with which is which; a measurement under other conditions is refused."""

import pytest

from edgesynth.devices import Device, LocalLink, load_profile
from edgesynth.devices.likeness import Likeness, differences, find_traits
from edgesynth.errors import DeviceError
from edgesynth.metrics import Provenance

CLOCKS = {
    "gpu": 1300.5,
    "gpu_min": 114.75,
    "gpu_max": 1300.5,
    "emc": 665.6,
    "emc_min": 40.8,
    "emc_max": 1866.0,
}
TOLD = {"tensorrt": "8.2.1", "runner": "tensorrt", "mode": "MAXN", "clocks_mhz": CLOCKS}


def test_boards_that_are_alike_differ_in_nothing():
    assert differences({"a": {"L4T": "R32.7.6"}, "b": {"L4T": "R32.7.6"}}) == ""
    assert differences({"a": {"L4T": "R32.7.6"}}) == ""


def test_every_value_is_said_with_the_boards_that_have_it():
    boards = {
        "a": {"L4T": "R32.7.6", "TensorRT": "8.2.1 of Python"},
        "b": {"L4T": "R32.7.1", "TensorRT": "8.0.1 of Python"},
        "c": {"L4T": "R32.7.6", "TensorRT": "none"},
    }

    assert differences(boards) == (
        "L4T is R32.7.6 on a, c and R32.7.1 on b; "
        "TensorRT is 8.2.1 of Python on a, 8.0.1 of Python on b and none on c"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tensorrt": "8.0.1"}, "TensorRT is 8.0.1 of Python there, and was 8.2.1 of Python on a"),
        ({"runner": "trtexec"}, "TensorRT is 8.2.1 of trtexec there, and was 8.2.1 of Python on a"),
        ({"mode": "MAXQ"}, "the power mode is MAXQ there, and was MAXN on a"),
        ({"mode": None}, "the power mode is not told there, and was MAXN on a"),
        (
            {"clocks_mhz": {**CLOCKS, "gpu_min": 1300.5}},
            "the GPU clock is held at 1300.5 MHz there, and was 114.75 to 1300.5 MHz on a",
        ),
        (
            {"clocks_mhz": {**CLOCKS, "emc_max": 1331.2}},
            "the memory clock is 40.8 to 1331.2 MHz there, and was 40.8 to 1866 MHz on a",
        ),
        ({"clocks_mhz": "no jetson_clocks"}, "the GPU clock is not told there"),
    ],
)
def test_the_first_measurement_sets_what_the_others_are_made_under(change, said):
    likeness = Likeness("a", {"L4T": "R32.7.6"})
    likeness.check("a", TOLD)
    likeness.check("b", {**TOLD, "clocks_mhz": {**CLOCKS, "gpu": 114.75}})  # what it happens to be may differ

    with pytest.raises(DeviceError, match=f"{said}"):
        likeness.check("b", {**TOLD, **change})
    likeness.check("b", TOLD)


def test_what_boards_were_like_at_the_start_binds_measurements_too():
    likeness = Likeness("a", {"TensorRT": "8.2.1 of Python", "the power mode": "MAXQ"})

    with pytest.raises(DeviceError, match="the power mode is MAXN there, and was MAXQ on a"):
        likeness.check("b", TOLD)


class Told:
    """A board that tells these facts when it is asked."""

    def __init__(self, **facts):
        self.agent = self
        self._facts = facts

    def info(self, only, rails):
        return {name: self._facts.get(name) for name in only}, {}


def test_clocks_that_will_be_held_are_compared_by_their_highest():
    """What jetson_clocks leaves of a lowest clock, boards differ in: the memory's stays, with an override."""
    profile = load_profile("jetson-tx2")

    def traits(clocks):
        device = Device(
            profile,
            LocalLink(),
            mode=profile.mode(),
            runs_files=True,
            provenance=Provenance.MEASURED,
            settings={"clocks": "fixed"},
            board=Told(clocks=clocks),
        )
        return find_traits(device)

    alike = traits(CLOCKS)
    assert traits({**CLOCKS, "gpu_min": 1300.5}) == alike
    likeness = Likeness("a", alike)
    likeness.check("a", {"clocks_mhz": {**CLOCKS, "gpu_min": 1300.5}})
    other = traits({**CLOCKS, "gpu_max": 1122.0})
    assert differences({"a": alike, "b": other}) == (
        "the highest GPU clock is 1300.5 MHz on a and 1122 MHz on b"
    )


def test_a_network_that_cannot_be_built_tells_no_tensorrt_and_a_host_no_clocks():
    likeness = Likeness("a", {})
    likeness.check("a", TOLD)

    likeness.check("b", {"mode": "MAXN", "clocks_mhz": CLOCKS})
    likeness.check("c", {"mode": "default", "runtime": "1.22"})
