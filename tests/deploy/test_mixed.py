"""Which layers stay in a higher precision, and what that does to the outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgesynth.deploy import mixed
from edgesynth.deploy.bypass import bypassed
from edgesynth.deploy.delivery import deliver
from edgesynth.deploy.lowering import lower
from edgesynth.deploy.mixed import layers_to_keep
from edgesynth.deploy.onnx_graph import with_types
from edgesynth.deploy.quantisation import output_error, quantise
from edgesynth.deploy.rounding import rounded
from edgesynth.deploy.runners import OnnxRunner
from edgesynth.deploy.target import export_for_device
from edgesynth.deploy.verify import verify
from edgesynth.devices import load_profile

WIDTH = 24
DATA = {"x": np.random.default_rng(7).normal(size=(48, WIDTH)).astype(np.float32)}

QUICKEST = ["min-max"]  # calibration, where it is not the point: that by entropy takes seconds


def chain(scales: dict[int, np.ndarray], layers: int = 5) -> onnx.ModelProto:
    """Dense layers; before the numbered ones channels are scaled apart, and back in their weights."""
    generator = np.random.default_rng(0)
    nodes, weights, tensor = [], [], "x"
    for index in range(layers):
        weight = generator.normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH)
        if index in scales:
            weight = weight / scales[index][:, None]
        if index + 1 in scales:
            weight = weight * scales[index + 1][None, :]
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"w{index}"))
        made = "y" if index == layers - 1 else f"a{index}"
        nodes.append(helper.make_node("MatMul", [tensor, f"w{index}"], [made], name=f"dense{index}"))
        if made != "y":
            nodes.append(helper.make_node("Relu", [made], [f"r{index}"], name=f"relu{index}"))
        tensor = f"r{index}"
    shape = ["batch", WIDTH]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def apart(most: float) -> np.ndarray:
    return np.geomspace(1.0, most, WIDTH)


def test_the_fewest_of_the_worst_are_kept() -> None:
    harm = {"a": 0.1, "b": 0.9, "c": 0.3, "d": 0.5, "e": 0.0, "f": 0.0}
    asked: list[set[str]] = []

    def fits(kept: object) -> bool:
        asked.append(set(kept))  # type: ignore[call-overload]
        return sum(value for name, value in harm.items() if name not in asked[-1]) < 0.5

    assert layers_to_keep(list(harm), harm.__getitem__, fits) == ("b", "d")
    assert len(asked) <= 4
    assert layers_to_keep(list(harm), harm.__getitem__, lambda kept: True) == ()
    assert layers_to_keep(list(harm), harm.__getitem__, lambda kept: len(set(kept)) > 3) is None
    assert layers_to_keep(["a"], harm.__getitem__, lambda kept: "a" in kept) is None  # nothing would be left
    assert layers_to_keep([], harm.__getitem__, lambda kept: False) is None


def test_a_layer_that_int8_spoils_is_found_and_kept_and_the_rest_is_quantised(tmp_path: Path) -> None:
    model = chain({2: apart(3e3)})
    expected = OnnxRunner(model)(DATA)
    whole = quantise(model, DATA).model
    assert output_error(expected, OnnxRunner(whole, optimise=False)(DATA)) > 0.15

    found = lower(model, "int8", typed=False, data=DATA)

    assert [(kept.node, kept.operator) for kept in found.kept] == [("dense2", "MatMul")]
    assert output_error(expected, OnnxRunner(found.model, optimise=False)(DATA)) < 0.15
    makers = {name: node.op_type for node in found.model.graph.node for name in node.output}
    takes = {node.name: [makers.get(name) for name in node.input] for node in found.model.graph.node}
    assert takes["dense2"] == ["Relu", None]
    assert takes["dense1"] == takes["dense3"] == ["DequantizeLinear", "DequantizeLinear"]
    onnx.checker.check_model(found.model, full_check=True)
    onnx.save(model, tmp_path / "source.onnx")
    orin = load_profile("jetson-orin-nano")
    export = export_for_device(
        model, orin, tmp_path / "mixed.onnx", precision="int8", data=DATA, methods=QUICKEST
    )
    report = verify(export.path, tmp_path / "source.onnx", DATA, precision="int8")
    assert report, report.failures
    assert [kept.node for kept in export.kept] == ["dense2"]


def test_a_last_layer_that_is_kept_gives_its_output_as_it_is() -> None:
    quantised = quantise(chain({}), DATA, methods=QUICKEST).model

    free = bypassed(quantised, ["dense4"])

    assert [value.name for value in free.graph.output] == ["y"]
    (maker,) = (node for node in free.graph.node if "y" in node.output)
    assert (maker.op_type, maker.name) == ("MatMul", "dense4")
    every = bypassed(quantised, [f"dense{index}" for index in range(5)])
    assert not [node for node in every.graph.node if "Quantize" in node.op_type]
    np.testing.assert_allclose(OnnxRunner(every)(DATA)["y"], OnnxRunner(chain({}))(DATA)["y"], atol=1e-6)


@pytest.mark.parametrize("typed", [False, True])
def test_what_leaves_the_range_of_half_precision_is_kept_in_single(typed: bool) -> None:
    found = lower(chain({2: np.full(WIDTH, 1e6)}), "fp16", typed=typed, data=DATA)

    assert {kept.node for kept in found.kept} == {"dense1", "relu1", "dense2"}
    assert found.flags == (() if typed else ("FP16",))
    assert set(found.full) == (set() if typed else {"dense1", "relu1", "dense2"})


@pytest.mark.parametrize("typed", [False, True])
def test_what_int8_leaves_to_half_precision_and_leaves_its_range_is_kept_in_single(typed: bool) -> None:
    found = lower(chain({2: np.full(WIDTH, 1e6)}), "int8", typed=typed, data=DATA, methods=QUICKEST)

    # The products themselves are quantised, whose sums no FP16 holds.
    assert set(found.full) == (set() if typed else {"relu1"})
    assert {kept.node for kept in found.kept} == {"relu1", *(("dense1", "dense2") if typed else ())}
    outputs = OnnxRunner(found.model, optimise=False)(DATA)
    assert output_error(OnnxRunner(chain({2: np.full(WIDTH, 1e6)}))(DATA), outputs) < 0.15


@pytest.mark.parametrize("finer", [False, True])
def test_the_rest_stays_in_single_where_int8_and_half_together_lose_what_is_scored(finer: bool) -> None:
    model = chain({}, layers=2)
    (made,) = model.graph.output
    model.graph.node.append(onnx.helper.make_node("Sigmoid", [made.name], ["share"], name="last"))
    made.name = "share"

    def score(outputs: Mapping[str, NDArray[Any]]) -> float:
        values = outputs["share"]
        return float(not finer or np.any(values != values.astype(np.float16)))

    found = lower(model, "int8", typed=True, data=DATA, methods=QUICKEST, metric=score)

    assert score(OnnxRunner(found.model, optimise=False)(DATA)) == 1
    assert any(node.op_type == "Cast" for node in found.model.graph.node) is not finer


@pytest.mark.parametrize("typed", [False, True])
def test_a_layer_that_half_precision_is_too_coarse_for_is_kept_in_single(typed: bool) -> None:
    # Values so small that FP16 has few bits left for them, or none; no value is too large.
    model = chain({3: np.full(WIDTH, 3e-8)})

    found = lower(model, "fp16", typed=typed, data=DATA)

    assert {kept.reason for kept in found.kept} == {"FP16 is too coarse for it"}
    assert {"dense2", "relu2"} <= {kept.node for kept in found.kept} <= {"dense2", "relu2", "dense3"}
    outputs = OnnxRunner(rounded(with_types(model), ["dense0", "dense1", "dense4"]), optimise=False)(DATA)
    assert output_error(OnnxRunner(model)(DATA), outputs) < 1e-2


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_of_a_large_network_neighbouring_layers_are_tried_as_one(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = chain({3: np.full(WIDTH, 3e-8)} if precision == "fp16" else {10: apart(3e3)}, layers=20)
    monkeypatch.setattr(mixed, "_MOST_BYTES", 1)  # so that no trial at all would be allowed

    found = lower(model, precision, typed=False, data=DATA, methods=QUICKEST)

    told = {kept.reason.partition(" for one of ")[2] for kept in found.kept}
    assert told == {"3 layers tried as one" if precision == "int8" else "5 layers tried as one"}
    assert {"dense2" if precision == "fp16" else "dense10"} <= {kept.node for kept in found.kept}
    assert not found.coarse


def test_names_that_look_like_ours_are_no_collision() -> None:
    model = chain({3: np.full(WIDTH, 3e-8)})
    text = model.SerializeToString()
    for old, new in (("a0", "a1_half"), ("r0", "a1_exact"), ("w1", "w2_rounded")):
        _rename_tensor(model, old, new)
    assert model.SerializeToString() != text

    found = lower(model, "fp16", typed=False, data=DATA)

    assert {"dense2", "relu2"} <= {kept.node for kept in found.kept}


def _rename_tensor(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = new if name == old else name
    for tensor in model.graph.initializer:
        tensor.name = new if tensor.name == old else tensor.name


def test_an_input_that_half_precision_is_too_coarse_for_is_rounded_where_a_layer_takes_it() -> None:
    shape = ["batch", WIDTH]
    weight = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"], name="one"),
        helper.make_node("Add", ["a", "large"], ["b"], name="add"),
        helper.make_node("Sub", ["b", "large"], ["c"], name="sub"),
        helper.make_node("MatMul", ["c", "second"], ["d"], name="two"),
        helper.make_node("Relu", ["d"], ["y"], name="relu"),
    ]
    graph = helper.make_graph(
        nodes,
        "offset",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(value, name)
            for name, value in (
                ("first", weight),
                ("second", weight[::-1].copy()),
                ("large", np.float32([30000.0])),
            )
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    assert {kept.node for kept in lower(model, "fp16", typed=False, data=DATA).kept} == {"add", "sub"}


def test_a_network_that_half_precision_spoils_whatever_is_kept_is_not_called_verified(tmp_path: Path) -> None:
    """The runtime of this machine takes the casts of such a graph away, and finds nothing wrong with it."""
    weight = numpy_helper.from_array(np.eye(WIDTH, dtype=np.float32), "weight")
    large = numpy_helper.from_array(np.float32([30000.0]), "large")
    shape = ["batch", WIDTH]
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["x", "large"], ["small"], name="sub"),
            helper.make_node("Add", ["small", "large"], ["again"], name="add"),
            helper.make_node("Sub", ["again", "large"], ["fine"], name="sub_again"),
            helper.make_node("MatMul", ["fine", "weight"], ["y"], name="dense"),
        ],
        "offset",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weight, large],
    )
    source = tmp_path / "offset.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(source)
    )
    np.savez(tmp_path / "data.npz", x=DATA["x"] + np.float32(30000))

    done = deliver(
        source, load_profile("jetson-thor"), None, precision="fp16", data=str(tmp_path / "data.npz")
    )

    assert not done
    assert "FP16 spoils the outputs on these inputs" in done.failures[-1]


def test_a_network_that_a_precision_suits_keeps_nothing() -> None:
    assert lower(chain({}), "fp16", typed=False, data=DATA).full == ()
    assert lower(chain({}), "int8", typed=False, data=DATA, methods=QUICKEST).kept == ()
