"""What a generator that is told nothing goes on to draw."""

import pickle

import numpy as np
import pytest
import torch

from edgesynth.graph import Prototype
from edgesynth.space import Choice, Space, Switch, Width
from edgesynth.synthesis.evaluation import ComputedCosts
from edgesynth.synthesis.pair import GeneratorInquisitor
from edgesynth.synthesis.performance import Quality
from edgesynth.synthesis.proportions import Proportions
from edgesynth.synthesis.teaching import Lesson
from edgesynth.zoo import build

SPACE = Space([*(Width(f"w{i}", 8, 64, 8) for i in range(6)), Switch("block"), Choice("op", ["a", "b"])])
STAGES = ("w0", "w1", "w2", "w3", "w4", "w5")
PRICES = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
"""MACs per unit: the last widths are what is worth saving, if nothing speaks for them."""


def macs(architecture):
    return {"macs": float(PRICES @ [architecture[name] for name in STAGES])}


def log_p(*architectures):
    return Proportions(SPACE)(np.stack([SPACE.encode(each) for each in architectures]))


def network(*widths, block=True, op="a"):
    return {**dict(zip(STAGES, widths, strict=True)), "block": block, "op": op}


def taught(quality, count=6, *, proportioned=True):
    """A pair that was told the quality of some of its own networks, and then taught, if there were any."""
    bound = macs(network(*(24,) * 6))["macs"]
    pair = GeneratorInquisitor(
        SPACE, {"macs": f"<= {bound}"}, Quality("accuracy"), computed=macs, autonomous=False
    )
    if proportioned:
        pair.initialise()
    for seed in range(1000, 1000 + count):
        architecture = pair.generate(seed, repair=True)
        pair.tell(architecture, {"accuracy": quality(architecture)})
    if count:
        pair.update()
    return pair


def drawn(pair):
    return [pair.generate(seed, repair=True) for seed in range(60)]


def noise(architecture):
    """No network is better than another, but for luck."""
    return 0.5 + 0.02 * np.random.default_rng([architecture[name] for name in STAGES]).standard_normal()


def narrowest(networks):
    """Of each network the least share of its mean width that a stage has."""
    widths = np.array([[each[name] for name in STAGES] for each in networks], dtype=float)
    return widths.min(1) / widths.mean(1)


def test_networks_that_shrank_evenly_are_alike_however_small():
    small, large = log_p(network(*(8,) * 6), network(*(64,) * 6))
    assert small == pytest.approx(large)
    bottleneck, milder = log_p(network(64, 64, 8, 64, 64, 64), network(64, 64, 32, 64, 64, 64))
    assert bottleneck < milder < large


def test_what_cannot_shrink_is_expected_at_its_own_end():
    space = Space(
        [
            *(Width(f"f{i}", 64, 64) for i in range(2)),
            Width("g", 32, 64, 8),
            Width("w0", 8, 64, 8),
            Width("w1", 8, 64, 8),
        ]
    )
    even = [space.encode({"f0": 64, "f1": 64, "g": max(32, n), "w0": n, "w1": n}) for n in (64, 32, 16, 8)]
    assert Proportions(space)(np.stack(even)) == pytest.approx(0.0)
    assert Proportions(space)(space.encode({"f0": 64, "f1": 64, "g": 64, "w0": 16, "w1": 16})[None]) < -1


def test_a_width_that_nobody_hears_is_left_out():
    prototype = Prototype(build("resnet20", in_channels=1, classes=10), torch.zeros(1, 1, 28, 28), align=2)
    proportions = Proportions(prototype.space, ComputedCosts(prototype))
    wide = {
        **prototype.largest(),
        **{block.name: index % 2 > 0 for index, block in enumerate(prototype.blocks)},
    }
    pair = [prototype.space.encode(each) for each in (wide, prototype.canonical(wide))]
    assert not np.array_equal(*pair)
    one, other = proportions(np.stack(pair))
    assert one == pytest.approx(other)
    assert Proportions(prototype.space)(np.stack(pair))[1] < one - 10


def test_the_measure_counts_for_less_beside_observations():
    rows = np.stack([SPACE.encode(network(64, 8, 64, 8, 64, 8)), SPACE.encode(network(*(32,) * 6))])
    apart = [np.diff(Proportions(SPACE)(rows, told))[0] for told in (0, 8, 56)]
    assert apart[1:] == pytest.approx([apart[0] / 2, apart[0] / 8])


def test_a_block_is_likelier_there_and_an_operator_makes_no_difference():
    there, absent, other = log_p(
        network(*(8,) * 6), network(*(8,) * 6, block=False), network(*(8,) * 6, op="b")
    )
    assert there - absent == pytest.approx(np.log(4), abs=0.05)
    assert there == other


def test_a_space_without_widths_has_no_proportions():
    assert list(Proportions(Space([Choice("op", ["a", "b"])]))(np.array([[0], [1]]))) == [0.0, 0.0]


def test_told_nothing_a_generator_goes_on_drawing_even_networks():
    begun = narrowest(drawn(taught(noise, count=0)))
    kept = narrowest(drawn(taught(noise)))
    wild = narrowest(drawn(taught(noise, proportioned=False)))
    assert kept.mean() > 0.6 * begun.mean()
    assert wild.mean() < 0.75 * kept.mean()


def test_told_enough_it_leaves_the_proportions():
    def quality(architecture):
        """The dearest stage decides."""
        return 0.3 + 0.5 * architecture["w5"] / 64 + 0.01 * architecture["w0"] / 64

    def share(networks):
        return np.mean([each["w5"] / np.mean([each[name] for name in STAGES]) for each in networks])

    assert share(drawn(taught(quality, count=24))) > 1.2 * share(drawn(taught(noise, count=0)))


def test_of_many_widths_what_pays_is_learned():
    """Every other of forty widths is worth something, and none of them alone much."""
    space = Space([Width(f"w{i}", 8, 64, 8) for i in range(40)])
    pair = GeneratorInquisitor(
        space,
        {"macs": f"<= {24 * 40}"},
        Quality("accuracy"),
        computed=lambda a: {"macs": float(sum(a.values()))},
        autonomous=False,
    )

    def quality(architecture):
        return 0.3 + 0.5 * np.mean([architecture[f"w{i}"] / 64 for i in range(0, 40, 2)])

    def mean():
        return np.mean([quality(pair.generate(seed, repair=True)) for seed in range(30)])

    pair.initialise()
    begun, done = mean(), 1000
    for _ in range(4):
        for seed in range(done, done + 20):
            architecture = pair.generate(seed, repair=True)
            pair.tell(architecture, {"accuracy": quality(architecture)})
        done += 20
        pair.update()
    assert mean() - begun > 0.5 * (0.3 + 0.5 * 40 / 64 - begun)


def test_a_restored_pair_keeps_its_measure():
    pair = taught(noise)
    copy = pickle.loads(pickle.dumps(pair))
    assert copy.inquisitor.teaching.lesson.proportioned
    pair.update(6), copy.update(6)
    assert drawn(copy) == drawn(pair)


def test_a_lesson_of_before_had_the_same_measure_for_all():
    lesson = Lesson(np.zeros((4, 6), dtype=np.int64), proportioned=True)
    plain = lesson.to_json()
    assert Lesson.read(lesson.tensors(), plain).proportioned
    del plain["proportioned"]
    assert not Lesson.read(lesson.tensors(), plain).proportioned
