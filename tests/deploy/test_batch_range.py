"""Batches as they are asked for, and what they ask of a file and of data."""

import numpy as np
import pytest

from edgesynth.agent.batches import batches_of
from edgesynth.deploy.batch_range import exported_batch, fitting, read_batches, refuse_range
from edgesynth.deploy.samples import Samples
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
