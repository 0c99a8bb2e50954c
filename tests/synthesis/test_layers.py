"""What a device takes for a network is learned of its layers, wherever they stand."""

import numpy as np
import pytest
import torch

from edgesynth.graph import Prototype
from edgesynth.synthesis import GeneratorInquisitor
from edgesynth.synthesis.encoding import Encoding
from edgesynth.synthesis.evaluation import ComputedCosts
from edgesynth.synthesis.layers import LayerFeatures
from edgesynth.zoo import build


@pytest.fixture(scope="module")
def prototype():
    torch.manual_seed(0)
    return Prototype(build("resnet20", in_channels=3, classes=10).eval(), torch.randn(1, 3, 32, 32))


@pytest.fixture(scope="module")
def sample(prototype):
    return np.random.default_rng(0).integers(
        Encoding(prototype.space).counts, size=(64, len(prototype.space))
    )


def test_sizes_are_those_of_the_layers_that_are_there(prototype, sample):
    sizes, present = prototype.layer_sizes(sample)

    for row, (mine, there) in enumerate(zip(sizes, present, strict=True)):
        layers = [layer for layer in prototype.cost(prototype.space.decode(sample[row])).layers if layer.macs]
        assert mine.prod(1)[there].tolist() == [layer.macs for layer in layers]
        assert mine[there, 0].tolist() == [layer.output_shape[0] for layer in layers]
        assert mine[there, 1].tolist()[1:4] == mine[there, 0].tolist()[:3] or not there[:4].all()


@pytest.mark.parametrize("name", ["mobilenetv2", "centrenet"])
def test_depthwise_and_transposed_layers_have_the_input_channels_of_one_group(name):
    prototype = Prototype(build(name, in_channels=3, classes=10).eval(), torch.randn(1, 3, 64, 64))
    largest = prototype.space.encode(prototype.largest())[None]
    (sizes,), (present,) = prototype.layer_sizes(largest)
    layers = [layer for layer in prototype.cost().layers if layer.macs]

    assert present.all()
    assert sizes.prod(1).tolist() == [layer.macs for layer in layers]
    assert sizes[:, 0].tolist() == [layer.output_shape[0] for layer in layers]
    deep = [size for size, layer in zip(sizes.tolist(), layers, strict=True) if layer.groups > 1]
    assert all(into == 1 for _, into, _ in deep)
    assert bool(deep) == (name == "mobilenetv2")


def test_features_are_sums_over_layers_whatever_their_order(sample):
    def sizes_of(indices):
        return indices.reshape(len(indices), 4, 3) + 1, indices[:, ::3] % 5 > 0

    networks = np.random.default_rng(1).integers(1, 64, (40, 12))
    features = LayerFeatures(sizes_of, networks)
    turned = networks.reshape(40, 4, 3)[:, ::-1].reshape(40, 12)

    assert features(networks) == pytest.approx(features(turned))
    assert features(networks).mean(0) == pytest.approx(0, abs=1e-9)
    assert np.ptp(features(networks), axis=0).min() > 0
    assert features(networks[:1]) == pytest.approx(features(networks)[:1])  # alone as among others
    assert features(networks[:0]).shape == (0, features.width)


def test_layers_of_large_pictures_are_not_taken_for_one_another():
    sizes = np.array([[[8, 1, (1 << 20) + 5]], [[8, 2, 5]], [[8, 2, 6]], [[9, 1, 1 << 22]]])

    features = LayerFeatures(
        lambda rows: (sizes[rows[:, 0]], np.ones((len(rows), 1), bool)), np.arange(4)[:, None]
    )

    found = features(np.arange(4)[:, None])
    assert found == pytest.approx(np.vstack([features(np.array([[row]])) for row in range(4)]))


def test_layers_matter_where_a_device_is_asked_and_not_for_a_quality_alone(prototype, sample):
    def pair(requirements):
        return GeneratorInquisitor(
            prototype.space,
            requirements,
            lambda metrics: metrics["accuracy"],
            seed=0,
            computed=ComputedCosts(prototype),
        ).inquisitor.features(sample)

    quality, device = pair({"accuracy": ">= 0.5"}), pair({"latency_ms": "<= 1"})

    assert device.shape[1] == quality.shape[1] + LayerFeatures.width
    assert np.array_equal(device[:, : quality.shape[1]], quality)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["latency_ms", "throughput_ips"])
def test_a_device_that_dislikes_odd_channels_is_predicted_better_by_its_layers(
    prototype, monkeypatch, metric
):
    """A device of which every layer takes twice as long where channels are no multiples of 4."""

    def found(architecture):
        sizes, present = prototype.layer_sizes(prototype.space.encode(architecture)[None])
        odd = (sizes[0, :, :2] % 4 != 0).any(1)
        ms = float(0.05 + ((2e-8 * sizes[0].prod(1) + 0.01) * (1.0 + odd))[present[0]].sum())
        return ms if metric == "latency_ms" else 1e3 / ms

    def error(seed):
        pair = GeneratorInquisitor(
            prototype.space,
            {metric: "<= 1e9" if metric == "latency_ms" else ">= 1e-9"},
            lambda metrics: metrics[metric],
            seed=seed,
            computed=ComputedCosts(prototype),
        )
        told = [prototype.space.sample(1000 * seed + number) for number in range(70)]
        for architecture in told[:30]:
            pair.tell(architecture, {metric: found(architecture)})
        mean, _ = pair.predict(told[30:])[metric]
        return np.median(np.abs(mean / [found(architecture) for architecture in told[30:]] - 1))

    with_layers = np.mean([error(seed) for seed in range(4)])
    monkeypatch.setattr("edgesynth.synthesis.candidates.Costs.layers", None)
    without = np.mean([error(seed) for seed in range(4)])

    assert with_layers < 0.6 * without


@pytest.mark.slow
def test_what_is_drawn_holds_a_bound_on_a_device_that_is_known_well(prototype):
    """A device that works in whole tiles of eight channels; accuracy rises with what it takes."""
    whole = prototype.layer_sizes(prototype.space.encode(prototype.space.largest())[None])

    def latency_ms(sizes, present):
        tiled = -(-sizes[..., :2] // 8) * 8
        return ((1e-8 * tiled.prod(-1) * sizes[..., 2] + 0.01) * present).sum(1)

    most = float(latency_ms(*whole)[0]) / 3

    def found(architecture):
        return float(latency_ms(*prototype.layer_sizes(prototype.space.encode(architecture)[None]))[0])

    inside = []
    for seed in range(2):
        pair = GeneratorInquisitor(
            prototype.space,
            {"latency_ms": f"<= {most}"},
            lambda metrics: metrics["accuracy"],
            seed=seed,
            computed=ComputedCosts(prototype),
        )
        for _ in range(8):
            for architecture in pair.ask(5):
                ms = found(architecture)
                pair.tell(architecture, {"latency_ms": ms, "accuracy": 0.9 - 0.1 * (1 - ms / most / 3) ** 2})
        inside += [found(pair.generate(seed)) <= most for seed in range(100)]

    assert np.mean(inside) >= 0.97
