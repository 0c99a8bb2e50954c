"""What a precision below FP32 leaves in the graph, where TensorRT reads it there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from real_builder import STRONGLY_TYPED, precision_of

from edgesynth.deploy.onnx_graph import load_model, with_types
from edgesynth.deploy.quantisation import output_error
from edgesynth.deploy.runners import OnnxRunner
from edgesynth.deploy.target import export_for_device
from edgesynth.deploy.verify import verify
from edgesynth.devices import load_profile
from tests.deploy.networks import images, zoo

ORIN = load_profile("jetson-orin-nano")


def test_int8_computes_the_rest_in_half_where_the_graph_decides(tmp_path: Path) -> None:
    module, path = zoo("resnet8", tmp_path)
    data, other = images(64), images(32, seed=1)
    flagged = export_for_device(
        path, ORIN, tmp_path / "flags.onnx", precision="int8", data=data, methods=["min-max"]
    )

    export = export_for_device(
        path, STRONGLY_TYPED, tmp_path / "out.onnx", precision="int8", data=data, methods=["min-max"]
    )

    model = load_model(export.path)
    types = {value.name: value.type.tensor_type.elem_type for value in with_types(model).graph.value_info}
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    taken = [
        (makers.get(name), types[name])
        for node in model.graph.node
        if node.op_type == "Conv"
        for name in node.input[:2]
    ]
    assert set(taken) == {("DequantizeLinear", onnx.TensorProto.FLOAT16)}
    added = [types[node.output[0]] for node in model.graph.node if node.op_type == "Add"]
    assert set(added) == {onnx.TensorProto.FLOAT16}
    assert precision_of(export.path) == "int8"
    assert export.opset >= 19
    expected = OnnxRunner(load_model(path))(other)
    errors = [
        output_error(expected, OnnxRunner(load_model(each.path), optimise=False)(other))
        for each in (flagged, export)
    ]
    assert errors[0] != errors[1] == pytest.approx(errors[0], rel=0.3)
    assert verify(export.path, module, other, precision="int8")


def test_a_scale_that_half_precision_does_not_hold_leaves_its_pair_in_single(tmp_path: Path) -> None:
    _, path = zoo("resnet8", tmp_path)
    model = load_model(path)
    (first,) = (node for node in model.graph.node if node.name == model.graph.node[0].name)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == first.input[1])
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0] *= 1e-6 / np.abs(values[0]).max()
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))

    export = export_for_device(
        model, STRONGLY_TYPED, tmp_path / "out.onnx", precision="int8", data=images(64), methods=["min-max"]
    )

    written = load_model(export.path)
    held = {tensor.name: tensor for tensor in written.graph.initializer}
    (full,) = (
        onnx.numpy_helper.to_array(held[node.input[1]])
        for node in written.graph.node
        if "Quantize" in node.op_type
        and held[node.input[1]].data_type == onnx.TensorProto.FLOAT
        and held[node.input[1]].dims  # of a weight, not of the input, which is FLOAT itself
    )
    assert full.min() < 1e-7 < np.median(full)
    assert verify(export.path, path, images(32, seed=1), precision="int8")
