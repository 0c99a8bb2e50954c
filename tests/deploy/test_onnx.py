"""The written file computes what the network computes, in the opset that was asked for."""

from __future__ import annotations

import errno
import warnings
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from edgesynth.deploy.onnx import compare_with_runtime, export_onnx
from edgesynth.errors import InputError, RunError, TraceError
from edgesynth.graph import Prototype
from edgesynth.zoo import build, prototype_names


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.drop(self.body(image)).mean((2, 3)))


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 2)
        self.two = nn.Linear(4, 3)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor | list[Tensor]]:
        return {"sum": self.one(left + right), "parts": [self.two(left), self.two(right)]}


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    return Small()


@pytest.mark.parametrize("opset", [13, 17])
def test_the_file_has_the_opset_that_was_asked_for(small: Small, tmp_path: Path, opset: int) -> None:
    export = export_onnx(small, torch.randn(1, 1, 8, 8), tmp_path / "net.onnx", opset=opset)
    written = onnx.load(str(export.path))
    assert [entry.version for entry in written.opset_import if entry.domain == ""] == [opset]
    assert export.opset == opset


def test_the_runtime_agrees_at_another_batch_size(small: Small, tmp_path: Path) -> None:
    export = export_onnx(small, torch.randn(1, 1, 8, 8), tmp_path / "net.onnx")
    comparison = compare_with_runtime(small, export.path, torch.randn(5, 1, 8, 8), atol=1e-5)
    assert comparison
    assert comparison.samples == 5
    assert comparison.outputs[0].scale > 0


def test_a_changed_network_no_longer_agrees(small: Small, tmp_path: Path) -> None:
    export = export_onnx(small, torch.randn(1, 1, 8, 8), tmp_path / "net.onnx")
    with torch.no_grad():
        small.head.bias.add_(0.5)
    comparison = compare_with_runtime(small, export.path, torch.randn(5, 1, 8, 8), atol=1e-3)
    assert not comparison
    assert comparison.max_abs == pytest.approx(0.5, abs=1e-4)


def test_several_inputs_and_nested_outputs_come_out_flat_and_named(tmp_path: Path) -> None:
    network = TwoHeads()
    inputs = (torch.randn(1, 4), torch.randn(1, 4))
    export = export_onnx(network, inputs, tmp_path / "two.onnx", input_names=("left", "right"))
    assert export.input_names == ("left", "right")
    assert export.output_names == ("sum", "parts.0", "parts.1")
    assert compare_with_runtime(network, export.path, (torch.randn(3, 4), torch.randn(3, 4)), atol=1e-5)


def test_a_fixed_batch_stays_fixed(small: Small, tmp_path: Path) -> None:
    export = export_onnx(small, torch.randn(2, 1, 8, 8), tmp_path / "net.onnx", dynamic_batch=False)
    shape = onnx.load(str(export.path)).graph.input[0].type.tensor_type.shape
    assert [dimension.dim_value for dimension in shape.dim] == [2, 1, 8, 8]
    with pytest.raises(InputError, match=r"cannot run net\.onnx"):
        compare_with_runtime(small, export.path, torch.randn(3, 1, 8, 8))


def test_every_submodule_keeps_its_training_mode(small: Small, tmp_path: Path) -> None:
    small.train()
    small.body.eval()
    before = {name: part.training for name, part in small.named_modules()}
    running = small.body[1].running_mean.clone()
    export_onnx(small, torch.randn(2, 1, 8, 8), tmp_path / "net.onnx")
    assert {name: part.training for name, part in small.named_modules()} == before
    assert torch.equal(small.body[1].running_mean, running)


def test_exporting_says_nothing_and_twice_gives_the_same_bytes(
    small: Small, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = export_onnx(small, torch.randn(1, 1, 8, 8), tmp_path / "one.onnx")
        two = export_onnx(small, torch.randn(1, 1, 8, 8), tmp_path / "two.onnx")
    assert one.sha256 == two.sha256
    assert capfd.readouterr() == ("", "")


def test_an_operator_onnx_lacks_is_named_and_leaves_no_file(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(x)

    with pytest.raises(TraceError, match="special_bessel_j0"):
        export_onnx(Odd(), torch.randn(1, 4), tmp_path / "odd.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_input_shape_is_named(small: Small, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"\(1, 3, 8, 8\)"):
        export_onnx(small, torch.randn(1, 3, 8, 8), tmp_path / "net.onnx")


def test_the_names_must_match_the_inputs(small: Small, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 distinct input names are needed"):
        export_onnx(small, torch.randn(1, 1, 8, 8), tmp_path / "net.onnx", input_names=("a", "b"))


def test_a_full_disk_is_an_error_and_the_old_file_stays(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "net.onnx"
    target.write_text("the previous one")

    def full(self: Path, other: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RunError, match="No space left on device"):
        export_onnx(small, torch.randn(1, 1, 8, 8), target)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.onnx"]
    assert target.read_text() == "the previous one"


@pytest.mark.parametrize("name", prototype_names("segmentation"))
@pytest.mark.parametrize("side", [pytest.param(64, marks=pytest.mark.slow), 45])
def test_magnified_logits_of_a_slice_agree_at_the_oldest_opset(name: str, side: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = build(name, in_channels=3, classes=5)
    for _ in range(2):
        module(torch.randn(4, 3, side, side))
    prototype = Prototype(module.eval(), torch.zeros(1, 3, side, side), align=4)
    network = prototype.slice(prototype.space.sample(1)).eval()
    export = export_onnx(network, torch.zeros(2, 3, side, side), tmp_path / "net.onnx", opset=13)
    kinds = {node.op_type for node in onnx.load(str(export.path)).graph.node}
    assert "Resize" in kinds
    # Sizes that the strides divide need no arithmetic of shapes, which parsers of old releases read poorly.
    assert not {"Shape", "Gather"} & kinds or side == 45
    comparison = compare_with_runtime(network, export.path, torch.randn(3, 3, side, side))
    assert comparison.max_abs < 1e-5 * comparison.outputs[0].scale


def test_a_missing_file_is_named(small: Small, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.onnx"):
        compare_with_runtime(small, tmp_path / "nothing.onnx", torch.randn(1, 1, 8, 8))


class Branching(nn.Module):
    """Decides by a value, by a size, or by a value that changes nothing, or computes with one in Python."""

    def __init__(self, by: str) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.by == "size":
            return x * 2 if x.shape[1] > 1 else x
        if self.by == "number":
            return x * float(x.max())
        if self.by == "turns":
            while x.abs().max() > 1:
                x = x / 2
            return x
        return x * 2 if x.sum() > 0 else x + x if self.by == "value alike" else x * 3


def test_a_decision_by_values_is_refused_since_a_file_would_hold_one_outcome(tmp_path: Path) -> None:
    for alike in ("size", "value alike"):
        export_onnx(Branching(alike), torch.ones(2, 3), tmp_path / "alike.onnx")

    for by, example in (
        ("value", torch.ones(2, 3)),
        ("value", torch.zeros(2, 3)),  # whose signs cannot be turned
        ("number", torch.ones(2, 3)),
        ("turns", 3 * torch.ones(2, 3)),
    ):
        with pytest.raises(InputError, match="Branching decides or computes in Python by the values of its"):
            export_onnx(Branching(by), example, tmp_path / "net.onnx")

    assert not (tmp_path / "net.onnx").exists()
