"""What intervals do: surer observations count for more."""

from itertools import permutations

import numpy as np
import pytest

from edgesynth import GeneratorInquisitor
from edgesynth.errors import InputError
from edgesynth.metrics import Metric, Provenance
from edgesynth.space import Space, Width
from edgesynth.synthesis.performance import as_performance
from edgesynth.synthesis.told import Mean, Told


def measured(value, deviation):
    half = 1.96 * deviation
    return Metric("latency_ms", value, Provenance.MEASURED, 9, (value - half, value + half))


def test_the_mean_of_two_observations_is_nearer_the_surer_one():
    told = Told.read({"latency_ms": measured(10.0, 1.0)})
    told.add(Told.read({"latency_ms": measured(20.0, 2.0)}))
    mean = told.mean("latency_ms")
    assert mean.value == pytest.approx(12.0)
    assert mean.weight == 2.0
    assert mean.deviation / np.sqrt(mean.weight) == pytest.approx(np.sqrt(0.8), rel=1e-3)


@pytest.mark.parametrize("order", list(permutations([(10.0, 1.0), (20.0, 2.0), (30.0, 0.5)])))
def test_in_which_order_they_were_told_makes_no_difference(order):
    first, second, third = (Mean(value, deviation=deviation) for value, deviation in order)
    joined = first.joined(second).joined(third)
    assert joined.value == pytest.approx((10 + 20 / 4 + 30 * 4) / 5.25)
    assert joined.weight == 3.0
    assert joined.deviation == pytest.approx(np.sqrt(3 / 5.25))


def test_an_exact_observation_outweighs_a_noisy_one_but_not_for_ever():
    both = Mean(1.0, deviation=0.0).joined(Mean(2.0, deviation=1.0))
    assert 1.0 < both.value < 1.002
    assert Mean(1.0, deviation=0.0).joined(Mean(2.0, deviation=0.0)) == Mean(1.5, 2.0, 0.0)


def test_where_one_has_no_interval_both_count_alike_and_nobody_claims_to_be_sure():
    assert Mean(1.0).joined(Mean(2.0, deviation=1e-6)) == Mean(1.5, 2.0)
    assert Mean(1.0, deviation=1e-6).joined(Mean(2.0)) == Mean(1.5, 2.0)


def test_what_was_computed_is_exact_and_a_plain_number_is_unknown():
    computed = Metric("macs", 5.0, Provenance.COMPUTED)
    assert Told.read({"macs": computed}).mean("macs").deviation == 0.0
    assert Told.read({"macs": 5.0}).mean("macs").deviation is None
    plain = Metric("latency_ms", 5.0, Provenance.MEASURED)
    assert Told.read({"latency_ms": plain}).mean("latency_ms") == Mean(5.0)


@pytest.mark.parametrize("ends", [(0.0, 1e308), (-1.7e308, 1.7e308)])
def test_an_interval_of_no_finite_width_is_refused_and_a_very_wide_one_is_not(ends):
    metric = Metric("latency_ms", 5.0, Provenance.MEASURED, 3, ends)
    if np.isfinite(ends[1] - ends[0]):
        assert Told.read({"latency_ms": metric}).mean("latency_ms").deviation > 1e307
    else:
        with pytest.raises(InputError, match="finite"):
            Told.read({"latency_ms": metric})


def test_drift_keeps_how_sure_an_observation_is():
    told = Told.read({"latency_ms": measured(10.0, 1.0)})
    told.drift("latency_ms", 1.0, 0.5)
    mean = told.mean("latency_ms")
    assert (mean.value, mean.weight) == (11.0, 0.5)
    assert mean.deviation == pytest.approx(1.0, rel=1e-3)


def test_observations_are_read_back_also_from_before_they_had_deviations():
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


@pytest.mark.parametrize(
    "saved", [[1.0, 0.0, None], [np.nan, 1.0, None], [1.0, 1.0, -1.0], [1.0, 1.0, np.inf]]
)
def test_a_mean_that_cannot_be_is_not_read(saved):
    with pytest.raises(ValueError, match="no "):
        Mean.from_json(saved)
