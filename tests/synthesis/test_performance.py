import math

import pytest
import torch

from edgesynth.errors import InputError, JobError
from edgesynth.synthesis.performance import (
    PERFORMANCES,
    EnergyAwareScore,
    InformationDensity,
    NetScore,
    Quality,
    as_performance,
    performance_by_name,
)


@pytest.mark.parametrize(
    ("network", "accuracy", "parameters", "macs", "score"),
    [
        ("VGG-16", 0.705, 138.36e6, 15.47e9, 40.9),
        ("ResNet-50", 0.752, 25.6e6, 3.9e9, 55.0),
        ("MobileNet-V1", 0.706, 4.2e6, 0.569e9, 70.2),
    ],
)
def test_netscore_agrees_with_known_networks(network, accuracy, parameters, macs, score):
    got = NetScore()({"accuracy": accuracy, "parameters": parameters, "macs": macs})
    assert got == pytest.approx(score, abs=0.3), network


def test_information_density_is_percent_per_million_parameters():
    assert InformationDensity()({"accuracy": 0.7, "parameters": 3.5e6}) == pytest.approx(20.0)


def test_quality_is_percent_and_reads_nothing_else():
    score = performance_by_name("quality", "miou")
    assert score == Quality("miou")
    assert score.needs == ("miou",)
    assert score({"miou": 0.615}) == pytest.approx(61.5)
    assert score({"miou": 0.615, "macs": 1e12}) == score({"miou": 0.615, "macs": 1.0})
    with pytest.raises(InputError, match="miou"):
        score({"accuracy": 0.9})


def test_twice_the_inferences_per_joule_are_worth_three_points():
    score = EnergyAwareScore("miou")
    at = [score({"miou": 0.6, "inferences_per_joule": v}) for v in (20.0, 40.0)]
    assert at[1] - at[0] == pytest.approx(10 * math.log10(2))


@pytest.mark.parametrize("name", sorted(PERFORMANCES))
def test_formulas_agree_on_floats_and_tensors(name):
    score = performance_by_name(name)
    values = {need: torch.tensor([0.3, 0.5, 0.9], dtype=torch.float64) for need in score.needs}
    want = [score({need: float(v[i]) for need, v in values.items()}) for i in range(3)]
    assert score.tensor(values).tolist() == pytest.approx(want)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(JobError, match="netscore"):
        performance_by_name("net-score")


def test_a_missing_metric_is_named():
    with pytest.raises(InputError, match="macs"):
        NetScore()({"accuracy": 0.9, "parameters": 1e6})


def test_a_plain_callable_is_accepted_and_its_metrics_found():
    score = as_performance(lambda m: m["accuracy"] - 0.1 * m["latency_ms"])
    assert score.needs == ("accuracy", "latency_ms")
    assert score({"accuracy": 0.9, "latency_ms": 1.0}) == pytest.approx(0.8)


@pytest.mark.parametrize("function", [lambda m: 1.0, lambda m: math.log(-m["macs"])])
def test_a_callable_that_cannot_score_is_refused(function):
    with pytest.raises(InputError):
        as_performance(function)


def test_a_class_in_place_of_a_performance_function_is_refused():
    with pytest.raises(InputError, match=r"write NetScore\(\)"):
        as_performance(NetScore)
