import math

import pytest

from edgesynth.errors import RequirementError
from edgesynth.metrics import Metric, Provenance
from edgesynth.synthesis.requirements import Requirement, Requirements, VerdictStatus


def metric(name, value, provenance="measured", interval=None):
    return Metric(name, value, Provenance(provenance), interval=interval)


@pytest.mark.parametrize(
    ("text", "sense", "bound"),
    [
        (">= 0.92", ">=", 0.92),
        ("<=4e6", "<=", 4e6),
        ("<= 4M", "<=", 4e6),
        ("<= 1.5k", "<=", 1500.0),
        ("<= 0.31G", "<=", 0.31e9),
        ("≥ 3", ">=", 3.0),
    ],
)
def test_bounds_read_with_suffixes(text, sense, bound):
    (item,) = Requirements({"macs": text})
    assert (item.sense, item.bound) == (sense, pytest.approx(bound))


def test_percent_is_a_fraction():
    (item,) = Requirements({"accuracy": ">= 92%"})
    assert item.bound == pytest.approx(0.92)


@pytest.mark.parametrize("bounds", ["2 .. 10", [">= 2", "<= 10"]])
def test_a_range_is_two_bounds(bounds):
    found = [(item.sense, item.bound) for item in Requirements({"latency_ms": bounds})]
    assert found == [(">=", 2.0), ("<=", 10.0)]


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"acuracy": ">= 0.9"}, "accuracy"),
        ({"macs": "< 4e6"}, "<="),
        ({"macs": "4e6"}, "cannot be read"),
        ({"macs": 4e6}, ">="),
        ({"macs": [4e6]}, ">="),
        ({"accuracy": ">= 92"}, "0.92"),
        ({"macs": ["<= 4e6", "<= 5e6"]}, "same side"),
        ({"latency_ms": "10 .. 2"}, "contradict"),
        ({"macs": "<= 1e999"}, "finite"),
    ],
)
def test_bad_bounds_say_what_to_write(bounds, words):
    with pytest.raises(RequirementError, match=words):
        Requirements(bounds)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (metric("latency_ms", 3.0, "computed"), "satisfied"),
        (metric("latency_ms", 5.0, "computed", (3.0, 6.0)), "violated"),
        (metric("latency_ms", 3.0, interval=(2.5, 3.5)), "satisfied"),
        (metric("latency_ms", 3.9, interval=(3.5, 4.3)), "inconclusive"),
        (metric("latency_ms", 4.1, interval=(3.5, 4.3)), "inconclusive"),
        (metric("latency_ms", 5.0, interval=(4.5, 5.5)), "violated"),
        (metric("latency_ms", 4.0), "satisfied"),
        (metric("latency_ms", 3.0, "simulated"), "satisfied (simulated)"),
        (metric("latency_ms", 3.9, "simulated", (3.5, 4.3)), "inconclusive"),
        (metric("latency_ms", 5.0, "simulated"), "violated"),
        (metric("latency_ms", 1.0, "predicted"), "unknown"),
        (metric("latency_ms", 9.0, "predicted"), "unknown"),
        (metric("latency_ms", math.nan), "unknown"),
        (None, "unknown"),
    ],
)
def test_provenance_decides_what_a_value_proves(value, status):
    given = {} if value is None else {"latency_ms": value}
    (verdict,) = Requirements({"latency_ms": "<= 4"}).judge(given).verdicts
    assert verdict.status == VerdictStatus(status)


@pytest.mark.parametrize("bounds", ["macs <= 1M", [("macs", "<= 1M")], None, {1: "<= 1M"}])
def test_what_is_no_mapping_from_metrics_to_bounds_is_refused(bounds):
    with pytest.raises(RequirementError, match="metric"):
        Requirements(bounds)


def test_the_mapping_form_stands_for_requirements():
    bounds = {"macs": "<= 1M"}
    assert Requirements.of(bounds) == Requirements(bounds)
    assert Requirements.of(Requirements(bounds)) == Requirements(bounds)


def test_simulated_is_feasible_but_not_verified():
    judged = Requirements({"latency_ms": "<= 4"}).judge(
        {"latency_ms": metric("latency_ms", 3.0, "simulated")}
    )
    assert judged.feasible
    assert not judged.verified


def test_margins_are_negative_when_violated_and_the_worst_one_binds():
    requirements = Requirements({"accuracy": ">= 0.9", "macs": "<= 4M"})
    judged = requirements.judge(
        {"accuracy": metric("accuracy", 0.81), "macs": metric("macs", 3.9e6, "computed")}
    )
    margins = [verdict.margin for verdict in judged.verdicts]
    assert margins == [pytest.approx(-0.1), pytest.approx(0.025)]
    assert judged.binding == Requirement("accuracy", ">=", 0.9)
    assert judged.violation == pytest.approx(0.1)
    assert not judged


def test_the_tightest_bound_binds_when_all_hold():
    requirements = Requirements({"accuracy": ">= 0.5", "macs": "<= 4M"})
    judged = requirements.judge(
        {"accuracy": metric("accuracy", 0.8), "macs": metric("macs", 3.9e6, "computed")}
    )
    assert judged.binding is not None
    assert judged.binding.metric == "macs"


def test_text_and_json_read_back_to_the_same_requirements():
    requirements = Requirements({"accuracy": ">= 0.9212345678", "latency_ms": "2 .. 10", "macs": "<= 3.1M"})
    assert requirements.text.endswith("macs <= 3.1e+06")
    assert Requirements.from_json(requirements.to_json()) == requirements


def test_the_smallest_network_must_meet_every_ceiling():
    requirements = Requirements({"macs": "<= 4M", "accuracy": ">= 0.9"})
    requirements.satisfiable_by({"macs": 4e6})
    with pytest.raises(RequirementError, match=r"macs <= 4e\+06.*4\.2e\+06"):
        requirements.satisfiable_by({"macs": metric("macs", 4.2e6, "computed")})


def test_the_largest_network_must_meet_every_floor():
    requirements = Requirements({"macs": "1M .. 4M", "accuracy": ">= 0.9"})
    requirements.satisfiable_by({"macs": 1e5})
    requirements.satisfiable_by({"macs": 1e5}, {"macs": 1e6, "parameters": 10.0})
    with pytest.raises(RequirementError, match=r"macs >= 1e\+06.*most that was found is macs = 900000"):
        requirements.satisfiable_by({"macs": 1e5}, {"macs": metric("macs", 9e5, "computed")})


def test_the_vector_is_zero_at_the_reference_and_logarithmic_in_the_bound():
    reference = Requirements({"macs": "<= 4M", "accuracy": ">= 0.9"})
    assert reference.vector() == (0.0, 0.0)
    tighter = Requirements({"accuracy": ">= 0.9", "macs": "<= 1M"})
    assert tighter.vector(reference) == pytest.approx((math.log(0.25), 0.0))
    with pytest.raises(RequirementError, match="was taught"):
        Requirements({"macs": "<= 1M"}).vector(reference)


def test_moved_requirements_have_the_vector_they_were_moved_by():
    taught = Requirements({"accuracy": ">= 0.8", "macs": "<= 4M", "latency_ms": "2 .. 10"})
    vector = (0.01, -1.2, 0.3, 0.4)
    assert taught.moved(vector).vector(taught) == pytest.approx(vector)
    assert taught.moved([0.0] * 4) == taught


def test_a_bound_takes_the_place_of_that_on_its_metric_and_side():
    taught = Requirements({"latency_ms": "2 .. 10", "macs": "<= 4M"})
    tighter = taught.replaced(Requirements({"latency_ms": "<= 5"}))
    assert tighter == Requirements({"latency_ms": "2 .. 5", "macs": "<= 4M"})
    assert taught.replaced(Requirements({})) == taught
    with pytest.raises(RequirementError, match=r"'macs >= 1' replaces no requirement"):
        taught.replaced(Requirements({"macs": ">= 1"}))
