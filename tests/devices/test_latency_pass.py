"""A latency pass ends when its calls tell their median, and not before."""

import itertools
import math

import numpy as np
import pytest

from edgesynth.devices.latency_pass import LatencyPass, standard_error, stretch_medians
from edgesynth.devices.speed import Block

BLOCK_S = 0.02
SPEED = (0.5,) * 2000


def lasted_s(wanted, calls_ms, speeds_ms=SPEED):
    """How long a pass goes on whose blocks have calls, and loads around them, of these times."""
    for number, (ms, speed_ms) in enumerate(zip(calls_ms, speeds_ms, strict=False)):
        if wanted.enough(number * BLOCK_S):
            return number * BLOCK_S
        wanted.blocks.append(Block(speed_ms, (ms,) * 10, speed_ms, number * BLOCK_S))
    raise AssertionError("the pass went on for longer than there are calls")


def steady():
    return np.random.default_rng(0).normal(1.0, 0.01, 2000).tolist()


def wandering():
    """Of another level every half a second, which the load does not show."""
    levels = np.random.default_rng(0).normal(1.0, 0.06, 80)
    return np.repeat(levels, round(0.5 / BLOCK_S)).tolist()


def test_calls_that_agree_end_when_they_were_looked_at_for_long_enough():
    assert lasted_s(LatencyPass(100, 3.0, 0.5), steady()) == pytest.approx(3.0, abs=BLOCK_S)
    assert lasted_s(LatencyPass(100, 3.0, 0.0), steady()) == pytest.approx(6.0, abs=BLOCK_S)


def test_calls_that_wander_go_on_and_not_for_ever():
    assert 6.0 < lasted_s(LatencyPass(100, 3.0, 0.5), wandering()) <= 12.5
    still = itertools.chain.from_iterable([ms] * 50 for ms in itertools.cycle([1.0, 1.3]))
    assert lasted_s(LatencyPass(100, 3.0, 0.5), still) == pytest.approx(12.0, abs=0.5)


def test_calls_at_another_speed_are_waited_for():
    speeds = [0.7 if number < 400 else 0.5 for number in range(2000)]

    wanted = LatencyPass(100, 3.0, 0.5)
    assert lasted_s(wanted, steady(), speeds) > 400 * BLOCK_S
    assert {block.speed_ms for block in wanted.timed().blocks} == {0.5}
    assert wanted.timed().speed_ms == 0.5


def test_a_pass_that_need_not_look_ends_with_the_calls_it_wants():
    assert lasted_s(LatencyPass(95, 0.0, 0.0), steady()) == 10 * BLOCK_S


def test_blocks_are_told_as_they_were_and_as_of_the_speed():
    wanted = LatencyPass(1, 0.0, 0.5)
    wanted.blocks += [Block(0.55, (1.1,), 0.55), Block(0.9, (1.8,), 0.9)]

    timed = wanted.timed()
    assert timed.blocks == (wanted.blocks[0],)
    assert timed.as_of_speed[0].calls_ms == pytest.approx((1.0,))


def test_calls_of_one_stretch_are_taken_together_and_stretches_without_any_are_left_out():
    blocks = [
        Block(0.5, (ms, ms), 0.5, at_s) for ms, at_s in ((1.0, 0.0), (3.0, 0.4), (4.0, 0.5), (5.0, 2.6))
    ]

    assert stretch_medians(blocks, 0.5) == [2.0, 4.0, 5.0]
    assert stretch_medians(blocks, 0.0) == [1.0, 3.0, 4.0, 5.0]
    assert stretch_medians([], 0.5) == []


def test_a_mean_is_known_the_better_the_more_stretches_there_are():
    assert standard_error([]) == standard_error([1.0]) == math.inf
    assert standard_error([2.0, 2.0]) == 0.0
    assert standard_error([0.9, 1.0, 1.1, 1.0]) == pytest.approx(0.0408, abs=1e-4)
    assert standard_error([9.0, 10.0, 11.0, 10.0] * 4) < standard_error([0.9, 1.0, 1.1, 1.0]) / 2
