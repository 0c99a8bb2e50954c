"""A calibration finds the constants of a board that is not like its profile."""

import dataclasses

import pytest

from edgesynth.devices import Roofline, load_profile, open_device, profile_toml
from edgesynth.errors import MeasurementError
from edgesynth.profiler import calibrate, workload_from_onnx
from edgesynth.profiler.probes import PROBES, write_probe


@pytest.fixture(scope="module")
def base():
    return load_profile("jetson-tx2")


@pytest.fixture(scope="module")
def changed(base):
    """A board whose every constant that matters is another than the profile's."""
    rails = dict(base.simulation.rails)
    rails["VDD_SYS_GPU"] = dataclasses.replace(rails["VDD_SYS_GPU"], active_mw=1800)
    simulation = dataclasses.replace(
        base.simulation,
        call_us=350,
        launch_us=22,
        efficiency={"convolution": 0.4, "depthwise": 0.06, "linear": 0.3},
        memory_efficiency=0.7,
        mac_pj={"fp32": 20, "fp16": 9},
        byte_pj=120,
        rest_mw=1500,
        rails=rails,
    )
    return dataclasses.replace(base, name="changed", simulation=simulation)


@pytest.fixture(scope="module")
def board(changed, tmp_path_factory):
    """The file of its profile."""
    path = tmp_path_factory.mktemp("board") / "changed.toml"
    path.write_text(profile_toml(changed))
    return path


@pytest.fixture(scope="module")
def found(base, board):
    with open_device(board, "simulated") as device:
        return calibrate(device, base, name="mine", window_s=3.0)


def test_the_constants_of_the_board_are_found(found, changed):
    mine, true = found.profile.simulation, changed.simulation

    assert mine.call_us == pytest.approx(true.call_us, rel=0.02)
    assert mine.launch_us == pytest.approx(true.launch_us, rel=0.02)
    assert mine.efficiency == pytest.approx(true.efficiency, rel=0.02)
    assert mine.memory_efficiency == pytest.approx(true.memory_efficiency, rel=0.02)
    assert mine.mac_pj == pytest.approx(true.mac_pj, rel=0.05)
    assert mine.byte_pj == pytest.approx(true.byte_pj, rel=0.05)
    assert mine.rest_mw == pytest.approx(true.rest_mw, rel=0.1)
    assert found.profile.precision("fp16").speedup == pytest.approx(2.0, rel=0.02)
    for name, rail in true.rails.items():  # one step of the sensor is the least it can tell
        step_mw = changed.sensor.step_mw[name]
        assert mine.rails[name].idle_mw == pytest.approx(rail.idle_mw, abs=step_mw)
        assert mine.rails[name].active_mw == pytest.approx(rail.active_mw, abs=step_mw)


def test_what_cannot_be_seen_is_kept(found, base):
    for key in ("jitter", "outlier_share", "outlier_factor", "noise_mw", "temperature_c"):
        assert getattr(found.profile.simulation, key) == getattr(base.simulation, key)


def test_the_error_is_told_on_networks_the_fit_has_not_seen(found):
    unseen = [result for result in found.results if result.held_out]
    calibration = found.calibration

    assert calibration.held_out == len(unseen) == 8
    assert calibration.networks == len(found.results) - 8
    assert calibration.latency_error < calibration.latency_worst < 0.02
    assert calibration.energy_error < 0.02
    assert all(result.fitted_energy_mj == pytest.approx(result.energy_mj, rel=0.05) for result in unseen)


def test_what_comes_of_a_simulated_board_is_called_simulated(found):
    assert found.calibration.provenance == "simulated"
    assert found.calibration.source == "changed simulated, MAXN"
    assert "simulated networks" in found.notes["simulation"]


def test_every_term_has_a_spread_that_holds_its_true_value(found, changed):
    terms, spread = found.calibration.terms, found.calibration.spread

    assert set(spread) == set(terms)
    assert 0 < spread["launch_us"] < 0.01
    assert abs(terms["launch_us"] / changed.simulation.launch_us - 1) < 5 * spread["launch_us"]


def test_the_new_profile_makes_the_round_trip_and_is_the_board(found, board, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(profile_toml(found.profile, notes=found.notes))
    mine = load_profile(path)
    probe = write_probe(next(probe for probe in PROBES if probe.held_out), tmp_path)

    times = [
        Roofline(profile, profile.mode()).estimate(workload_from_onnx(probe), "fp16").seconds
        for profile in (mine, load_profile(board))
    ]

    assert mine.calibration.networks == found.calibration.networks
    assert times[0] == pytest.approx(times[1], rel=0.02)


def test_a_profile_without_clocks_keeps_the_terms_and_says_why_it_cannot_be_simulated(base, board):
    modes = tuple(dataclasses.replace(mode, cpu_clock_mhz=None) for mode in base.modes)
    vague = dataclasses.replace(base, modes=modes, simulation=None, links=("ssh",))
    with open_device(board, "simulated") as device:
        found = calibrate(device, vague, name="vague", window_s=3.0, quick=True)

    assert "does not know every clock" in found.not_simulated
    assert found.profile.simulation is None
    assert found.profile.links == ("ssh",)
    assert found.calibration.terms["launch_us"] == pytest.approx(22, rel=0.02)


def test_too_few_networks_are_refused(base, board):
    with (
        open_device(board, "simulated") as device,
        pytest.raises(MeasurementError, match="6 networks gave a latency, and 7"),
    ):
        calibrate(device, base, name="few", probes=PROBES[:3], quick=False, window_s=3.0)


@pytest.mark.parametrize("name", ["jetson-tx2", "jetson-agx-orin", "jetson-thor", "host-cpu", "nvidia-gpu"])
def test_every_profile_reads_back_as_it_was_written(name, tmp_path):
    path = tmp_path / f"{name}.toml"
    path.write_text(profile_toml(load_profile(name), header=["From profile 'two\nlines'.", ""]))

    assert load_profile(path) == load_profile(name)
