"""One command says whether a device can take a network, and writes the file that it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgesynth.deploy import delivery, rtx
from edgesynth.deploy.onnx import export_onnx
from edgesynth.graph import Prototype, Recipe, save_network
from edgesynth.zoo import build


@pytest.fixture(autouse=True)
def _no_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The builder has tests of its own; here it is not installed unless a test says so."""
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")


@pytest.fixture
def net(folder: Path) -> Path:
    torch.manual_seed(0)
    return export_onnx(build("resnet8").eval(), torch.zeros(2, 1, 28, 28), folder / "net.onnx").path


@pytest.fixture
def generated(folder: Path) -> Path:
    """The folder of a generated network, as ``edgesynth generate`` writes it."""
    torch.manual_seed(0)
    prototype = Prototype(build("resnet8"), torch.zeros(1, 1, 28, 28), name="resnet8")
    architecture = prototype.space.sample(3)
    module = prototype.slice(architecture).eval()
    save_network(folder / "1000-abc", module, Recipe.of(prototype, architecture))
    export_onnx(module, prototype.example_input, folder / "1000-abc" / "network.onnx")
    return folder / "1000-abc"


def test_the_file_is_written_and_one_table_says_what_it_is(
    edgesynth: Callable[..., Any], folder: Path, net: Path
) -> None:
    outcome = edgesynth(
        "export",
        "net.onnx",
        "--device",
        "jetson-tx2",
        "--precision",
        "fp16",
        "--batch",
        "1",
        "-o",
        "tx2.onnx",
    )
    assert outcome.code == 0
    for said in (
        "pre-flight",
        "read",
        "TensorRT 8.2.1",
        "builder flags FP16",
        "verify",
        "agrees",
        "not tried",
    ):
        assert said in outcome.out
    written = onnx.load(str(folder / "tx2.onnx"))
    assert written.opset_import[0].version == 13
    assert written.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_json_has_every_step(edgesynth: Callable[..., Any], folder: Path, net: Path) -> None:
    shown = edgesynth("export", "net.onnx", "--device", "jetson-thor", "--precision", "fp16", "--json").json
    assert shown["passed"] is True
    assert shown["kept"] is False
    assert shown["preflight"]["verdict"] == "read"
    assert shown["export"]["strongly_typed"] is True
    assert shown["verify"]["passed"] is True
    assert shown["build"] is None
    assert sorted(path.name for path in folder.iterdir()) == ["net.onnx"]


def test_a_generated_network_is_compared_with_pytorch_too(
    edgesynth: Callable[..., Any], folder: Path, generated: Path
) -> None:
    shown = edgesynth(
        "export", generated, "--device", "jetson-orin-nano", "--model", "resnet8", "-o", "out.onnx", "--json"
    ).json
    assert shown["verify_module"]["passed"] is True
    assert "torch" in shown["verify_module"]["reference"]
    assert shown["kept"] is True


@pytest.mark.parametrize("seed", [0, 1])
def test_a_file_is_compared_with_the_module_it_was_written_from(
    edgesynth: Callable[..., Any], folder: Path, net: Path, seed: int
) -> None:
    (folder / f"own{seed}.py").write_text(
        "import torch\nfrom edgesynth.zoo import build\n"
        f"def trained():\n    torch.manual_seed({seed})\n    return build('resnet8')\n"
    )
    outcome = edgesynth("export", "net.onnx", "--device", "jetson-tx2", "--model", f"own{seed}:trained")
    assert outcome.code == seed  # other weights are another network
    assert ("off by" in outcome.err) == bool(seed)
    assert "torch" in outcome.out


def test_int8_is_calibrated_on_the_users_data(edgesynth: Callable[..., Any], folder: Path, net: Path) -> None:
    generator = np.random.default_rng(0)
    np.savez(
        folder / "data.npz",
        input=generator.normal(size=(32, 1, 28, 28)).astype(np.float32),
        labels=generator.integers(0, 10, 32),
    )
    outcome = edgesynth(
        "export", "net.onnx", "--device", "jetson-orin-nano", "--precision", "int8", "--data", "data.npz"
    )
    assert outcome.code in (0, 1)  # random labels may lose a point of accuracy
    for said in ("calibration", "min-max", "percentile", "entropy", "16 samples, data.npz", "accuracy"):
        assert said in outcome.out


def refused(path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Det", ["x"], ["y"], name="the_det")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))


def test_what_the_device_cannot_take_ends_with_1_and_no_file(
    edgesynth: Callable[..., Any], folder: Path
) -> None:
    refused(folder / "det.onnx")
    outcome = edgesynth("export", "det.onnx", "--device", "jetson-tx2", "-o", "out.onnx", "--quiet")
    assert outcome.code == 1
    assert "the_det (Det)" in outcome.out
    assert len(outcome.err.splitlines()) == 1
    assert "TensorRT 8.2 does not read it" in outcome.err
    assert not (folder / "out.onnx").exists()
    shown = edgesynth("export", "det.onnx", "--device", "jetson-tx2", "--json", "--quiet").json
    assert shown["passed"] is False
    assert shown["export"] is None


def test_an_operator_without_counterpart_in_the_opset_is_refused(
    edgesynth: Callable[..., Any], folder: Path
) -> None:
    graph = helper.make_graph(
        [helper.make_node("LayerNormalization", ["x", "s"], ["y"], name="norm")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [onnx.numpy_helper.from_array(np.ones(4, np.float32), "s")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "norm.onnx"))
    outcome = edgesynth("export", "norm.onnx", "--device", "jetson-tx2")
    assert outcome.code == 1
    assert "known from 8.6 on" in outcome.out
    assert edgesynth("export", "norm.onnx", "--device", "jetson-orin-nano").code == 0


def test_free_sizes_are_refused_until_they_are_given(
    edgesynth: Callable[..., Any], folder: Path, net: Path
) -> None:
    free = onnx.load(str(net))
    for axis in (2, 3):
        free.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "size"
    onnx.save(free, str(folder / "free.onnx"))
    command = ("export", "free.onnx", "--device", "jetson-tx2")
    assert edgesynth(*command).code == 1
    assert edgesynth(*command, "--input", "1x1x28x28").code == 0
    assert edgesynth(*command, "--input", "input=1x1x28x28").code == 0


def test_a_file_that_computes_something_else_is_not_kept(
    edgesynth: Callable[..., Any], folder: Path, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = delivery.prepare

    def broken(model: onnx.ModelProto, *args: Any, **options: Any) -> onnx.ModelProto:
        made = real(model, *args, **options)
        weight = next(tensor for tensor in made.graph.initializer if len(tensor.dims) == 4)
        held = onnx.numpy_helper.to_array(weight) * 2
        weight.CopyFrom(onnx.numpy_helper.from_array(held, weight.name))
        return made

    monkeypatch.setattr(delivery, "prepare", broken)
    outcome = edgesynth("export", "net.onnx", "--device", "jetson-tx2", "-o", "out.onnx")
    assert outcome.code == 1
    assert "differs" in outcome.out
    assert "first" in outcome.out
    assert not (folder / "out.onnx").exists()


BAD: dict[str, tuple[list[str], str]] = {
    "missing": (["absent.onnx", "--device", "jetson-tx2"], "no network absent.onnx"),
    "no ONNX": (["junk.onnx", "--device", "jetson-tx2"], "junk.onnx cannot be read as ONNX"),
    "damaged": (["cut.onnx", "--device", "jetson-tx2"], "cut.onnx"),
    "an empty folder": (["empty", "--device", "jetson-tx2"], "holds no network.onnx"),
    "unknown device": (["net.onnx", "--device", "jetson-tx3"], "did you mean 'jetson-tx2'"),
    "no TensorRT": (["net.onnx", "--device", "host-cpu"], "runs no TensorRT"),
    "unknown precision": (
        ["net.onnx", "--device", "jetson-tx2", "--precision", "fp61"],
        "no precision 'fp61'",
    ),
    "unsupported precision": (["net.onnx", "--device", "jetson-tx2", "--precision", "int8"], "dp4a"),
    "int8 without data": (["net.onnx", "--device", "jetson-orin-nano", "--precision", "int8"], "give --data"),
    "a batch of nothing": (["net.onnx", "--device", "jetson-tx2", "--batch", "0"], "--batch '0'"),
    "a batch of words": (["net.onnx", "--device", "jetson-tx2", "--batch", "many"], "--batch 'many'"),
    "a shape that cannot be": (["net.onnx", "--device", "jetson-tx2", "--input", "1xbig"], "cannot be read"),
    "a shape that does not fit": (
        ["net.onnx", "--device", "jetson-tx2", "--input", "1x3x28x28"],
        "does not fit the input",
    ),
    "data that are missing": (
        ["net.onnx", "--device", "jetson-tx2", "--data", "absent.npz"],
        "no file absent.npz",
    ),
    "data that are no arrays": (
        ["net.onnx", "--device", "jetson-tx2", "--data", "junk.npz"],
        "junk.npz cannot",
    ),
    "data of another shape": (
        ["net.onnx", "--device", "jetson-tx2", "--data", "odd.npy"],
        "does not fit the input",
    ),
    "an unknown data set": (["net.onnx", "--device", "jetson-tx2", "--data", "fashion"], "unknown data set"),
    "a model without the file's weights": (
        ["net.onnx", "--device", "jetson-tx2", "--model", "resnet8"],
        "name a callable that returns the module",
    ),
    "no builder": (["net.onnx", "--device", "jetson-tx2", "--check"], "edgesynth[rtx]"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    edgesynth: Callable[..., Any], folder: Path, net: Path, case: str
) -> None:
    (folder / "junk.onnx").write_text("this is not a model")
    (folder / "junk.npz").write_text("these are no arrays")
    (folder / "cut.onnx").write_bytes(net.read_bytes()[:5000])
    (folder / "empty").mkdir()
    np.save(folder / "odd.npy", np.zeros((4, 3, 28, 28), np.float32))
    arguments, said = BAD[case]
    outcome = edgesynth("export", *arguments, "-o", "out.onnx", "--quiet")
    assert outcome.code == 2
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert outcome.out == ""
    assert not (folder / "out.onnx").exists()


@pytest.mark.skipif(
    rtx.find_spec("tensorrt_rtx_bindings") is None, reason="TensorRT for RTX is not installed"
)
def test_a_real_builder_has_the_last_word(
    edgesynth: Callable[..., Any], folder: Path, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtx, "_MODULE", "tensorrt_rtx_bindings")
    outcome = edgesynth("export", "net.onnx", "--device", "jetson-thor", "--check", "-o", "out.onnx")
    assert outcome.code == 0
    assert "layers in" in outcome.out


class Offset(torch.nn.Module):
    """Three layers; a large offset that a scalar takes away again leaves no steps of INT8 to what matters."""

    def __init__(self, loud: Sequence[int]) -> None:
        super().__init__()
        self.loud = loud
        self.layers = torch.nn.ModuleList(torch.nn.Conv2d(3 if i == 0 else 8, 8, 1) for i in range(3))
        for index in loud:
            torch.nn.init.constant_(self.layers[index].bias, 2000.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index, layer in enumerate(self.layers):
            x = torch.relu(layer(x) - (2000.0 if index in self.loud else 0.0))
        return x


def _export_offset(edgesynth: Callable[..., Any], folder: Path, loud: Sequence[int], *more: str) -> Any:
    torch.manual_seed(0)
    export_onnx(Offset(loud).eval(), torch.zeros(2, 3, 8, 8), folder / "offset.onnx")
    images = np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype(np.float32)
    np.savez(folder / "offset.npz", input=images)
    return edgesynth(
        *("export", "offset.onnx", "--device", "jetson-orin-nano", "--precision", "int8"),
        *("--batch", "1", "--data", "offset.npz", *more),
    )


def test_a_layer_that_does_not_bear_a_precision_stays_higher_and_is_told(
    edgesynth: Callable[..., Any], folder: Path
) -> None:
    outcome = _export_offset(edgesynth, folder, (1,))

    assert outcome.code == 0, outcome.err
    assert "kept higher 1 Conv: INT8 is too coarse for it" in " ".join(outcome.out.split())


def test_a_precision_that_a_layer_does_not_bear_is_refused_and_the_layer_named(
    edgesynth: Callable[..., Any], folder: Path
) -> None:
    outcome = _export_offset(edgesynth, folder, (0, 1, 2), "--json")

    assert outcome.code == 1
    shown = outcome.json["verify"]
    assert shown["passed"] is False
    assert shown["divergence"]["operator"] in ("Conv", "Sub")
    assert not list(folder.glob("*int8*"))
