"""A latency pass ends when its calls tell their median, and not before."""

import itertools
import math

import numpy as np
import pytest

from edgesynth.devices.latency_pass import FEWEST_STRETCHES, LatencyPass, standard_error, stretch_medians
from edgesynth.devices.speed import Block
from edgesynth.profiler.statistics import quantile

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


def test_where_the_machine_is_faster_by_now_it_is_timed_so():
    fast, far = ([Block(speed_ms, (1.0,), speed_ms)] * 9 for speed_ms in (0.4, 0.2))
    slow = [Block(0.5, (1.2,), 0.5)] * 9
    passes = {}
    for name, blocks in (("fast", fast), ("both", [*fast, *slow]), ("far", far), ("slow", slow)):
        passes[name] = LatencyPass(1, 0.0, 0.5)
        passes[name].blocks += blocks

    assert passes["fast"].timed().speed_ms == 0.5
    assert passes["fast"].timed().medians_ms == pytest.approx([1.25**0.87] * 9)
    assert passes["both"].timed().blocks == tuple(fast)
    assert passes["slow"].timed().blocks == tuple(slow)
    assert passes["far"].timed().blocks == ()


def test_a_few_stretches_that_happen_to_agree_are_not_enough():
    speeds = [0.7 if 20 <= number < 300 else 0.5 for number in range(2000)]

    assert lasted_s(LatencyPass(100, 3.0, 0.5), steady(), speeds) > 300 * BLOCK_S


def test_what_does_not_feel_the_load_is_judged_as_it_was_timed():
    speeds = np.repeat(np.random.default_rng(0).uniform(0.46, 0.54, 80), 25).tolist()

    as_timed, scaled = (LatencyPass(100, 3.0, 0.5, alike=alike) for alike in (False, True))
    assert lasted_s(as_timed, steady(), speeds) == pytest.approx(3.0, abs=BLOCK_S)
    assert lasted_s(scaled, steady(), speeds) > 6.0


def test_a_pass_that_need_not_look_ends_with_the_calls_it_wants():
    assert lasted_s(LatencyPass(95, 0.0, 0.0), steady()) == 10 * BLOCK_S


def test_blocks_are_told_as_they_were_or_as_of_the_speed():
    blocks = [Block(0.54, (1.1,), 0.54), Block(0.59, (1.2,), 0.59), Block(0.9, (1.8,), 0.9)]
    scaled, as_timed = (LatencyPass(1, 0.0, 0.5, alike=alike) for alike in (True, False))
    for each in (scaled, as_timed):
        each.blocks += blocks

    assert scaled.timed().blocks == (blocks[0], blocks[1])
    assert scaled.timed().medians_ms == pytest.approx([1.1 / 1.08**0.87, 1.2 / 1.18**0.87])
    assert as_timed.timed().blocks == as_timed.timed().shown == (blocks[0],)
    assert as_timed.timed().medians_ms == [1.1]


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


def test_so_few_stretches_just_tell_how_well_their_median_is_known():
    assert quantile(np.arange(1.0, FEWEST_STRETCHES + 1), 0.5) is not None
    assert quantile(np.arange(1.0, FEWEST_STRETCHES), 0.5) is None
