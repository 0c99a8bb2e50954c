import numpy as np
import pytest
import torch

from edgesynth.space import Choice, Space, Switch, Width
from edgesynth.synthesis.encoding import Encoding
from edgesynth.synthesis.pair import GeneratorInquisitor
from edgesynth.synthesis.policy import Policy
from edgesynth.synthesis.tiles import TileFeatures, idle


def test_what_idles_is_the_rest_of_the_last_tile():
    found = idle(Width("w", 4, 40, 4))
    tile = np.array([8, 16, 32])
    empty = np.array([np.ceil(w / tile) * tile - w for w in range(4, 41, 4)]) / tile
    assert found == pytest.approx(empty - empty.mean(0))


def test_tiles_that_every_width_fills_tell_nothing():
    assert idle(Width("w", 8, 64, 8)).shape == (8, 2)
    assert idle(Width("w", 32, 256, 32)).shape == (8, 0)
    assert idle(Switch("s")).shape == (2, 0)
    assert idle(Choice("c", ["a", "b", "c"])).shape == (3, 0)


def test_features_are_those_of_each_width():
    space = Space([Choice("c", ["a", "b"]), Width("v", 8, 24, 8), Switch("s"), Width("w", 4, 64, 4)])
    features = TileFeatures(space)
    indices = np.array([[0, 2, 1, 3], [1, 0, 0, 15]])
    want = np.hstack([idle(space.dimensions[1])[[2, 0]], idle(space.dimensions[3])[[3, 15]]])
    assert features(indices) == pytest.approx(want)
    assert list(features.group) == [0] * want.shape[1]
    assert TileFeatures(Space([Switch("s")]))(np.zeros((3, 1), dtype=np.int64)).shape == (3, 0)


def test_a_generator_can_prefer_whole_tiles_at_any_width():
    space = Space([Width("w", 4, 128, 4)])
    whole = np.arange(3, 32, 4)  # 16, 32 .. 128
    lesson, bounds = np.tile(whole, 4)[:, None], np.zeros((32, 1))

    def share(policy):
        for _ in range(300):
            shown = policy.likelihood(lesson, bounds, policy.theta)
            policy.theta = policy.theta + 0.02 * policy.gradient(shown, np.full(32, 1 / 32), policy.theta)
        every = np.arange(32)[:, None]
        return np.exp(policy.likelihood(every, bounds, policy.theta).log_p)[whole].sum()

    encoding = Encoding(space)
    assert share(Policy(encoding, 1)) > 0.9
    assert share(Policy(encoding, 1, tiled=False)) < 0.4


def test_steps_of_a_device_are_learned_from_few_networks():
    space = Space([Width(f"w{i}", 4, 64, 4) for i in range(6)])

    def latency_ms(architecture):
        return 1 + sum(np.ceil(int(width) / 16) for width in architecture.values())

    pair = GeneratorInquisitor(space, {"latency_ms": "<= 15"}, lambda m: -m["latency_ms"], seed=0)
    for seed in range(40):
        architecture = space.sample(seed)
        pair.tell(architecture, {"latency_ms": latency_ms(architecture)})
    asked = [space.sample(1000 + seed) for seed in range(200)]
    mean, _ = pair.predict(asked)["latency_ms"]
    truth = np.array([latency_ms(architecture) for architecture in asked])
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.25 * truth.std()


def test_a_generator_of_an_earlier_version_goes_on_without_tiles():
    space = Space([Width(f"w{i}", 4, 64, 4) for i in range(3)])

    def pair():
        return GeneratorInquisitor(space, {"latency_ms": "<= 2"}, lambda m: -m["latency_ms"], seed=1)

    earlier = pair()
    earlier.policy = Policy(Encoding(space), 1, 1, tiled=False)
    for architecture in earlier.ask(6):
        earlier.tell(architecture, {"latency_ms": sum(map(int, architecture.values())) / 50})
    drawn = [earlier.generate(seed) for seed in range(20)]
    state = earlier.state()
    del state.meta["tiled"], state.tensors["inquisitor.heat"]
    for name in [name for name in state.tensors if name.startswith("inquisitor.hyper.")]:
        hyper = state.tensors[name]
        state.tensors[name] = torch.cat([hyper[:3], hyper[4:]])  # before there was a group of tiles
    now = pair()
    now.restore(state)
    assert not now.policy.tiled
    assert [now.generate(seed) for seed in range(20)] == drawn
    assert pair().policy.tiled
    assert len(now.ask(2)) == 2


@pytest.mark.parametrize(
    ("bounds", "computed", "width"),
    [
        ({"latency_ms": "<= 2"}, None, 4 + 6),
        ({"accuracy": ">= 0.5"}, None, 4),
        ({"macs": "<= 1M", "accuracy": ">= 0.5"}, lambda a: {"macs": 1e4 * int(a["w0"])}, 4 + 1),
    ],
)
def test_tiles_matter_where_a_device_is_asked(bounds, computed, width):
    space = Space([Width(f"w{i}", 4, 64, 4) for i in range(2)])
    pair = GeneratorInquisitor(space, bounds, lambda m: m["accuracy"], 0, computed)
    assert pair.inquisitor.features(np.zeros((1, 2), dtype=np.int64)).shape == (1, width)


def test_a_generator_can_prefer_any_value_of_few():
    space = Space([Width("w", 8, 64, 8)])
    policy, lesson = Policy(Encoding(space), 1), np.array([[1], [4]])
    for _ in range(300):
        shown = policy.likelihood(lesson, np.zeros((2, 1)), policy.theta)
        policy.theta = policy.theta + 0.1 * policy.gradient(shown, np.full(2, 0.5), policy.theta)
    found = policy.likelihood(lesson, np.zeros((2, 1)), policy.theta)
    assert np.exp(found.log_p).sum() > 0.9
