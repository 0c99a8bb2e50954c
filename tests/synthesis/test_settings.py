"""Budgets are checked before anything is spent."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from edgesynth.errors import InputError
from edgesynth.synthesis.settings import SynthesisSettings


def test_settings_survive_the_manifest() -> None:
    settings = SynthesisSettings(
        cycles=3, epochs=1.5, validation_limit=None, performance="information_density"
    )
    assert SynthesisSettings(**json.loads(json.dumps(settings.to_json()))) == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cycles", 0),
        ("networks", 0),
        ("seeds_per_cycle", 0),
        ("asked_per_cycle", 0),
        ("batch_size", 0),
        ("epochs", 0.0),
        ("epochs", float("nan")),
        ("learning_rate", -0.1),
        ("warmup", 1.0),
        ("warmup", -0.1),
        ("polish_epochs", -1.0),
        ("diversity", -0.1),
        ("budget_range", 0.5),
        ("budget_range", float("inf")),
        ("budget_range", 1e308),
        ("probes_per_cycle", -1),
        ("probes_per_cycle", 1.5),
        ("seeds_per_cycle", 2.5),
        ("cycles", "3"),
        ("epochs", float("inf")),
        ("learning_rate", float("nan")),
        ("polish_epochs", float("inf")),
        ("diversity", float("nan")),
        ("warmup", "0"),
        ("validation_limit", 0),
        ("validation_limit", -5),
        ("calibration_samples", 0),
        ("batch_size", 10**9),
        ("seed", -1),
        ("seed", 0.5),
        ("performance", "nope"),
        ("performance", None),
    ],
)
def test_a_budget_that_cannot_be_spent_is_refused_by_name_and_value(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"{name}.*{re.escape(str(value))}"):
        SynthesisSettings(**{name: value})


def test_the_least_budgets_are_accepted() -> None:
    least = SynthesisSettings(
        cycles=1,
        networks=1,
        seeds_per_cycle=1,
        asked_per_cycle=1,
        probes_per_cycle=0,
        warmup=0.0,
        polish_epochs=0.0,
        diversity=0.0,
    )
    assert least.probes_per_cycle == 0


def test_by_default_few_samples_are_seen_more_often_than_many() -> None:
    settings = SynthesisSettings(batch_size=64, networks=5)
    assert settings.passes(samples=10_000) == (20.0, 4.0)
    few, alone = settings.passes(samples=856)
    assert few == 72  # 14 steps each: 1,008
    assert alone == few / 5


def test_a_stated_number_of_passes_holds_for_any_data() -> None:
    assert SynthesisSettings(epochs=3.0).passes(samples=10) == (3.0, 0.6)
    assert SynthesisSettings(epochs=3.0, polish_epochs=0.0).passes(samples=10) == (3.0, 0.0)
