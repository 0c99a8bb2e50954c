"""Networks of well-known families go the whole way: traced, cut, exported, checked, and built by TensorRT."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgesynth.deploy.onnx import export_onnx
from edgesynth.deploy.onnx_graph import default_opset, load_model
from edgesynth.deploy.preflight import preflight
from edgesynth.deploy.rtx import build_with_rtx, rtx_missing
from edgesynth.deploy.target import export_for_device
from edgesynth.deploy.verify import verify
from edgesynth.devices import load_profile
from edgesynth.graph import Prototype
from edgesynth.graph.trace import plain_attention
from tests.graph.architectures import CASES

FAMILIES = [
    "efficientnet",
    "efficientnet-lite",
    "convnext-stages",
    pytest.param("convnext-written-out", marks=pytest.mark.slow),
    "transformer-unbind",
    pytest.param("transformer-chunk", marks=pytest.mark.slow),
    "vision-transformer",
    pytest.param("torch-encoder", marks=pytest.mark.slow),
]
TX2, THOR = load_profile("jetson-tx2"), load_profile("jetson-thor")


@cache
def prototype(name: str) -> Prototype:
    return Prototype(CASES[name].network(), CASES[name].inputs(1), name=name)


def counted_macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), plain_attention(), sdpa_kernel(SDPBackend.MATH), counter:
        module(*inputs)
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize("name", FAMILIES)
def test_the_largest_slice_is_the_network_to_the_last_bit(name: str) -> None:
    inputs = CASES[name].inputs(3)
    with torch.no_grad():
        assert torch.equal(prototype(name).slice()(*inputs), prototype(name).module(*inputs))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_slice_is_exported_checked_and_built(name: str, tmp_path: Path) -> None:
    case, phi = CASES[name], prototype(name)
    architecture = phi.space.sample(5)
    network, cost = phi.slice(architecture).eval(), phi.cost(architecture)
    assert phi.cost(phi.smallest()).macs < cost.macs < phi.cost().macs
    assert cost.macs == counted_macs(network, case.inputs(1))

    path = export_onnx(network, case.inputs(2), tmp_path / "net.onnx", opset=13).path
    assert default_opset(load_model(path)) == 13
    (data,) = (tensor.numpy() for tensor in case.inputs(8, seed=1))
    report = verify(path, network, {"input": data}, opset=13, batch=0)
    assert report, report.failures

    board = export_for_device(path, TX2, tmp_path / "tx2.onnx", precision="fp16", batch=1)
    assert default_opset(load_model(board.path)) <= TX2.compiler.opset == 13
    found = preflight(board.path, TX2, precision="fp16")
    assert found, found.refusals

    typed = export_for_device(path, THOR, tmp_path / "thor.onnx", precision="fp16", data={"input": data})
    half = verify(typed.path, path, {"input": data}, precision="fp16")
    assert half, half.failures
    if rtx_missing():
        pytest.skip(rtx_missing())
    build = build_with_rtx(typed.path)
    assert build, build.errors
    assert build.layers > 20


def test_what_cannot_change_is_named_with_its_module_and_what_to_do() -> None:
    """A norm over channels that is written out: PyTorch's own in its place frees them."""
    rows = {row.layer: row for row in prototype("convnext-written-out").report.frozen}
    assert set(rows) == {"stem.0", "one.0.depthwise", "one.0.down", "one.1.depthwise", "one.1.down", "fc"}
    assert rows["stem.0"].module == "stem.1 (ChannelNorm)"
    assert rows["stem.0"].operator == "aten.mean"
    assert "may be nn.LayerNorm, nn.GroupNorm or nn.RMSNorm, whose channels are free" in rows["stem.0"].reason
    assert "families.py" in rows["stem.0"].line
    same = prototype("convnext-stages")
    assert {row.layer for row in same.report.frozen} == {"fc"}
    assert same.report.covered_share > prototype("convnext-written-out").report.covered_share
