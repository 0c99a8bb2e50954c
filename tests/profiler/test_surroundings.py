"""Figures are labelled with a power mode, so a board must have been in it, and say so."""

import pytest

from edgesynth.profiler.surroundings import mode_doubt


@pytest.mark.parametrize(
    "conditions",
    [{}, {"mode": "MAXN"}, {"mode": "MAXN", "mode_after": "MAXN"}],
    ids=["no modes", "once", "twice"],
)
def test_a_board_in_its_mode_is_believed(conditions):
    assert mode_doubt(conditions, "MAXN") == ""


@pytest.mark.parametrize(
    ("conditions", "doubt"),
    [
        ({"mode": "MAXQ"}, "was in power mode MAXQ, not MAXN; set the mode and repeat"),
        ({"mode": "MAXN", "mode_after": "MAXQ"}, "was in power mode MAXQ at the end, not MAXN"),
        ({"mode_unknown": "there is no nvpmodel"}, "cannot tell its power mode (there is no nvpmodel)"),
    ],
)
def test_a_board_in_another_mode_or_in_one_that_nobody_knows_is_doubted(conditions, doubt):
    assert doubt in mode_doubt(conditions, "MAXN")
