"""The calls that prove an engine for a range of batches, and what is wrong in one size of them."""

import numpy as np
import pytest

from edgesynth.agent.batches import batches_of
from edgesynth.deploy.trial import Trial, in_every_size
from edgesynth.deploy.verify import VerifyReport, verify_outputs


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
