"""Only values that a precision does not hold are a reason to try a higher one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgesynth.deploy.divergence import Divergence
from edgesynth.deploy.inexact import find_inexact
from edgesynth.deploy.verify import OutputCheck, VerifyReport

RIGHT = VerifyReport("net", "", "net", "a board", "fp16", 1, (OutputCheck("y", 0.0, 1.0, 0.0),))
WRONG = replace(RIGHT, outputs=(OutputCheck("y", 2.0, 1.0, 2.0, problem="off by 2"),))
OVERFLOW = Divergence("first", "Conv", "a", float("inf"))


@pytest.mark.parametrize(
    ("reports", "says"),
    [
        ([RIGHT, WRONG], "y: off by 2"),
        (
            [replace(WRONG, divergence=Divergence("add", "Add", "b", 0.5))],
            "y: off by 2; add (Add) goes wrong first",
        ),
        (
            [replace(RIGHT, problems=("first (Conv) leaves the range of FP16",), divergence=OVERFLOW)],
            "first (Conv) leaves the range of FP16; first (Conv) goes wrong first",
        ),
        ([RIGHT], None),
        ([], None),
        ([replace(RIGHT, outputs=(), problems=("it does not run: SIGSEGV",))], None),
        ([replace(WRONG, problems=("it has no output 'z'",))], None),
        ([WRONG, replace(RIGHT, problems=("it declares opset 12, not 13",))], None),
    ],
)
def test_what_differs_in_more_than_its_values_is_no_matter_of_precision(
    reports: list[VerifyReport], says: str | None
) -> None:
    found = find_inexact("fp16", reports)

    assert (None if found is None else found.says) == says
