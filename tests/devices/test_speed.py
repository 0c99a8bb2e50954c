"""Times are told as of one speed of the machine, and only where its load can tell that."""

import itertools

import numpy as np
import pytest

from edgesynth.devices.speed import (
    FEWEST_BLOCKS,
    NEAR_AS_TIMED,
    Block,
    at_speed,
    clear_speed,
)
from edgesynth.profiler.statistics import quantile


def block(speed_ms, calls_ms=(1.0,) * 10, after_ms=None):
    return Block(speed_ms, tuple(calls_ms), speed_ms if after_ms is None else after_ms)


def test_the_clear_speed_is_the_fastest_that_the_machine_keeps():
    fast, slow = ([block(speed + 0.001 * i) for i in range(10)] for speed in (0.3, 0.5))

    assert clear_speed([*slow, *fast]) == fast[4].speed_ms
    # What it had for a moment only is no speed to wait for.
    assert clear_speed([*slow, *slow, *fast[:4]]) == 0.5
    assert clear_speed([*slow, *slow, *fast]) == 0.5
    assert clear_speed([*slow, block(0.45)]) == slow[1].speed_ms
    assert clear_speed([block(0.4, [])]) == 0.4


def test_where_the_machine_keeps_no_speed_the_one_that_most_calls_were_near_is_clear():
    spread = [block(0.1 * 1.5**step) for step in range(8)]

    assert clear_speed([*spread, block(1.5)]) == 1.5
    assert clear_speed(spread) == spread[1].speed_ms


def test_a_block_within_which_the_speed_changed_counts_for_none():
    changing = [block(0.3, after_ms=0.4) for _ in range(9)]

    assert clear_speed([*changing, block(0.5)]) == 0.5
    assert at_speed([*changing, block(0.5)], 0.35) == []
    assert clear_speed(changing) == pytest.approx(0.35)  # something must be said


def test_only_blocks_near_a_speed_are_at_it_and_stay_in_order():
    blocks = [block(speed) for speed in (0.5, 0.41, 0.61, 0.59, 0.39)]

    assert at_speed(blocks, 0.5) == [blocks[0], blocks[1], blocks[3]]
    assert at_speed(blocks, 0.5, NEAR_AS_TIMED) == [blocks[0]]


def test_a_block_at_another_speed_takes_about_as_much_longer_as_the_load_does():
    moved = block(0.5, [1.0, 2.0, 4.0]).at(0.55)

    assert moved.calls_ms == pytest.approx([1.0865, 2.173, 4.346], abs=1e-3)
    assert moved.speed_ms == pytest.approx(0.55)


def test_what_a_wandering_machine_times_comes_back_as_what_it_is_at_one_speed():
    random = np.random.default_rng(0)
    # Steps between levels, and a fifth of the time at the one that is asked for.
    level = np.repeat(random.choice([1.0, 1.08, 1.3], 60, p=[0.2, 0.4, 0.4]), 8) * random.normal(1, 0.01, 480)
    noise = lambda: random.normal(1.0, 0.004)  # noqa: E731
    blocks = [
        Block(0.4 * now * noise(), tuple(1.25 * now * random.normal(1, 0.03, 20)), 0.4 * then * noise())
        for now, then in itertools.pairwise(level)
    ]
    raw = np.median([ms for each in blocks for ms in each.calls_ms])

    kept = at_speed(blocks, 0.4)
    found = quantile([np.median(each.at(0.4).calls_ms) for each in kept], 0.5)

    assert FEWEST_BLOCKS <= len(kept) < len(blocks)
    assert abs(raw / 1.25 - 1) > 0.05
    assert found.value == pytest.approx(1.25, rel=0.02)
    assert found.low < found.value < found.high
