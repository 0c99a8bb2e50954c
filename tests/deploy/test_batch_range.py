"""Batches as they are asked for, and the calls that prove an engine for a range of them."""

import numpy as np
import pytest

from edgesynth.agent.batches import batches_of
from edgesynth.deploy.batch_range import (
    Trial,
    exported_batch,
    fitting,
    in_every_size,
    read_batches,
    refuse_range,
)
from edgesynth.deploy.samples import Samples
from edgesynth.deploy.verify import VerifyReport, verify_outputs
from edgesynth.errors import DataError, InputError


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("8", (8, 8, 8)),
        (8, (8, 8, 8)),
        ("1..16", (1, 16, 16)),
        (" 1..8..16 ", (1, 8, 16)),
        ([1, 8, 16], (1, 8, 16)),
        (batches_of([1, 8, 16]), (1, 8, 16)),
        ("4..4", (4, 4, 4)),
    ],
)
def test_what_is_asked_for_is_understood(asked, found):
    assert read_batches(asked) == found
    assert read_batches(None) is None


@pytest.mark.parametrize(
    "asked", ["0", "", "eight", "16..1", "1..2..3..4", "1..", "..8", "1.5", "-1", 0, [1, 2], "0..4"]
)
def test_what_is_no_batch_says_how_one_is_written(asked):
    with pytest.raises(
        InputError, match=r"such as 8, or LEAST\.\.MOST or LEAST\.\.USUAL\.\.MOST, such as 1\.\.16"
    ):
        read_batches(asked)


def test_a_range_is_refused_where_an_engine_has_one_size():
    some, one = batches_of([1, 4, 8]), batches_of(8)
    for batches in (None, one):
        refuse_range(batches, dla_core=0, cuda_graph=True)
    with pytest.raises(
        InputError, match=r"for 1\.\.4\.\.8 samples can be built for a DLA: .* leave the DLA out"
    ):
        refuse_range(some, dla_core=0, cuda_graph=False)
    with pytest.raises(InputError, match=r"as a CUDA graph: .* leave --cuda-graph out"):
        refuse_range(some, dla_core=None, cuda_graph=True)
    assert [exported_batch(batches, 3) for batches in (None, one, some)] == [3, 8, "dynamic"]


def samples_of(count):
    return Samples({"x": np.arange(count, dtype=np.float32)}, "ten (generated)")


@pytest.mark.parametrize(
    ("batches", "step", "known", "taken"),
    [
        ((1, 4, 8), 1, 11, 11),
        ((1, 4, 8), 4, 11, 8),
        ((6, 7, 7), 1, 10, 10),
        ((4, 4, 4), 1, 11, 8),
        ((4, 4, 4), 6, 25, 24),
    ],
)
def test_samples_are_as_many_as_an_engine_can_be_proved_on(batches, step, known, taken):
    assert len(fitting(samples_of(known), batches_of(batches), step)) == taken


@pytest.mark.parametrize("batches", [(1, 4, 16), (16, 16, 16)])
def test_fewer_samples_than_the_largest_call_prove_nothing(batches):
    with pytest.raises(DataError, match=r"has 15 samples, .* call takes 16; give more of them"):
        fitting(samples_of(15), batches_of(batches))


@pytest.mark.parametrize(
    ("batches", "samples", "calls"),
    [
        ((1, 2, 4), 7, [(0, 4), (3, 4), (4, 3), (0, 2), (0, 1)]),
        ((1, 3, 4), 4, [(0, 4), (0, 3), (0, 1)]),
        ((1, 3, 4), 7, [(0, 4), (3, 4), (0, 3), (0, 1)]),
        ((2, 4, 4), 5, [(0, 4), (1, 4), (0, 2)]),  # one is left, and no call takes one
        ((2, 2, 2), 4, [(0, 2), (2, 2)]),
    ],
)
def test_a_trial_has_every_sample_in_a_largest_call_and_every_size(batches, samples, calls):
    trial = Trial.of(batches_of(batches), samples)

    assert list(trial.calls) == calls
    assert set(batches) <= set(trial.sizes)
    data = {"x": np.arange(10 * samples).reshape(samples, 10), "scalar": np.float32(3)}
    given = trial.given(data)
    begin = 0
    for start, size in calls:
        assert np.array_equal(given["x"][begin : begin + size], data["x"][start : start + size])
        begin += size
    assert given["scalar"] == 3
    assert len(given["x"]) == begin
    largest = np.arange(begin) < sum(size for _, size in calls if size == batches[2])
    only = np.where(largest[:, None], given["x"], -1)  # no answer is of a smaller call
    assert np.array_equal(trial.answers({"x": only})["x"], data["x"])


def judged(spoil, precision="fp32"):
    """The verdict on 130 samples of an engine for 1 to 64, what it gives spoiled."""
    trial = Trial.of(batches_of([1, 8, 64]), 130)
    expected = {"y": np.random.default_rng(0).normal(size=(130, 10)).astype(np.float32)}
    found = {"y": expected["y"][trial.origins].copy()}
    spoil(trial, found["y"])
    blank = VerifyReport("e", "", "n", "r", precision, 130, ())
    report = verify_outputs(blank, expected, trial.answers(found))
    return report, in_every_size(report, expected, found, trial)


def test_what_is_wrong_in_one_size_is_wrong_though_all_samples_agree():
    def spoil(trial, found):
        found[trial.repeats[1]] *= 1.01

    whole, every = judged(spoil)

    assert whole
    assert not every
    (failure,) = every.failures
    assert failure.startswith("y: in batch 1: off by")


def test_what_is_wrong_in_the_largest_calls_alone_says_so():
    def spoil(trial, found):
        found[:192] *= 1.01

    whole, every = judged(spoil)

    assert not whole
    assert every.outputs[0].problem.startswith("in batch 64: off by")


def test_what_is_wrong_in_every_size_is_told_once_for_all():
    def spoil(trial, found):
        found *= 1.01

    whole, every = judged(spoil)

    assert not whole
    assert every == whole


def test_a_size_that_is_not_finite_is_told_with_the_sample_it_is_in():
    def spoil(trial, found):
        found[trial.repeats[2][1]] = np.nan

    whole, every = judged(spoil)

    assert whole
    assert every.outputs[0].bad_sample == 129
    assert every.outputs[0].problem.startswith("in batch 2: 10 values are NaN")


def test_a_sample_that_is_as_far_off_in_every_size_is_judged_with_all_the_others():
    def spoil(trial, found):
        first = trial.origins == 0
        found[first] += np.float32(0.3) * np.sign(found[first])  # of one sample, beyond what INT8 may be

    def spoil_more(trial, found):
        spoil(trial, found)
        found[trial.repeats[1]] = 0

    whole, every = judged(spoil, "int8")

    assert whole
    assert every == whole
    assert not judged(spoil_more, "int8")[1]


def test_where_all_agrees_every_size_does():
    whole, every = judged(lambda trial, found: None)
    assert whole
    assert every == whole


def test_an_output_that_is_not_of_every_sample_is_no_proof():
    trial = Trial.of(batches_of([1, 2, 4]), 4)
    expected = {"y": np.zeros((1, 3), np.float32)}
    report = verify_outputs(VerifyReport("e", "", "n", "r", "fp32", 4, ()), expected, expected)

    assert report
    assert in_every_size(report, expected, expected, trial).failures == (
        "y is not one value per sample, so it cannot be compared in calls of several sizes",
    )
