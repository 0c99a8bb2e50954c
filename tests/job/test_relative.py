"""Requirements relative to the prototype become the numbers a person would compute."""

from __future__ import annotations

import pytest

from edgesynth.errors import RequirementError
from edgesynth.job.relative import check, resolve
from edgesynth.metrics import Metric, Provenance
from edgesynth.synthesis.requirements import Requirements

PROTOTYPE = {"macs": 40_800_000.0, "accuracy": 0.886, "parameters": 272_000.0, "latency_ms": 1.5}


@pytest.mark.parametrize(
    ("metric", "condition", "expected"),
    [
        ("macs", "<= prototype / 10", "<= 4080000"),
        ("macs", "<=prototype/10", "<=4080000"),
        ("macs", "<= 0.1 * prototype", "<= 4080000"),
        ("macs", "<= prototype * 0.1", "<= 4080000"),
        ("macs", "<= prototype", "<= 40800000"),
        ("macs", "<= prototype - 30M", "<= 10800000"),
        ("macs", "prototype / 20 .. prototype / 10", "2040000 .. 4080000"),
        ("macs", "1M .. prototype", "1M .. 40800000"),
        ("accuracy", ">= prototype - 0.02", ">= 0.866"),
        ("accuracy", ">= prototype - 2%", ">= 0.866"),
        ("accuracy", "≥ prototype - 1e-3", "≥ 0.885"),
        ("parameters", "<= 50% * prototype", "<= 136000"),
        ("latency_ms", "<= prototype + 0.5", "<= 2"),
        ("macs", "<= 4M", "<= 4M"),
    ],
)
def test_a_condition_resolves_to_a_number(metric: str, condition: str, expected: str) -> None:
    resolved = resolve({metric: condition}, PROTOTYPE)
    assert resolved == {metric: [expected]}
    assert len(Requirements(resolved)) >= 1


def test_a_metric_with_provenance_resolves_like_its_value() -> None:
    known = {"accuracy": Metric("accuracy", 0.9, Provenance.MEASURED, 100, (0.83, 0.94))}
    assert resolve({"accuracy": ">= prototype - 0.1"}, known) == {"accuracy": [">= 0.8"]}


def test_several_bounds_on_one_metric_all_resolve() -> None:
    given = {"macs": [">= prototype / 40", "<= prototype / 10"]}
    assert resolve(given, PROTOTYPE) == {"macs": [">= 1020000", "<= 4080000"]}


def test_an_unknown_value_of_the_prototype_is_an_error_that_says_what_is_known() -> None:
    with pytest.raises(RequirementError, match=r"inferences_per_joule.*known: accuracy, latency_ms, macs"):
        resolve({"inferences_per_joule": ">= prototype * 4"}, PROTOTYPE)


def test_a_partial_resolution_leaves_out_what_is_not_known_yet() -> None:
    given = {"macs": "<= prototype / 2", "accuracy": ">= prototype", "latency_ms": "<= 3"}
    assert resolve(given, {"macs": 10.0}, partial=True) == {"macs": ["<= 5"], "latency_ms": ["<= 3"]}


@pytest.mark.parametrize(
    "condition",
    [
        "prototype / 10",
        "< prototype",
        "<= prototype / 2 / 3",
        "<= prototype ** 2",
        "<= prototype - ",
        "<= prototypes",
        "<= 2 prototype",
        ">= prototype and <= 3",
        "<= prototype / x",
    ],
)
def test_a_condition_that_cannot_be_read_shows_how_to_write_one(condition: str) -> None:
    with pytest.raises(RequirementError, match="prototype / 10"):
        check("macs", condition)


@pytest.mark.parametrize(
    ("condition", "value"), [(">= prototype + 0.2", "1.086"), (">= prototype - 0.9", "-0.014")]
)
def test_a_share_that_cannot_be_is_told_with_the_prototypes_own(condition: str, value: str) -> None:
    check("accuracy", condition)
    said = f"is {value}, as the prototype has 0.886; accuracy lies in 0 .. 1: write another bound"
    with pytest.raises(RequirementError, match=said):
        resolve({"accuracy": condition}, PROTOTYPE)


def test_dividing_by_zero_is_refused_before_any_work() -> None:
    with pytest.raises(RequirementError, match="divides by zero"):
        check("macs", "<= prototype / 0")


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RequirementError, match="'macs'"):
        check("mac", "<= prototype / 10")
