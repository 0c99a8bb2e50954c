"""Networks that compute in FP16 themselves: what is inside branches and loops does too."""

import numpy as np
import onnx
import onnxruntime
import pytest
from control_flow import NETWORKS, branches, loop, network, weight
from onnx import TensorProto, helper

from edgesynth.agent.onnx_types import read_precision
from edgesynth.deploy.rtx import build_with_rtx, rtx_missing
from edgesynth.devices.half import Kept, half_file, to_half
from edgesynth.errors import InputError

INPUTS = [np.random.default_rng(seed).normal(size=(1, 4)).astype(np.float32) for seed in range(4)]


def run(model, data):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"input": data})[0]


def graphs(graph):
    """A graph and all inside it."""
    yield graph
    for node in graph.node:
        for entry in node.attribute:
            for inner in ([entry.g] if entry.HasField("g") else []) + list(entry.graphs):
                yield from graphs(inner)


def types_of(model, operator):
    """The types that every node of an operator takes, wherever it is."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    found = []
    known = {}
    for graph in graphs(inferred.graph):
        for entry in (*graph.input, *graph.value_info, *graph.output):
            known[graph.name, entry.name] = entry.type.tensor_type.elem_type
        for tensor in graph.initializer:
            known[graph.name, tensor.name] = tensor.data_type
    for graph in graphs(inferred.graph):
        for node in graph.node:
            if node.op_type == operator:
                found.append({known.get((graph.name, name)) or known["net", name] for name in node.input})
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_control_flow_computes_in_half_inside(name):
    model = NETWORKS[name]()

    half, kept = to_half(model)

    onnx.checker.check_model(half, full_check=True)
    assert [value.type.tensor_type.elem_type for value in (*half.graph.input, *half.graph.output)] == [
        TensorProto.FLOAT
    ] * 2
    products = types_of(half, "MatMul")
    assert products == [{TensorProto.FLOAT16}] * len(types_of(model, "MatMul"))
    for data in INPUTS:
        want, got = run(model, data), run(half, data)
        np.testing.assert_allclose(got, want, atol=0.01)
        assert np.any(got != want)  # it did compute in half
    assert {entry.operator for entry in kept} <= {"ReduceSum"}


def test_both_branches_are_taken_by_these_inputs():
    assert {bool(data.sum() > 0) for data in INPUTS} == {True, False}


def test_a_tensor_from_around_a_loop_is_cast_once_and_before_it():
    half, _ = to_half(loop())

    outer = [node.op_type for node in half.graph.node]
    assert outer.index("Loop") > outer.index("MatMul")
    (body,) = [graph for graph in graphs(half.graph) if graph.name == "body"]
    cast = {name for node in body.node if node.op_type == "Cast" for name in node.input}
    assert cast <= {"state", "next_half", "mixed_half", "told_half", "next"}  # what is the body's own
    assert {tensor.name for tensor in half.graph.initializer} == {"turns", "second", "yes", "step_half"}


def test_control_flow_that_leaves_the_range_stays_in_single_as_a_whole():
    model = branches()
    overflowing = Kept("if", "If", "its result leaves the range of FP16", 1e5)

    half, kept = to_half(model, [overflowing])

    onnx.checker.check_model(half, full_check=True)
    assert kept[0] == overflowing
    inside = [node for graph in graphs(half.graph) if graph.name != "net" for node in graph.node]
    assert not [node for node in inside if node.op_type == "Cast"]
    assert sorted(map(sorted, types_of(half, "MatMul"))) == [[1], [1], [1], [10], [10]]
    for data in INPUTS:
        np.testing.assert_allclose(run(half, data), run(model, data), atol=0.01)


def test_a_weight_that_leaves_the_range_is_found_inside_too():
    model = branches()
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            if tensor.name == "inner":
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.full((4, 4), 7e4, np.float32), "inner"))

    half, kept = to_half(model)

    assert [(entry.node, entry.reason) for entry in kept if entry.operator == "MatMul"] == [
        ("x", "a weight leaves the range of FP16")
    ]
    for data in INPUTS:
        want = run(model, data)
        np.testing.assert_allclose(run(half, data), want, atol=0.01 * np.abs(want).max())


def test_what_a_node_sums_inside_stays_in_single():
    own = helper.make_graph(
        [helper.make_node("Softmax", ["before"], ["y"])],
        "own",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4))],
    )
    model = branches()
    (node,) = [node for node in model.graph.node if node.op_type == "If"]
    node.attribute[0 if node.attribute[0].name == "then_branch" else 1].g.CopyFrom(own)

    half, kept = to_half(model)

    assert "Softmax" in {entry.operator for entry in kept}
    assert types_of(half, "Softmax") == [{TensorProto.FLOAT}]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_of_it_is_one_that_computes_in_half(name, tmp_path):
    onnx.save(NETWORKS[name](), tmp_path / "net.onnx")

    (tmp_path / "half.onnx").write_bytes(half_file(tmp_path / "net.onnx"))

    assert read_precision(str(tmp_path / "net.onnx")) == "fp32"
    assert read_precision(str(tmp_path / "half.onnx")) == "fp16"


@pytest.mark.skipif(bool(rtx_missing()), reason=str(rtx_missing()))
@pytest.mark.parametrize("name", NETWORKS)
def test_a_strongly_typed_builder_takes_it(name, tmp_path):
    path = tmp_path / "half.onnx"
    onnx.save(to_half(NETWORKS[name]())[0], path)

    assert build_with_rtx(path).errors == ()


def test_a_network_without_control_flow_is_converted_as_ever():
    model = network(
        [
            helper.make_node("MatMul", ["input", "weight"], ["made"]),
            helper.make_node("Softmax", ["made"], ["output"]),
        ],
        [weight("weight", 1)],
    )

    half, kept = to_half(model)

    assert [node.op_type for node in half.graph.node] == ["Cast", "MatMul", "Cast", "Softmax"]
    assert [entry.operator for entry in kept] == ["Softmax"]
    assert [tensor.name for tensor in half.graph.initializer] == ["weight_half"]


def test_a_file_that_is_no_model_is_named(tmp_path):
    (tmp_path / "junk.onnx").write_text("junk")

    with pytest.raises(InputError, match=r"junk\.onnx cannot be read as ONNX"):
        half_file(tmp_path / "junk.onnx")
