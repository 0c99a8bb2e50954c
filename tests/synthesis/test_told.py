"""What intervals do: surer observations count for more."""

import numpy as np
import pytest

from edgesynth import GeneratorInquisitor
from edgesynth.metrics import Metric, Provenance
from edgesynth.space import Space, Width
from edgesynth.synthesis.performance import as_performance
from edgesynth.synthesis.told import Mean, Told, relative_noise


def measured(value, deviation):
    half = 1.96 * deviation
    return Metric("latency_ms", value, Provenance.MEASURED, 9, (value - half, value + half))


def test_the_mean_of_two_observations_is_nearer_the_surer_one():
    told = Told.read({"latency_ms": measured(10.0, 1.0)})
    told.add(Told.read({"latency_ms": measured(20.0, 2.0)}))
    mean = told.mean("latency_ms")
    assert mean.value == pytest.approx(12.0)
    assert mean.weight == pytest.approx(1.25)
    assert mean.variance == pytest.approx(1.0, rel=1e-3)


def test_which_was_told_first_makes_no_difference():
    sure, unsure = Mean(10.0, variance=1.0), Mean(20.0, variance=4.0)
    one, other = sure.joined(unsure), unsure.joined(sure)
    assert one.value == pytest.approx(other.value)
    assert one.variance / one.weight == pytest.approx(other.variance / other.weight)


def test_an_exact_observation_outweighs_a_noisy_one_but_not_for_ever():
    both = Mean(1.0, variance=0.0).joined(Mean(2.0, variance=1.0))
    assert 1.0 < both.value < 1.002


def test_observations_without_intervals_count_alike():
    assert Mean(1.0).joined(Mean(2.0, variance=9.0)) == Mean(1.5, 2.0, 9.0)
    assert Mean(1.0, variance=9.0).joined(Mean(2.0)) == Mean(1.5, 2.0, 9.0)
    assert relative_noise([Mean(1.0), Mean(2.0, weight=4.0)]).tolist() == [1.0, 0.25]


def test_widths_that_are_all_alike_say_nothing():
    alike = [Mean(1.0, variance=0.25), Mean(2.0, variance=0.25), Mean(3.0)]
    assert relative_noise(alike).tolist() == [1.0, 1.0, 1.0]


def test_noise_follows_the_widths_and_what_has_none_is_as_usual():
    exact, sure, unsure, unknown = relative_noise(
        [Mean(1.0, variance=0.0), Mean(1.0, variance=1.0), Mean(1.0, variance=5.0), Mean(1.0)]
    )
    assert 0.0 < exact < 0.05 < sure < unknown == 1.0 < unsure
    assert unsure / sure == pytest.approx(5.0, rel=0.1)


def test_what_was_computed_is_exact_and_a_plain_number_is_unknown():
    computed = Metric("macs", 5.0, Provenance.COMPUTED)
    assert Told.read({"macs": computed}).mean("macs").variance == 0.0
    assert Told.read({"macs": 5.0}).mean("macs").variance is None
    assert Told.read({"latency_ms": Metric("latency_ms", 5.0, Provenance.MEASURED)}).mean(
        "latency_ms"
    ) == Mean(5.0)


def test_drift_keeps_how_sure_an_observation_is():
    told = Told.read({"latency_ms": measured(10.0, 1.0)})
    told.drift("latency_ms", 1.0, 0.5)
    mean = told.mean("latency_ms")
    assert (mean.value, mean.weight) == (11.0, 0.5)
    assert mean.variance == pytest.approx(1.0, rel=1e-3)


def test_observations_are_read_back_also_from_before_they_had_variances():
    told = Told.read({"latency_ms": measured(10.0, 1.0), "accuracy": 0.5})
    assert Told.from_json(told.to_json()) == told
    earlier = told.to_json() | {"values": {"accuracy": [0.5, 2.0]}}
    assert Told.from_json(earlier).values == {"accuracy": Mean(0.5, 2.0)}


def test_noisy_observations_beside_exact_ones_do_not_spoil_what_is_believed():
    """Of 8 widths, 30 exact latencies and 30 that are off by 30 %: error with intervals and without."""
    space = Space([Width(f"w{i}", 1, 16, 1) for i in range(8)])
    score = as_performance(lambda metrics: -metrics["latency_ms"])

    def error(tell_noisy, as_told):
        rng = np.random.default_rng(3)

        def draw():
            return {f"w{i}": int(rng.integers(1, 17)) for i in range(8)}

        def latency(architecture):
            x = np.array(list(architecture.values())) / 16
            return 1 + x @ np.linspace(0.2, 1, 8) + 1.5 * x[0] * x[1]

        pair = GeneratorInquisitor(space, {"latency_ms": "<= 3"}, score)
        for _ in range(30):
            exact, noisy = draw(), draw()
            pair.tell(exact, {"latency_ms": as_told(latency(exact), 0.0)})
            off = 0.3 * latency(noisy)
            seen = latency(noisy) + off * rng.normal()
            if tell_noisy:
                pair.tell(noisy, {"latency_ms": as_told(seen, off)})
        others = [draw() for _ in range(100)]
        wanted = np.array([latency(other) for other in others])
        return np.sqrt(np.mean((pair.predict(others)["latency_ms"][0] / wanted - 1) ** 2))

    alone = error(False, measured)
    assert error(True, measured) < 2 * alone
    assert error(True, lambda value, _: value) > 3 * alone


def test_intervals_wider_than_all_that_was_seen_leave_predictions_what_values_say():
    space = Space([Width("w", 1, 16, 1), Width("v", 1, 16, 1)])
    pair = GeneratorInquisitor(
        space,
        {"inferences_per_joule": ">= 20"},
        as_performance(lambda metrics: metrics["inferences_per_joule"]),
    )
    for seed in range(20):
        architecture = space.sample(seed)
        value = 10.0 + architecture["w"] + architecture["v"]
        told = Metric("inferences_per_joule", value, Provenance.MEASURED, 3, (value - 900, value + 900))
        pair.tell(architecture, {"inferences_per_joule": told})
    mean, deviation = pair.predict([space.largest(), space.smallest()])["inferences_per_joule"]
    assert mean == pytest.approx([42.0, 12.0], abs=8.0)
    assert ((deviation > 0) & (deviation < 100)).all()
