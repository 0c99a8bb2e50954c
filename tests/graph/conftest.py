"""Prototypes of every test network, traced once a session."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from architectures import CASES, Case

from edgesynth.graph import Prototype


@cache
def traced(name: str) -> Prototype:
    """The prototype of one test network."""
    case = CASES[name]
    return Prototype(case.network(), case.inputs(1))


@pytest.fixture(params=list(CASES))
def case_and_prototype(request: pytest.FixtureRequest) -> tuple[Case, Prototype]:
    """Every test network with its prototype."""
    return CASES[request.param], traced(request.param)
