"""Spaces and their dimensions are refused where they hold no choice, in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgesynth.errors import ArchitectureError
from edgesynth.space import Choice, Space, Switch, Width

SPACE = Space([Width("w", 8, 64, 8), Switch("b"), Choice("op", ["a", "b"])])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Width("w", "1", "3"), "minimum of width 'w'.*'1'"),  # type: ignore[arg-type]
        (lambda: Width("w", 1, 3.5), "maximum of width 'w'.*3.5"),  # type: ignore[arg-type]
        (lambda: Width("w", 8, 64, step=2.0), "step of width 'w'.*2.0"),  # type: ignore[arg-type]
        (lambda: Width("", 1, 2), "width needs a name, got ''"),
        (lambda: Width(None, 1, 2), "width needs a name, got None"),  # type: ignore[arg-type]
        (lambda: Switch(""), "switch needs a name"),
        (lambda: Choice("", ["a"]), "choice needs a name"),
        (lambda: Choice("c", "abc"), "choice 'c' needs a list.*'abc'"),
        (lambda: Choice("c", None), "choice 'c' needs a list.*None"),  # type: ignore[arg-type]
        (lambda: Space(Switch), "list of dimensions"),  # type: ignore[arg-type]
        (lambda: Space(Switch("b")), "list of dimensions"),  # type: ignore[arg-type]
        (lambda: Space([Switch]), "a Width, a Switch or a Choice"),  # type: ignore[list-item]
        (lambda: Width("w", 1, 100_000), "100000 values.*step of at least 25"),
    ],
)
def test_what_makes_no_space_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ArchitectureError, match=words):
        make()


def test_a_long_width_of_long_steps_is_fine() -> None:
    assert len(Width("w", 1, 100_000, 25).values) <= 4097
    assert len(Width("w", 1, 4096).values) == 4096


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ({"w": [8], "b": True, "op": "a"}, r"'w' cannot be \[8\]"),
        ({"w": 8, "b": 1, "op": "a"}, "'b' cannot be 1"),
        ({"w": True, "b": True, "op": "a"}, "'w' cannot be True"),
        ({"w": 8, "b": True, "op": "a", 3: 1, "x": 2}, r"unknown dimensions \['3', 'x'\]"),
        (None, "mapping.*None"),
        ([8, True, "a"], "mapping"),
    ],
)
def test_what_is_no_architecture_is_refused(architecture: Any, words: str) -> None:
    with pytest.raises(ArchitectureError, match=words):
        SPACE.encode(architecture)


def test_numbers_of_numpy_are_choices_too() -> None:
    of_numpy = {"w": np.int64(16), "b": np.bool_(True), "op": "a"}
    assert SPACE.encode(of_numpy).tolist() == [1, 1, 0]  # type: ignore[arg-type]
    assert json.dumps(Space([Width("w", np.int64(8), np.int32(64))]).to_json())  # type: ignore[arg-type]
