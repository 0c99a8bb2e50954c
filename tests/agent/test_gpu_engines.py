"""Engines of a real TensorRT on a real GPU: built and run as on a board, by this machine's own Python."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from two_layers import labelled, write_network

from edgesynth.agent import builder
from edgesynth.agent.engine import Engine
from edgesynth.deploy.onnx import export_onnx
from edgesynth.deploy.output_check import agree
from edgesynth.deploy.runners import OnnxRunner
from edgesynth.deploy.target import export_for_device
from edgesynth.devices import load_profile
from edgesynth.zoo import build

pytestmark = pytest.mark.gpu


@pytest.fixture
def own_profile(own_tensorrt):
    """A board's profile with the TensorRT of this machine."""
    known = load_profile("jetson-agx-orin")
    return replace(known, software=replace(known.software, tensorrt=own_tensorrt.__version__))


@pytest.fixture
def run(tmp_path):
    """Build an exported file in so many samples per call, and run the plan."""

    def run_engine(export, batches, data):
        plan = tmp_path / "plan"
        order = {
            "model": str(export.path),
            "precision": export.precision,
            "batches": batches,
            "workspace_mb": 256,
            "typed": export.strongly_typed,
            "dla_core": None,
            "full": list(export.full),
            "plan": str(plan),
            "timings": str(tmp_path / "timings"),
        }
        plan.write_bytes(builder.build(order))
        engine = Engine(str(plan), batches)
        try:
            return engine.infer(data)
        finally:
            engine.close()

    return run_engine


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(("name", "channels", "side"), [("resnet20", 3, 32), ("lraspp", 3, 64)])
def test_an_engine_gives_what_the_network_gives(own_profile, run, tmp_path, name, channels, side, precision):
    torch.manual_seed(0)
    module = build(name, in_channels=channels, classes=5).train()
    images = torch.rand(32, channels, side, side)
    with torch.no_grad():
        for _ in range(3):  # statistics of batches, without which a fresh network computes nothing
            module(images)
    source = export_onnx(module.eval(), images[:2], tmp_path / "net.onnx").path
    data = {"input": images.numpy()}
    export = export_for_device(source, own_profile, tmp_path / "out.onnx", precision=precision, data=data)

    found = run(export, (1, 8, 16), {"input": data["input"][:16]})
    small = run(export, (1, 8, 16), {"input": data["input"][:3]})

    expected = OnnxRunner(source, optimise=False)({"input": data["input"][:16]})
    assert agree(expected, found, precision)
    assert agree({key: value[:3] for key, value in expected.items()}, small, precision)


def test_layers_that_leave_the_range_of_half_precision_stay_in_single(own_profile, run, tmp_path):
    source = write_network(tmp_path / "large.onnx", scale=1e5)
    data = {"image": np.load(labelled(tmp_path / "data.npz", source, 16))["image"]}
    export = export_for_device(source, own_profile, tmp_path / "out.onnx", precision="fp16", data=data)
    assert export.kept

    found = run(export, 16, data)

    assert agree(OnnxRunner(source, optimise=False)(data), found, "fp16")
