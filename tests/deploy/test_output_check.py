"""One output against the reference's: numbers by how far they are off, classes by how many are others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgesynth.deploy.inside_arithmetic import ranked
from edgesynth.deploy.output_check import TOLERANCES, OutputCheck, check_output


def judged(want: Any, have: Any, precision: str) -> OutputCheck:
    return check_output("class", want, np.asarray(have), TOLERANCES[precision])


def test_classes_are_counted_and_not_subtracted() -> None:
    logits = np.zeros((200, 1000), np.float32)
    logits[:, 0] = 1
    want, same = ranked(logits), np.zeros(200, np.int32)
    one, many = same.copy(), same.copy()
    one[7], many[7:27] = 999, 1  # the nearest index is no better than the farthest

    assert judged(want, same, "fp32").problem == ""
    assert "1 of 200 classes are others, first in sample 7; none" in judged(want, one, "fp32").problem
    assert judged(want, one, "fp16").problem == ""
    assert "20 of 200 classes are others" in judged(want, many, "fp16").problem
    assert judged(want, many, "int8").problem == ""
    assert judged(want, many, "int8").others == pytest.approx(0.1)


def test_of_few_samples_one_class_may_be_another_in_half_precision() -> None:
    want = ranked(np.eye(4, dtype=np.float32)[np.arange(32) % 4])
    have = np.array(want)
    have[0] = 1 - have[0]

    assert judged(want, have, "fp16").problem == ""
    assert judged(want, np.roll(have, 1), "int8").problem


def test_a_tie_is_no_difference() -> None:
    logits = np.array([[5.0, 5.0 + 1e-5, 0], [5.0, 4.0, 0]], np.float32)
    want = ranked(logits)

    assert want.tolist() == [None, 0]
    assert judged(want, np.array([0, 0]), "fp32").problem == ""
    assert judged(want, np.array([0, 1]), "fp32").problem


def test_whole_numbers_may_be_indices_or_quantities() -> None:
    places = np.arange(1000, dtype=np.int64)
    swapped, far = places.copy(), places.copy()
    swapped[[3, 900]], far[::2] = swapped[[900, 3]], 0

    assert judged(places, swapped, "fp16").problem == ""  # two of the indices
    assert "2 of 1000 classes are others" in judged(places, swapped, "fp32").problem
    assert judged(places, places + 1, "fp16").problem == ""  # all a little larger
    assert judged(places, far, "fp16").problem


def test_what_is_infinite_in_both_agrees_and_nothing_else_does() -> None:
    want = np.float32([[-np.inf, 1], [-np.inf, 2]])

    with np.errstate(all="raise"):
        assert judged(want, want.copy(), "fp32").problem == ""
        for other in (-65504.0, np.inf, np.nan):
            have = np.where(want == -np.inf, np.float32(other), want)
            assert "NaN or Inf in the reference is something else" in judged(want, have, "fp32").problem


def test_a_reference_without_a_finite_value_proves_nothing() -> None:
    want = np.full((2, 3), np.nan, np.float32)

    assert "nothing to compare with" in judged(want, want, "fp32").problem
    want[1, 2] = 1
    assert judged(want, want, "fp32").problem == ""
