"""Attention in every form that torch has goes into the opset of TensorRT 8.2, which has none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesynth.deploy.onnx import compare_with_runtime, export_onnx
from edgesynth.deploy.onnx_graph import default_opset, load_model
from edgesynth.deploy.runners import OnnxRunner
from edgesynth.devices.half import to_half
from edgesynth.errors import TraceError


class Heads(nn.Module):
    """Attention of two heads, by the function of torch or by its operator, with options."""

    def __init__(self, options: Callable[[int], dict[str, object]], *, operator: bool = False) -> None:
        super().__init__()
        self.options, self.qkv, self.operator = options, nn.Linear(8, 24), operator

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (part.reshape(b, n, 2, 4).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        attend = (
            torch.ops.aten.scaled_dot_product_attention if self.operator else F.scaled_dot_product_attention
        )
        return attend(q, k, v, **self.options(n)).transpose(1, 2).reshape(b, n, -1)


class Layer(nn.Module):
    """Torch's own layer of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x, x, need_weights=False)[0]


def places(n: int) -> Tensor:
    return torch.arange(n)[:, None] - torch.arange(n)


FORMS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: Heads(lambda n: {}),
    "operator": lambda: Heads(lambda n: {}, operator=True),
    "scale": lambda: Heads(lambda n: {"scale": 0.3}),
    "causal": lambda: Heads(lambda n: {"is_causal": True}),
    "which": lambda: Heads(lambda n: {"attn_mask": places(n) >= 0}),
    "how much": lambda: Heads(lambda n: {"attn_mask": places(n).float()}),
    "layer": Layer,
    # Its forward has more arguments than inputs; the exporter would make tensors of their defaults.
    "encoder": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
}


@pytest.mark.parametrize("opset", [13, pytest.param(17, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", FORMS)
def test_the_file_computes_what_torch_computes(tmp_path: Path, form: str, opset: int) -> None:
    torch.manual_seed(0)
    network = FORMS[form]().eval()
    before = F.scaled_dot_product_attention
    path = export_onnx(network, torch.randn(2, 5, 8), tmp_path / "net.onnx", opset=opset).path
    assert F.scaled_dot_product_attention is before
    model = load_model(path)
    assert default_opset(model) == opset
    assert "Softmax" in {node.op_type for node in model.graph.node}
    assert compare_with_runtime(network, path, torch.randn(3, 5, 8), atol=1e-5)


def test_attention_in_half_precision_does_not_end_the_runtime(tmp_path: Path) -> None:
    class Weighing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.MultiheadAttention(16, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x, x, x)[0]

    path = export_onnx(Weighing().eval(), torch.randn(2, 5, 16), tmp_path / "net.onnx").path
    half, _ = to_half(load_model(path), ())
    onnx.save(half, tmp_path / "half.onnx")

    # Its rewriting for blocks of channels crashed here, in a file as in memory.
    for source in (half, tmp_path / "half.onnx"):
        (found,) = OnnxRunner(source)({"input": np.zeros((2, 5, 16), np.float32)}).values()
        assert found.shape == (2, 5, 16)


def test_an_operator_without_a_form_is_one_line_and_prints_no_graph(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Orthogonal(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.qr(x)[0]

    with pytest.raises(TraceError, match="'aten::linalg_qr' to ONNX opset version 13 is not supported"):
        export_onnx(Orthogonal(), torch.randn(2, 5, 8), tmp_path / "net.onnx")
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
