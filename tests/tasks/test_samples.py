import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.errors import DataError
from edgesynth.tasks import Normalization, TensorSamples
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


def test_inputs_and_labels_must_belong_together():
    with pytest.raises(DataError, match="3 samples come with 2 labels"):
        TensorSamples(torch.zeros(3, 1), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="one class index per sample"):
        TensorSamples(torch.zeros(2, 1), torch.tensor([0.0, 1.0]))


def test_normalisation_gives_each_channel_mean_zero_and_deviation_one():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (300, 3, 6, 6), dtype=torch.uint8)
    images[:, 1] //= 4
    samples = TensorSamples(images, torch.zeros(300, dtype=torch.int64))
    normalization = Normalization.of(samples)
    values = normalization(images)
    assert torch.allclose(values.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(values.std((0, 2, 3)), torch.ones(3), atol=1e-3)
    expected = (images.float() / 255 - torch.tensor(normalization.mean).view(3, 1, 1)) / torch.tensor(
        normalization.std
    ).view(3, 1, 1)
    assert torch.allclose(values, expected, atol=1e-5)
    assert Normalization.from_json(normalization.to_json()) == normalization


def test_a_constant_channel_is_centred_and_not_divided_by_zero():
    samples = TensorSamples(torch.full((4, 1, 2, 2), 7.0), torch.zeros(4, dtype=torch.int64))
    normalization = Normalization.of(samples)
    assert normalization.std == (1.0,)
    assert torch.equal(normalization(samples.inputs), torch.zeros(4, 1, 2, 2))
    assert torch.equal(samples.inputs, torch.full((4, 1, 2, 2), 7.0))


def test_indices_are_left_as_they_are():
    samples = TensorSamples(torch.randint(50, (9, 12)), torch.zeros(9, dtype=torch.int64))
    assert Normalization.of(samples) is None
