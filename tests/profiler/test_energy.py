"""Joules: known power comes back as the right energy, and no more certain than the sensor allows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.agent.tegrastats import parse_line
from edgesynth.devices import load_profile
from edgesynth.devices.sensor import PowerCurve, SimulatedSensor
from edgesynth.profiler.energy import Window, integrate_mj, mean_power
from edgesynth.profiler.rails import step_mw, still_step_mw, total_mw


@given(st.floats(100, 1e4), st.floats(0, 5), st.floats(0.5, 20))
def test_constant_power_integrates_exactly(power, begin, seconds):
    times = np.arange(0, 30, 0.1)

    energy = integrate_mj(times, np.full(len(times), power), Window(begin, begin + seconds))

    assert energy == pytest.approx(power * seconds, rel=1e-9)


def test_a_ramp_integrates_exactly_whatever_the_spacing():
    times = np.sort(np.random.default_rng(0).uniform(0, 10, 40))

    assert integrate_mj(times, 100 * times, Window(2.0, 8.0)) == pytest.approx(100 * (64 - 4) / 2, rel=1e-9)


@given(st.floats(0.1, 9.9))
def test_energy_adds_up_over_adjacent_windows(middle):
    times = np.linspace(0, 10, 60)
    power = 1000 + 300 * np.sin(times)
    whole = integrate_mj(times, power, Window(0, 10))

    parts = integrate_mj(times, power, Window(0, middle)) + integrate_mj(times, power, Window(middle, 10))

    # Interpolated ends lie on the same lines, so nothing is lost between the parts.
    assert parts == pytest.approx(whole, rel=1e-9)


def sine(at_s):
    return 4200 + 900 * math.sin(2 * math.pi * at_s / 7.0)


def square(at_s):
    return 6000.0 if int(at_s / 1.3) % 2 else 2500.0


def ramp(at_s):
    return 2000.0 + 150.0 * at_s


@pytest.mark.parametrize("shape", [sine, square, ramp])
def test_a_known_power_curve_comes_back_as_the_right_joules(shape):
    profile = load_profile("jetson-tx2")
    step_s = 0.005
    grid = np.arange(0, 32, step_s)
    levels = dict.fromkeys(profile.rails.names, 0.0)
    curve = PowerCurve(0.0, levels | {"VDD_IN": shape(0.0)})
    for at in grid[1:]:
        curve.change(float(at), levels | {"VDD_IN": shape(at + step_s / 2)})
    sensor = SimulatedSensor(profile, profile.mode(), curve, noise_mw=30, seed="curve")

    times = [0.1 * index for index in range(1, 320)]
    lines = [sensor.line(at, busy=True, gpu_clock_mhz=1300, temperature_c=40) for at in times]
    powers = [total_mw(parse_line(line).rails, profile.rails) for line in lines]
    window = Window(1.0, 31.0)

    truth = sum(shape(at + step_s / 2) * step_s for at in grid if window.begin_s <= at < window.end_s)
    assert integrate_mj(times, powers, window) == pytest.approx(truth, rel=0.01)


def known(mean, noise, seconds=10.0, rate=10.0, seed=0, step=38.0):
    random = np.random.default_rng(seed)
    times = np.arange(0, seconds + 1 / rate, 1 / rate)
    power = np.round((mean + random.normal(0, noise, len(times))) / step) * step
    return mean_power(list(times), list(power), Window(0, seconds), step_mw=step, filter_s=0.42)


def test_samples_closer_than_the_filter_do_not_count_twice():
    slow, fast = known(4200, 60, rate=2.0), known(4200, 60, rate=50.0)

    assert slow.samples == pytest.approx(20, abs=1)
    assert fast.samples == pytest.approx(10 / 0.42, abs=1)


def test_a_silent_sensor_is_never_surer_than_half_a_step():
    figure = known(4207.0, 0.0)

    assert figure.high - figure.value >= 19
    assert figure.low <= 4207 <= figure.high


@given(st.floats(2000, 8000), st.floats(0, 120), st.integers(0, 1000))
def test_the_interval_is_never_narrower_than_the_steps_allow(mean, noise, seed):
    figure = known(mean, noise, seed=seed)

    assert figure.high - figure.value >= 38 / math.sqrt(10 / 0.42) - 1e-6


@pytest.mark.parametrize("noise", [0.0, 5.0, 30.0, 100.0])
def test_power_intervals_cover_the_truth(noise):
    random = np.random.default_rng(3)
    trials = [
        (mean, known(mean, noise, rate=2.4, seed=seed))
        for seed, mean in enumerate(random.uniform(2000, 8000, 400))
    ]

    assert np.mean([figure.low <= mean <= figure.high for mean, figure in trials]) >= 0.93


@pytest.mark.parametrize(
    ("noise", "others"),
    [
        (0.0, 1),
        (30.0, 1),
        (100.0, 1),
        (300.0, 1),
        (200.0, 0),
        (300.0, 0),
        (600.0, 0),
        (1000.0, 0),
        (300.0, 0.1),
    ],
)
@pytest.mark.parametrize("name", ["jetson-agx-orin", "jetson-agx-xavier"])
def test_intervals_of_a_sum_of_rails_cover_the_truth(name, noise, others):
    """Each rail is rounded by itself, on an AGX Orin in steps of 398 mW; the GPU's may wander most."""
    profile = load_profile(name)
    rails, sensor = profile.rails, profile.sensor
    steps = np.array([profile.sensor.step_mw[rail] for rail in profile.rails.total])
    random = np.random.default_rng(4)
    times = np.arange(0, 10, 0.42)
    wander = noise * np.array([1.0] + [others] * (len(steps) - 1))

    def covered():
        true = random.uniform(2000, 8000, len(steps))
        rounded = np.round((true + wander * random.normal(0, 1, (len(times), len(steps)))) / steps) * steps
        found = mean_power(
            times,
            rounded.sum(axis=1),
            Window(0, 9.7),
            step_mw=step_mw(rails, sensor),
            filter_s=0.42,
            still_mw=still_step_mw(
                [dict(zip(rails.total, row, strict=True)) for row in rounded[:-1]], rails, sensor
            ),
        )
        return found.low <= true.sum() <= found.high

    assert np.mean([covered() for _ in range(300)]) >= 0.93


def test_an_empty_window_has_no_power():
    assert mean_power([0.0, 1.0], [5.0, 5.0], Window(2, 3), step_mw=1, filter_s=0.42) is None
