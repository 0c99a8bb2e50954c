"""Which of two families is better: requirements first, performance second."""

from __future__ import annotations

import json

import pytest

from edgesynth.metrics import Metric, Provenance
from edgesynth.synthesis.performance import Quality
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.succession import Member, gains, superiority

REQUIREMENTS = Requirements({"accuracy": ">= 0.8", "latency_ms": "<= 10"})


def member(accuracy: float, latency_ms: float | None = 5.0, spread: float = 0.0) -> Member:
    metrics = {
        "accuracy": Metric(
            "accuracy",
            accuracy,
            Provenance.MEASURED,
            samples=1000,
            interval=(accuracy - spread, accuracy + spread) if spread else None,
        )
    }
    if latency_ms is not None:
        metrics["latency_ms"] = Metric("latency_ms", latency_ms, Provenance.SIMULATED)
    return Member({"width": 8}, metrics)


def better(ours: list[Member], theirs: list[Member]) -> float:
    return superiority(ours, theirs, REQUIREMENTS, Quality())


def test_performance_decides_among_networks_inside() -> None:
    assert better([member(0.9)], [member(0.85)]) == 1
    assert better([member(0.85)], [member(0.9)]) == 0
    assert better([member(0.9)], [member(0.9)]) == 0.5


def test_a_network_inside_beats_any_that_is_outside() -> None:
    assert better([member(0.81)], [member(0.99, latency_ms=11)]) == 1
    assert better([member(0.81)], [member(0.79)]) == 1


def test_outside_the_lesser_violation_wins_whatever_the_performance() -> None:
    assert better([member(0.7, latency_ms=11)], [member(0.99, latency_ms=15)]) == 1


def test_what_is_only_perhaps_inside_counts_as_outside() -> None:
    assert better([member(0.81, spread=0.02)], [member(0.805)]) == 0


def test_a_network_that_failed_on_the_device_is_the_worst() -> None:
    assert better([member(0.9, latency_ms=None)], [member(0.1, latency_ms=99)]) == 0


def test_every_pair_counts() -> None:
    assert better([member(0.9), member(0.85)], [member(0.87), member(0.88)]) == 0.5
    assert better([member(0.9), member(0.89)], [member(0.87), member(0.895)]) == 0.75


def test_a_network_without_a_figure_that_performance_needs_is_no_better_than_any() -> None:
    known = member(0.9)
    unknown = Member(known.architecture, {"latency_ms": known.metrics["latency_ms"]})
    assert superiority([unknown], [known], Requirements({}), Quality()) == 0


def test_gains_are_of_the_same_networks() -> None:
    assert gains([member(0.8), member(0.7)], [member(0.83), member(0.71)], "accuracy") == pytest.approx(0.02)


def test_a_member_is_read_as_it_was_written() -> None:
    written = member(0.9, spread=0.01)
    assert Member.from_json(json.loads(json.dumps(written.to_json()))) == written
