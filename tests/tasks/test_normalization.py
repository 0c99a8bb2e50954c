import torch

from edgesynth.tasks import Normalization, TensorSamples


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
