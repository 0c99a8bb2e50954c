"""Verification passes what is right and catches every fault we could think of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgesynth.deploy import divergence
from edgesynth.deploy.divergence import relative_error
from edgesynth.deploy.onnx import export_onnx
from edgesynth.deploy.onnx_graph import load_model
from edgesynth.deploy.output_check import TOLERANCES, check_output
from edgesynth.deploy.quantisation import quantise
from edgesynth.deploy.runners import OnnxRunner, together
from edgesynth.deploy.verify import VerifyReport, verify, verify_outputs
from edgesynth.devices.half import to_half
from edgesynth.errors import InputError
from tests.deploy.networks import small

Data = dict[str, NDArray[Any]]


def weight(model: onnx.ModelProto, operator: str = "Conv") -> onnx.TensorProto:
    node = next(node for node in model.graph.node if node.op_type == operator)
    return next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])


def rewrite(tensor: onnx.TensorProto, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    held = onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(change(held.copy())), tensor.name))


def wrong_weights(model: onnx.ModelProto, data: Data) -> onnx.ModelProto:
    rewrite(weight(model), lambda held: held + 0.02)
    return model


def swapped_channels(model: onnx.ModelProto, data: Data) -> onnx.ModelProto:
    rewrite(weight(model), lambda held: held[:, ::-1])
    return model


def wrong_normalisation(model: onnx.ModelProto, data: Data) -> onnx.ModelProto:
    first = model.graph.node[0]
    first.input[0] = "shifted"
    model.graph.node.insert(0, helper.make_node("Sub", ["input", "mean"], ["shifted"], name="mean"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([[[[0.5]]]]), "mean"))
    return model


def opset_lie(model: onnx.ModelProto, data: Data) -> onnx.ModelProto:
    model.opset_import[0].version = 12
    return model


def nan_in_one_sample(model: onnx.ModelProto, data: Data) -> onnx.ModelProto:
    # A square root that only one sample of the data drives below zero.
    lowest = data["input"].min(axis=(1, 2, 3))
    bound = np.float32(-(np.sort(lowest)[0] + np.sort(lowest)[1]) / 2)
    name = model.graph.node[0].input[0]
    model.graph.node[0].input[0] = "rooted"
    model.graph.initializer.append(onnx.numpy_helper.from_array(bound, "bound"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0), "nought"))
    for index, made in enumerate(
        (
            helper.make_node("Add", [name, "bound"], ["raised"]),
            helper.make_node("Sqrt", ["raised"], ["root"]),
            helper.make_node("Mul", ["root", "nought"], ["nothing"]),
            helper.make_node("Add", [name, "nothing"], ["rooted"], name="poison"),
        )
    ):
        model.graph.node.insert(index, made)
    return model


def fp16_overflow(model: onnx.ModelProto, data: Data) -> onnx.ModelProto:
    rewrite(weight(model), lambda held: held * 6e4 / np.abs(held).max())
    return to_half(model)[0]


def output_order(model: onnx.ModelProto, data: Data) -> onnx.ModelProto:
    one, two = model.graph.output
    names = {one.name: two.name, two.name: one.name}
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            node.output[index] = names.get(name, name)
    return model


def label_order(model: onnx.ModelProto, data: Data) -> onnx.ModelProto:
    rewrite(weight(model, "Gemm"), lambda held: held[::-1])
    return model


def stale_calibration(model: onnx.ModelProto, data: Data) -> onnx.ModelProto:
    return quantise(model, {"input": data["input"] * 0.05}, methods=["min-max"]).model


def batch_mismatch(model: onnx.ModelProto, data: Data) -> onnx.ModelProto:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
    return model


def lost_output(model: onnx.ModelProto, data: Data) -> onnx.ModelProto:
    del model.graph.output[1]
    return model


FAULTS: dict[str, tuple[Callable[[onnx.ModelProto, Data], onnx.ModelProto], str, str]] = {
    "wrong weights": (wrong_weights, "fp32", "off by"),
    "swapped channels": (swapped_channels, "fp32", "off by"),
    "wrong normalisation": (wrong_normalisation, "fp32", "off by"),
    "opset lie": (opset_lie, "fp32", "opset 12, not 13"),
    "NaN in one sample": (nan_in_one_sample, "fp32", "NaN, first in sample"),
    "FP16 overflow": (fp16_overflow, "fp16", "/one/Conv (Conv) leaves the range of FP16"),
    "output order": (output_order, "fp32", "off by"),
    "label order": (label_order, "fp32", "off by"),
    "stale calibration": (stale_calibration, "int8", "root mean square"),
    "batch mismatch": (batch_mismatch, "fp32", "no multiple"),
    "a lost output": (lost_output, "fp32", "no output"),
}


def check(folder: Path, fault: str) -> tuple[VerifyReport, Data]:
    seed, precision, _ = FAULTS[fault]
    module, path, data = small(folder)
    if fault == "FP16 overflow":
        with torch.no_grad():  # the network itself is loud here, and right in FP32
            module.one.weight.mul_(6e4 / module.one.weight.abs().max())
        from edgesynth.deploy.onnx import export_onnx

        path = export_onnx(
            module, torch.as_tensor(data["input"]), path, output_names=["logits", "share"]
        ).path
    broken = seed(load_model(path), data)
    target = folder / "broken.onnx"
    onnx.save(broken, str(target))
    return verify(target, path, data, precision=precision, opset=13), data


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_is_caught(tmp_path: Path, fault: str) -> None:
    report, _ = check(tmp_path, fault)
    assert not report
    assert any(FAULTS[fault][2] in line for line in report.failures), report.failures


@pytest.mark.parametrize(
    ("fault", "operator"),
    [
        ("wrong weights", "Conv"),
        ("swapped channels", "Conv"),
        ("label order", "Gemm"),
        ("FP16 overflow", "Conv"),
    ],
)
def test_the_first_layer_that_goes_wrong_is_named(tmp_path: Path, fault: str, operator: str) -> None:
    report, _ = check(tmp_path, fault)
    assert report.divergence is not None
    assert report.divergence.operator == operator
    assert "one" in report.divergence.node if operator == "Conv" else "left" in report.divergence.node


@pytest.mark.parametrize("operand", ["scalar", "channels"])
def test_the_layer_is_named_behind_operands_that_have_no_batch(tmp_path: Path, operand: str) -> None:
    """The file takes two samples at a time; what does not grow with them is the same in every call."""
    generator = np.random.default_rng(0)
    made = np.float32(1.5) if operand == "scalar" else np.arange(1, 5, dtype=np.float32)
    held = {f"w{index}": generator.normal(size=(4, 4)).astype(np.float32) for index in (1, 2)}
    weights = [onnx.numpy_helper.from_array(value, key) for key, value in held.items()]
    for name, batch, operator in (("right", "batch", "Add"), ("wrong", 2, "Sub")):
        graph = helper.make_graph(
            [
                helper.make_node("Constant", [], ["k"], name="k", value=onnx.numpy_helper.from_array(made)),
                helper.make_node("MatMul", ["x", "w1"], ["a"], name="first"),
                helper.make_node(operator, ["a", "k"], ["b"], name="offset"),
                helper.make_node("MatMul", ["b", "w2"], ["y"], name="second"),
            ],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
            weights,
        )
        whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(whole, str(tmp_path / f"{name}.onnx"))

    data = {"x": generator.normal(size=(6, 4)).astype(np.float32)}
    report = verify(tmp_path / "wrong.onnx", tmp_path / "right.onnx", data, batch=2)

    assert report.divergence is not None
    assert (report.divergence.node, report.divergence.tensor) == ("offset", "b")


def test_an_output_without_a_batch_is_compared_call_by_call(tmp_path: Path) -> None:
    for name, batch in (("free", "batch"), ("fixed", 2)):
        graph = helper.make_graph(
            [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
        )
        whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(whole, str(tmp_path / f"{name}.onnx"))

    numbers = {"x": np.arange(16, dtype=np.float32).reshape(4, 4)}
    report = verify(tmp_path / "fixed.onnx", tmp_path / "free.onnx", numbers)

    assert report, report.failures
    assert report.outputs[0].scale == 11.5  # the mean of the second call, not of all
    assert OnnxRunner(tmp_path / "free.onnx")(numbers)["y"] == 7.5


def test_large_samples_are_run_a_few_at_a_time_and_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {
        side: together({"x": np.broadcast_to(np.float32(0), (9, 3, side, side))}) for side in (224, 1024)
    }
    assert sizes == {224: 64, 1024: 5}
    want = np.arange(10, dtype=np.float32).reshape(5, 2)
    have = want + np.float32(0.5) * (want == 7)
    whole = check_output("y", want, have, TOLERANCES["fp32"])
    monkeypatch.setattr(divergence, "_PART", 3)

    part = check_output("y", want, have, TOLERANCES["fp32"])

    assert part == whole
    assert (part.max_abs, part.scale) == (0.5, 9.0)
    assert relative_error(want, have) == pytest.approx(0.5 / np.sqrt(np.sum(want**2)))


def test_the_sample_that_is_poisoned_is_named(tmp_path: Path) -> None:
    report, data = check(tmp_path, "NaN in one sample")
    poisoned = int(np.argmin(data["input"].min(axis=(1, 2, 3))))
    assert {output.bad_sample for output in report.outputs} == {poisoned}


def test_a_truncated_file_is_an_input_error(tmp_path: Path) -> None:
    _, path, data = small(tmp_path)
    whole = path.read_bytes()
    cut = tmp_path / "cut.onnx"
    for share in (0.2, 0.5, 0.9, 0.99):
        cut.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=r"cut\.onnx"):
            verify(cut, path, data)


def test_what_is_right_passes_against_the_module_and_the_file(tmp_path: Path) -> None:
    module, path, data = small(tmp_path)
    for reference in (module, path, load_model(path)):
        report = verify(path, reference, data, opset=13, batch=0)
        assert report, report.failures
        assert report.divergence is None
        assert report.samples == 16
    assert json.loads(json.dumps(report.to_json()))["passed"] is True


def test_against_a_module_a_fault_is_caught_without_a_layer(tmp_path: Path) -> None:
    module, path, data = small(tmp_path)
    broken = tmp_path / "broken.onnx"
    onnx.save(wrong_weights(load_model(path), data), str(broken))
    report = verify(broken, module, data)
    assert not report
    assert report.divergence is None


def test_a_metric_that_falls_fails_what_the_tolerance_lets_pass(tmp_path: Path) -> None:
    _, path, data = small(tmp_path)
    scores = iter([0.80, 0.95])
    report = verify(path, path, data, metric=lambda outputs: next(scores))
    assert not report
    assert report.failures == ("the task's score fell from 0.95 to 0.8",)
    assert verify(path, path, data, metric=lambda outputs: 0.5)


@pytest.mark.parametrize(("rounding", "agrees"), [(0.0, True), (5e-6, False)])
def test_rounded_outputs_are_judged_so_that_the_ones_before_rounding_are_within_the_tolerance(
    rounding: float, agrees: bool
) -> None:
    want = np.linspace(0.5, 1.0, 8, dtype=np.float64)[None]
    have = want.copy()
    have[0, 0] += 0.97e-4  # of the largest, which is 1; 1e-4 may be
    report = VerifyReport("net", "", "net", "a board", "fp32", 1, (), rounding=rounding)

    judged = verify_outputs(report, {"y": want}, {"y": have})

    assert bool(judged) == agrees
    assert bool(judged.rounding_note) == (not agrees)
    if not agrees:
        assert "9.5e-05 of that may be" in judged.failures[0]
        assert "off by up to 5e-06 of itself" in judged.to_json()["rounding_note"]


def test_classes_in_another_order_are_a_fault_however_near_their_numbers_are(tmp_path: Path) -> None:
    """Neighbouring classes change places: of a thousand, their numbers are off by a thousandth."""
    classes = 1000
    swapped = np.arange(classes, dtype=np.int64).reshape(-1, 2)[:, ::-1].reshape(-1)
    x = np.random.default_rng(0).standard_normal((64, classes)).astype(np.float32)
    for name, order in (("right", np.sort(swapped)), ("wrong", swapped)):
        nodes = [
            helper.make_node("Gather", ["x", "order"], ["scores"], axis=1),
            helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=1),
            helper.make_node("Squeeze", ["best", "one"], ["y"]),
        ]
        graph = helper.make_graph(
            nodes,
            "classes",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", classes])],
            [helper.make_tensor_value_info("y", TensorProto.INT64, ["n"])],
            [numpy_helper.from_array(order, "order"), numpy_helper.from_array(np.array([1]), "one")],
        )
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
            tmp_path / f"{name}.onnx",
        )

    for precision in ("fp16", "int8"):
        assert verify(tmp_path / "right.onnx", tmp_path / "right.onnx", {"x": x}, precision=precision)
        report = verify(tmp_path / "wrong.onnx", tmp_path / "right.onnx", {"x": x}, precision=precision)
        assert any("64 of 64 classes are others" in failure for failure in report.failures)


def test_nan_of_the_reference_itself_is_no_fault(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Sqrt", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
    )
    path = tmp_path / "root.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    assert verify(path, path, {"x": np.float32([[-1, 4], [9, 16]])})


def test_a_module_that_changes_its_input_does_not_change_what_the_file_is_run_on(tmp_path: Path) -> None:
    class Adds(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.add_(1) * 2

    path = export_onnx(Adds(), torch.zeros(1, 3), tmp_path / "net.onnx").path
    data = {"input": np.arange(6, dtype=np.float32).reshape(2, 3)}

    report = verify(path, Adds(), data)

    assert report, report.failures
    assert data["input"][0, 0] == 0
