import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgesynth import zoo
from edgesynth.errors import InputError
from edgesynth.zoo.shufflenetv2 import channel_shuffle

CLASSIFIERS, SEGMENTERS = zoo.prototype_names("classification"), zoo.prototype_names("segmentation")

# MACs and parameters at 1x28x28 with ten classes, by hand from the published tables.
EXPECTED = {
    "resnet8": (9_345_920, 77_754),
    "resnet20": (31_021_952, 272_186),
    "resnet56": (96_050_048, 855_482),
    "mobilenetv2": (72_938_624, 2_236_106),
    "shufflenetv2": (37_554_084, 1_263_422),
    "densenet": (55_066_344, 175_690),
}
# The same at 3x96x96 with six classes, as counted when they were written.
SIZED = {"refinenet": (278_194_176, 983_486), "lraspp": (23_709_696, 115_948)}


def macs(module, *shape):
    module.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


def test_every_prototype_has_an_expected_size():
    assert set(EXPECTED) == set(CLASSIFIERS)
    assert set(SIZED) == set(SEGMENTERS)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_images_of_any_size_and_channel_count_become_logits(name):
    for channels, side, classes in ((1, 28, 10), (3, 32, 7), (3, 40, 2)):
        module = zoo.build(name, in_channels=channels, classes=classes).eval()
        assert module(torch.randn(2, channels, side, side)).shape == (2, classes)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_pictures_of_any_size_become_logits_of_that_size(name):
    for channels, height, width, classes in ((1, 64, 64, 10), (3, 96, 72, 7), (3, 45, 51, 2)):
        module = zoo.build(name, in_channels=channels, classes=classes).eval()
        assert module(torch.randn(2, channels, height, width)).shape == (2, classes, height, width)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmenters_fit_two_cores_and_have_the_size_they_claim(name):
    module = zoo.build(name, in_channels=3, classes=6)
    count = sum(parameter.numel() for parameter in module.parameters())
    assert (macs(module, 3, 96, 96), count) == SIZED[name]


def test_every_prototype_says_what_it_is_for():
    assert {zoo.prototype_kind(name) for name in CLASSIFIERS} == {"classification"}
    assert zoo.prototype_kind("RefineNet") == "segmentation"
    with pytest.raises(InputError, match="did you mean 'refinenet'"):
        zoo.prototype_kind("refinenets")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_costs_are_those_of_the_published_networks(name):
    module = zoo.build(name)
    count = sum(parameter.numel() for parameter in module.parameters())
    assert (macs(module, 1, 28, 28), count) == EXPECTED[name]


def test_resnet20_costs_31_million_macs_by_the_formula():
    stem = 784 * 9 * 16
    stage1 = 6 * 784 * 9 * 16 * 16
    stage2 = 196 * (9 * 16 * 32 + 16 * 32) + 5 * 196 * 9 * 32 * 32
    stage3 = 49 * (9 * 32 * 64 + 32 * 64) + 5 * 49 * 9 * 64 * 64
    assert macs(zoo.resnet20(), 1, 28, 28) == stem + stage1 + stage2 + stage3 + 640


@pytest.mark.parametrize("name", zoo.prototype_names())
def test_every_parameter_receives_a_gradient(name):
    module = zoo.build(name, in_channels=1)
    module(torch.randn(4, 1, 28, 28)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("name", zoo.prototype_names())
def test_fresh_weights_start_close_to_a_uniform_guess(name):
    torch.manual_seed(0)
    module = zoo.build(name, in_channels=1)
    logits = module(torch.randn(16, 1, 28, 28)).detach()
    targets = (torch.arange(16) % 10).view(16, *(1,) * (logits.ndim - 2)).expand(16, *logits.shape[2:])
    assert float(torch.nn.functional.cross_entropy(logits, targets)) == pytest.approx(2.3026, abs=0.5)


def test_channel_shuffle_interleaves_groups():
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert channel_shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_names_are_read_without_regard_to_case_and_dashes():
    assert type(zoo.build("ResNet-20")) is type(zoo.build("resnet_20"))


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(InputError, match="did you mean 'resnet20'"):
        zoo.build("resnet21")
    with pytest.raises(InputError, match="known prototypes: resnet8, resnet20"):
        zoo.build("zzz")


def test_impossible_counts_are_refused():
    with pytest.raises(InputError, match="classes=1"):
        zoo.build("resnet8", classes=1)


def test_the_public_names_are_pinned():
    assert set(zoo.__all__) == {
        "PROTOTYPES",
        "Entry",
        "Factory",
        "TaskKind",
        "build",
        "densenet",
        "lraspp",
        "mobilenetv2",
        "prototype_kind",
        "prototype_names",
        "refinenet",
        "resnet8",
        "resnet20",
        "resnet56",
        "shufflenetv2",
    }
    assert all(hasattr(zoo, name) for name in zoo.__all__)
