"""Whatever is closed at the end of its block is closed the same way."""

import pytest

from edgesynth.closing import Closing


class Door(Closing):
    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


def test_the_block_gets_it_open_and_leaves_it_closed():
    with Door() as door:
        assert door.closed == 0
    assert door.closed == 1


def test_an_error_closes_it_and_goes_on():
    door = Door()
    with pytest.raises(ZeroDivisionError), door:
        raise ZeroDivisionError
    assert door.closed == 1
