"""What every clock promises, tried on every clock there is."""

import pytest

from edgesynth.devices import SystemClock, VirtualClock


@pytest.fixture(params=[SystemClock, VirtualClock])
def clock(request):
    return request.param()


def test_time_never_goes_back(clock):
    stamps = [clock.monotonic() for _ in range(10)]

    assert stamps == sorted(stamps)


def test_sleep_lets_at_least_that_much_pass(clock):
    before = clock.monotonic()
    clock.sleep(0.02)

    assert clock.monotonic() - before >= 0.02


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_sleeping_nothing_returns_at_once(clock, seconds):
    before = clock.monotonic()
    clock.sleep(seconds)

    assert clock.monotonic() - before < 0.5


def test_a_virtual_hour_passes_in_no_time():
    real = SystemClock()
    before = real.monotonic()
    clock = VirtualClock()
    clock.sleep(3600)

    assert clock.monotonic() == 3600
    assert real.monotonic() - before < 1
