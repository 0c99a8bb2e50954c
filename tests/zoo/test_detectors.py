import numpy as np
import pytest
import torch
from detection_shapes import shapes_task
from torch.utils.flop_counter import FlopCounterMode

from edgesynth import zoo
from edgesynth.deploy.onnx import compare_with_runtime, export_onnx
from edgesynth.deploy.preflight import preflight
from edgesynth.devices import list_profiles, load_profile
from edgesynth.errors import InputError
from edgesynth.graph import Prototype

HEADS = {"centrenet": "centre", "detectnet": "grid"}
# MACs at 3x128x128 and parameters, with three classes.
EXPECTED = {"detectnet": (240_357_376, 630_927), "centrenet": (162_103_296, 893_272)}


def build(name, classes=3):
    torch.manual_seed(0)
    return zoo.build(name, in_channels=3, classes=classes)


def lively(name):
    """A detector whose outputs tell samples apart: its last layers do not start near zero."""
    module = build(name).eval()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, torch.nn.Conv2d) and part.bias is not None:
                part.weight.mul_(10 if float(part.weight.std()) < 0.02 else 1)
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_mean.uniform_(-0.2, 0.2)
                part.running_var.uniform_(0.6, 1.4)
                part.bias.uniform_(-0.2, 0.2)
    return module


def images(count=2, side=64):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(4))


def test_every_detector_is_tested():
    assert set(zoo.prototype_names("detection")) == set(HEADS)


@pytest.mark.parametrize("name", HEADS)
def test_detectors_cost_what_they_promise(name):
    module = build(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, 3, 128, 128))
    macs = counter.get_total_flops() // 2
    parameters = sum(p.numel() for p in module.parameters())
    assert (macs, parameters) == EXPECTED[name]
    assert 100e6 <= macs <= 300e6
    assert parameters < 1.5e6


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("side", "classes"), [(64, 3), (96, 1)])
def test_outputs_are_those_of_the_head(name, side, classes):
    module = build(name, classes)
    task = shapes_task(head=HEADS[name])
    predictions = task.head.predictions(module(images(side=side)), classes, (side, side))
    assert predictions.logits.shape[2] == classes
    # Rare at first, so that the many cells without an object do not drown the others.
    assert float(predictions.logits.detach().sigmoid().mean()) == pytest.approx(0.01, abs=0.005)


@pytest.mark.parametrize("name", HEADS)
def test_every_parameter_receives_a_gradient(name):
    module = build(name)
    task = shapes_task(head=HEADS[name])
    # One level of a pyramid learns nothing from objects it does not take: these are of all sizes.
    boxes = torch.tensor([[[2.0, 2, 22, 22], [0, 0, 64, 64]]]).repeat(2, 1, 1)
    targets = {"boxes": boxes, "labels": torch.tensor([[0, 1], [2, 0]])}
    task.loss(module(images()), targets).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("name", HEADS)
def test_outputs_are_frozen_and_all_else_is_free(name):
    prototype = Prototype(build(name), torch.zeros(1, 3, 64, 64))
    frozen = {row.layer: row.reason for row in prototype.report.frozen}
    # One channel of centreness cannot become fewer: there is nothing to freeze.
    outputs = {"detectnet": {"coverage", "offsets"}, "centrenet": {"classes", "distances"}}
    assert frozen == dict.fromkeys(outputs[name], "network output")


@pytest.mark.parametrize("name", HEADS)
def test_slices_equal_masks_and_cost_what_is_told(name):
    prototype = Prototype(lively(name), torch.zeros(1, 3, 64, 64))
    inputs = images()
    full = [part.detach() for part in prototype.module(inputs)]
    assert all(float((part[0] - part[1]).abs().max()) > 1e-3 for part in full)
    for architecture in (prototype.smallest(), prototype.space.sample(0), prototype.space.sample(1)):
        with torch.no_grad():
            sliced, masked = prototype.slice(architecture), prototype.mask(architecture)
            pairs = list(zip(sliced(inputs), masked(inputs), strict=True))
        assert max(float((a - b).abs().max() / (1 + b.abs().max())) for a, b in pairs) < 1e-5
        assert [a.shape for a, _ in pairs] == [part.shape for part in full]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            sliced(inputs[:1])
        assert prototype.cost(architecture).macs == counter.get_total_flops() // 2


@pytest.mark.parametrize("name", HEADS)
def test_onnx_has_every_output_and_agrees(name, tmp_path):
    pytest.importorskip("onnxruntime")
    prototype = Prototype(lively(name), torch.zeros(1, 3, 64, 64))
    network = prototype.slice(prototype.space.sample(2))
    export = export_onnx(network, images(1), tmp_path / "net.onnx", opset=13)
    assert len(export.output_names) == {"detectnet": 2, "centrenet": 6}[name]
    comparison = compare_with_runtime(network, export.path, images(3))
    assert comparison, comparison
    assert all(np.isfinite(output.scale) and output.scale > 0.01 for output in comparison.outputs)


@pytest.mark.parametrize("name", HEADS)
def test_every_jetson_reads_detectors(name, tmp_path):
    path = export_onnx(build(name), images(1), tmp_path / "net.onnx", opset=13).path
    for device in list_profiles():
        if device.startswith("jetson"):
            verdict = preflight(path, load_profile(device))
            assert verdict.verdict == "read", (device, verdict.findings)


@pytest.mark.parametrize(("side", "fits"), [(33, 48), (40, 48), (8, 16)])
def test_a_pyramid_says_which_sizes_fit(side, fits):
    with pytest.raises(InputError, match=f"multiples of 16, not {side}x64; {fits}x64 would fit"):
        Prototype(build("centrenet"), torch.zeros(1, 3, side, 64))


def test_a_detector_may_look_for_one_class_and_not_for_none():
    with pytest.raises(InputError, match="1 classes, got in_channels=3, classes=0"):
        zoo.build("detectnet", in_channels=3, classes=0)


def test_detectors_are_suggested():
    with pytest.raises(InputError, match="did you mean 'centrenet'"):
        zoo.build("centernet")
