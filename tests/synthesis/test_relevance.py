"""From probe responses to what quality is expected to depend on."""

from __future__ import annotations

import math

import pytest

from edgesynth.space import Space, Switch, Width
from edgesynth.synthesis.relevance import prior_relevance

SPACE = Space([Width("a.conv", 8, 64, 8), Width("b", 8, 64, 8), Switch("block")])


def test_relevances_are_in_proportion_to_mean_responses() -> None:
    found = prior_relevance(
        SPACE, {"a.conv.drop": 0.5, "a.conv.scale": 0.3, "b.drop": 0.2, "block.drop": 0.1}
    )
    assert found.tolist() == pytest.approx(
        [math.log(4) - math.log(8) / 3, math.log(2) - math.log(8) / 3, -math.log(2)]
    )
    assert float(found.sum()) == pytest.approx(0)


def test_what_did_not_answer_counts_as_the_least() -> None:
    found = prior_relevance(SPACE, {"a.conv.drop": 0.4, "b.drop": 0.1, "block.drop": 0.0})
    assert found[2] == found[1] < found[0]


def test_other_names_are_passed_over() -> None:
    assert prior_relevance(SPACE, {"b.drop.downstream": 0.4, "unknown.drop": 0.1}).tolist() == [0, 0, 0]
    assert prior_relevance(SPACE, {}).tolist() == [0, 0, 0]


def test_one_response_moves_a_relevance_only_so_far() -> None:
    found = prior_relevance(SPACE, {"a.conv.drop": 1e6, "b.drop": 1.0, "block.drop": 1.0})
    assert found.tolist() == [2.0, -2.0, -2.0]
