import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.errors import DataError
from edgesynth.tasks import TensorSamples
from edgesynth.tasks.division import divide, hold_out, stratified_order

labels = st.lists(st.integers(0, 4), min_size=2, max_size=80).map(torch.tensor)


@given(labels, st.integers(0, 100))
def test_every_prefix_of_the_order_holds_the_classes_in_proportion(labels, seed):
    order = stratified_order(labels, seed)
    assert order.sort().values.tolist() == list(range(len(labels)))
    counts = labels.bincount(minlength=5).double()
    for length in range(1, len(labels) + 1):
        held = labels[order[:length]].bincount(minlength=5).double()
        # Rounding keeps each class within one sample of its share, all others together add at most their own.
        assert bool(((held - counts * length / len(labels)).abs() <= 5).all())


@given(labels, st.data())
def test_parts_are_disjoint_and_as_large_as_asked(labels, data):
    samples = TensorSamples(torch.arange(len(labels)), labels)
    first = data.draw(st.integers(1, len(labels) - 1))
    second = data.draw(st.integers(1, len(labels) - first))
    a, b = divide(samples, first, second)
    assert (len(a.labels), len(b.labels)) == (first, second)
    assert not set(a.inputs.tolist()) & set(b.inputs.tolist())


def test_the_first_part_does_not_depend_on_the_others():
    samples = TensorSamples(torch.arange(40), torch.arange(40) % 4)
    assert torch.equal(divide(samples, 8, 32)[0].inputs, divide(samples, 8, 4)[0].inputs)


def test_holding_out_is_stratified_and_leaves_something():
    samples = TensorSamples(torch.arange(100), torch.arange(100) % 5)
    kept, held = hold_out(samples, 0.2)
    assert held.labels.bincount().tolist() == [4] * 5
    assert len(kept.labels) == 80
    kept, held = hold_out(TensorSamples(torch.arange(2), torch.tensor([0, 1])), 0.99)
    assert (len(kept.labels), len(held.labels)) == (1, 1)


def test_more_than_there_is_cannot_be_taken():
    samples = TensorSamples(torch.arange(4), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(DataError, match="from 4"):
        divide(samples, 3, 2)
