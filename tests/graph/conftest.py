"""Prototypes of every test network, traced once a session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from architectures import CASES, Case, traced

from edgesynth.graph import Prototype


@pytest.fixture(params=list(CASES))
def case_and_prototype(request: pytest.FixtureRequest) -> tuple[Case, Prototype]:
    """Every test network with its prototype."""
    return CASES[request.param], traced(request.param)
