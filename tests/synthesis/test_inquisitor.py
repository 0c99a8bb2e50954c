import numpy as np
import pytest

from edgesynth.space import Choice, Space, Width
from edgesynth.synthesis.belief import Interpretation
from edgesynth.synthesis.candidates import Costs
from edgesynth.synthesis.encoding import Encoding
from edgesynth.synthesis.inquisitor import Inquisitor
from edgesynth.synthesis.observations import Observations
from edgesynth.synthesis.performance import as_performance
from edgesynth.synthesis.policy import Policy
from edgesynth.synthesis.requirements import Requirements

SPACE = Space([Width(f"w{i}", 8, 64, 8) for i in range(4)] + [Choice("op", ["a", "b", "c"])])
ENCODING = Encoding(SPACE)


def truth(indices):
    w = indices[:, :4] / 7
    quality = 0.95 - 0.3 * np.exp(-2 * w).mean(1) - 0.05 * (indices[:, 4] == 1) * w[:, 0]
    return {"accuracy": quality, "latency_ms": 1 + (w[:, :3] * w[:, 1:]).sum(1) + 0.5 * indices[:, 4]}


def draw(count, seed):
    return np.random.default_rng(seed).integers(0, SPACE.cardinalities, (count, 5))


def observe(indices, failed=None, responses=None, values=None):
    values = values or truth(indices)
    count = len(indices)
    return Observations(
        indices,
        values,
        {name: np.ones(count) for name in values},
        {name: np.full(count, np.nan) for name in values},
        values["accuracy"],
        np.zeros(count) if failed is None else failed,
        responses or {},
    )


def make():
    performance = as_performance(lambda m: m["accuracy"])
    requirements = Requirements({"latency_ms": "<= 2"})
    return Inquisitor(ENCODING, requirements, performance, Costs(ENCODING, None, requirements))


def test_forty_points_predict_unseen_architectures_with_honest_uncertainty():
    inquisitor = make()
    inquisitor.learn(observe(draw(40, 0)), 40)
    unseen = draw(200, 1)
    for name, (mean, std) in inquisitor.predict(unseen).items():
        error = truth(unseen)[name] - mean
        assert np.sqrt((error**2).mean()) < 0.25 * truth(unseen)[name].std(), name
        assert (np.abs(error) < 3 * std).mean() > 0.9, name


def test_margins_are_negative_where_the_bound_is_broken():
    inquisitor = make()
    inquisitor.learn(observe(draw(60, 0)), 40)
    unseen = draw(300, 3)
    inside = inquisitor.believe(unseen).margin[0] >= 0
    assert (inside == (truth(unseen)["latency_ms"] <= 2)).mean() > 0.95


def test_failures_are_learned():
    seen = draw(60, 0)
    inquisitor = make()
    inquisitor.learn(observe(seen, failed=(seen[:, 4] == 2).astype(float)), 40)
    success = inquisitor.believe(seen).success
    assert success[seen[:, 4] == 2].max() < 0.3
    assert success[seen[:, 4] != 2].min() > 0.7


def test_responses_tell_which_dimensions_quality_depends_on_before_many_were_seen():
    w = [f"w{i}.drop" for i in range(4)]
    true, false = (
        dict(zip(w, values, strict=True)) for values in ((0.9, 0.02, 0.02, 0.02), (0.02, 0.9, 0.9, 0.9))
    )
    errors = {"none": [], "true": [], "false": []}
    for seed in range(6):
        seen, unseen = draw(10, seed), draw(200, 100 + seed)
        values, wanted = (
            {**truth(at), "accuracy": 0.8 + 0.1 * np.sin(at[:, 0] / 2)} for at in (seen, unseen)
        )
        for name, responses in (("none", {}), ("true", true), ("false", false)):
            inquisitor = make()
            inquisitor.learn(observe(seen, responses=responses, values=values), 40)
            mean, _ = inquisitor.predict(unseen)["accuracy"]
            errors[name].append(float(np.sqrt(((mean - wanted["accuracy"]) ** 2).mean())))
    none, right, wrong = (np.mean(errors[name]) for name in errors)
    assert right < 0.9 * none < wrong


def test_responses_say_nothing_of_a_device():
    predicted = []
    for responses in ({}, {"w0.drop": 0.9, "w1.drop": 0.01}):
        inquisitor = make()
        inquisitor.learn(observe(draw(20, 0), responses=responses), 40)
        predicted.append(inquisitor.predict(draw(5, 1))["latency_ms"][0])
    assert np.array_equal(*predicted)


def test_delta_makes_the_generator_more_feasible_and_leaves_it_unchanged():
    inquisitor = make()
    inquisitor.learn(observe(draw(60, 0)), 40)
    policy = Policy(ENCODING, 1, seed=0)
    before = policy.theta.copy()
    share = [(truth(policy.choose(range(200), [0.0])[0])["latency_ms"] <= 2).mean()]
    for round_ in range(4):
        update = inquisitor.delta(policy, np.random.default_rng(round_))
        if round_ == 0:
            assert np.array_equal(policy.theta, before)
        policy.theta = policy.theta + update.delta
    share.append((truth(policy.choose(range(200), [0.0])[0])["latency_ms"] <= 2).mean())
    assert share[1] > max(0.9, share[0])
    assert update.record["feasible"] == pytest.approx(share[1], abs=0.15)


@pytest.mark.parametrize(("metric", "side"), [("latency_ms", -1.0), ("throughput_ips", 1.0)])
def test_what_is_predicted_beyond_the_least_sum_is_not_sure(metric, side):
    performance = as_performance(lambda m: m["accuracy"])
    interpretation = Interpretation(Requirements({metric: ">= 0"}), performance, {}, layered=True)
    values = {metric: np.array([1.0, 2.0, 4.0, 8.0]), "accuracy": np.full(4, 0.5)}
    interpretation.observe(observe(draw(4, 0), values=values))
    mean = np.tile(side * np.array([0.0, 1.0, 5.0, 50.0]), (2, 1))

    predicted, width = interpretation.metrics(mean, np.full_like(mean, 0.1))[metric]

    assert (predicted > 0).all()
    assert (width > 0.01 * values[metric].min()).all()
