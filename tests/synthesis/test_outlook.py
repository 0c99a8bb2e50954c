"""What is expected of networks at the end of training."""

from __future__ import annotations

import pytest

from edgesynth.graph import Prototype
from edgesynth.metrics import Metric, Provenance, wilson_interval
from edgesynth.synthesis.evaluation import Evaluation
from edgesynth.synthesis.outlook import Outlook


def measured(right: int, samples: int) -> dict[str, Metric]:
    interval = wilson_interval(right, samples)
    metrics = {"accuracy": Metric("accuracy", right / samples, Provenance.MEASURED, samples, interval)}
    costs = {"macs": 1e6, "parameters": 1e4}
    return metrics | {name: Metric(name, value, Provenance.COMPUTED) for name, value in costs.items()}


@pytest.fixture
def outlook() -> Outlook:
    outlook = Outlook("accuracy", epochs=10.0, samples=2000)
    outlook.ceiling = 0.9
    return outlook


def test_a_lift_falls_to_nothing_at_the_end(outlook: Outlook) -> None:
    assert outlook.lift(0.5, 0.0) == pytest.approx(0.4)
    assert outlook.lift(0.5, 5.0) == pytest.approx(0.2)
    assert outlook.lift(0.5, 10.0) == 0.0


def test_networks_better_than_the_prototype_are_not_lowered(outlook: Outlook) -> None:
    assert outlook.lift(0.95, 2.0) == 0.0


def test_an_interval_is_that_of_the_samples_that_judge_in_the_end(outlook: Outlook) -> None:
    few = outlook.expected(measured(400, 500), 0.0)["accuracy"].interval
    many = wilson_interval(1600, 2000)
    assert few is not None
    assert few[1] - few[0] == pytest.approx(many[1] - many[0], rel=0.02)


def test_more_samples_than_judge_in_the_end_widen_nothing(outlook: Outlook) -> None:
    metrics = measured(3200, 4000)
    assert outlook.expected(metrics, 0.0)["accuracy"].interval == pytest.approx(metrics["accuracy"].interval)


def test_what_follows_from_quality_is_lifted_along(outlook: Outlook) -> None:
    today, end = (outlook.expected(measured(400, 500), lift) for lift in (0.0, 0.1))
    assert end["accuracy"].value == pytest.approx(0.9)
    assert end["netscore"].value > today["netscore"].value
    assert outlook.expected(measured(490, 500), 0.1)["accuracy"].value == 1.0


def test_networks_of_a_cycle_are_told_apart_by_losses_and_set_right_together(
    outlook: Outlook, prototype: Prototype
) -> None:
    cost = prototype.cost()
    right, losses = (400, 410, 390, 405, 395, 400), (0.5, 0.45, 0.55, 0.4, 0.6, 0.5)
    found = [
        Evaluation({"width": i}, measured(count, 500), cost, loss=loss)
        for i, (count, loss) in enumerate(zip(right, losses, strict=True))
    ]
    lift, members = outlook.members(found, 0.02, 10.0)
    assert lift == 0.0
    qualities = [member.metrics["accuracy"].value for member in members]
    assert sorted(range(6), key=lambda i: qualities[i]) == sorted(range(6), key=lambda i: -losses[i])
    assert sum(qualities) / 6 == pytest.approx(0.82)
    assert [member.architecture for member in members] == [evaluation.architecture for evaluation in found]
    sooner, better = outlook.members(found, 0.02, 5.0)
    assert sooner == pytest.approx(0.5 * (0.9 - max(qualities)))
    assert better[0].metrics["accuracy"].value == pytest.approx(qualities[0] + sooner)
