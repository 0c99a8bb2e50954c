"""Which precision a network is deployed in when nobody names one: what is proven, and measured to gain."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from two_layers import labelled, write_network

import edgesynth
from edgesynth.devices import load_profile

pytestmark = pytest.mark.usefixtures("no_builder")

STEADY_MS = 20.0
"""So long that a busy machine, which plays the board, does not unsteady its calls."""


def precision_of(done):
    assert done, done.failures
    return done.delivery.export.precision


@pytest.mark.slow
def test_half_precision_is_taken_where_it_is_measured_faster(here, tx2, network, tmp_path):
    here.set("tensorrt", call_ms=STEADY_MS)
    data = labelled(tmp_path / "data.npz", network, 400)

    done = edgesynth.deploy(network, tx2, data=data, batch=20, out=tmp_path / "bundle")

    assert precision_of(done) == "fp16"
    assert done.passed_over == done.notes == ()
    assert (done.gain.precision, done.gain.higher, done.gain.worthwhile) == ("fp16", "fp32", True)
    assert list(done.gain.figures) == ["latency_ms"]
    half, single = done.gain.figures["latency_ms"]
    assert single.value / half.value == pytest.approx(2, rel=0.1)
    assert done.gain.says.startswith(f"fp16 is measured {single.value / half.value:.2f} times as fast")
    proof = json.loads((tmp_path / "bundle/verification.json").read_text())
    assert proof["gain"] == json.loads(json.dumps(done.gain.to_json()))


@pytest.mark.slow
def test_single_precision_stays_where_half_is_not_measured_to_gain(here, tx2, network, tmp_path):
    here.set("tensorrt", call_ms=STEADY_MS, paces={"fp16": 3.0})
    here.remove("tegrastats")  # no power: latency alone is to be had

    done = edgesynth.deploy(network, tx2, out=tmp_path / "bundle")

    assert precision_of(done) == "fp32"
    (tried,) = done.passed_over
    lower, higher = tried.figures["latency_ms"]
    assert (tried.precision, tried.higher, tried.worthwhile) == ("fp16", "fp32", False)
    assert lower.value > 1.2 * higher.value
    assert done.notes[0].startswith("fp16 was not chosen, it computes in fp32: fp16 is measured no faster (")
    proof = json.loads((tmp_path / "bundle/verification.json").read_text())
    assert proof["passed_over"] == json.loads(json.dumps([tried.to_json()]))
    assert proof["gain"] is None


def test_half_precision_is_taken_where_single_does_not_fit_into_memory(here, tx2, network):
    here.set("tensorrt", build="memory", starves="fp32")

    done = edgesynth.deploy(network, tx2)

    assert (precision_of(done), done.gain) == ("fp16", None)
    assert (
        "fp32 was not chosen, it computes in fp16: the engine could not be built (out_of_memory)"
        in (done.notes[0])
    )


@pytest.mark.slow
def test_half_precision_that_is_as_fast_is_compared_by_its_energy(here, tx2, network):
    here.set("tensorrt", call_ms=STEADY_MS, paces={"fp32": 1.0})

    done = edgesynth.deploy(network, tx2)

    assert precision_of(done) == "fp32"
    (tried,) = done.passed_over
    assert next(iter(tried.figures)) == "latency_ms"
    assert not tried.worthwhile
    assert "fp16 is measured no faster" in tried.says


@pytest.mark.slow
def test_int8_follows_where_labels_judge_it(here, network, tmp_path):
    here.be(load_profile("jetson-agx-orin"), "tegra234", dla_cores=2)
    here.set("tensorrt", version="10.3.0", call_ms=STEADY_MS)
    here.compute()
    data = labelled(tmp_path / "data.npz", network, 1200)

    with edgesynth.open_device("jetson-agx-orin", link="local") as device:
        done = edgesynth.deploy(network, device, data=data, samples=1200, may_lose=0.05)

    assert (precision_of(done), done.gain.higher) == ("int8", "fp16")
    assert done.gain.figures["latency_ms"][0].value < done.gain.figures["latency_ms"][1].value


@pytest.mark.slow
@pytest.mark.parametrize("version", ["7.1.3", "8.2.1", "10.3.0"])
def test_layers_that_leave_the_range_of_half_precision_stay_in_single_by_constraint(
    here, tx2, tmp_path, version
):
    here.set("tensorrt", version=version)
    here.compute("half", "flagged")
    network = write_network(tmp_path / "large.onnx", scale=1e5)
    data = labelled(tmp_path / "data.npz", network, 12)

    done = edgesynth.deploy(network, tx2, data=data, precision="fp16", out=tmp_path / "bundle")

    assert precision_of(done) == "fp16"
    assert set(done.delivery.export.full) == {"dense_1", "relu_1", "dense_2"}
    assert json.loads(here.told("builds")[-1])["full"] == sorted(done.delivery.export.full)
    key = json.loads((tmp_path / "bundle/manifest.json").read_text())["key"]
    assert key["flags"] == ["FP16", "OBEY_PRECISION_CONSTRAINTS"]


@pytest.mark.slow
def test_layers_that_tensorrt_calls_otherwise_are_left_to_the_verification(here, tx2, tmp_path):
    here.compute("half", "flagged")
    network = write_network(tmp_path / "large.onnx", scale=1e5)
    options = {"data": labelled(tmp_path / "data.npz", network, 12), "precision": "fp16"}

    here.set("tensorrt", network=[["dense_1", "MATRIX_MULTIPLY"], ["another", "ACTIVATION"]])
    some = edgesynth.deploy(network, tx2, **options)
    here.set("tensorrt", network=[["another", "ACTIVATION"]])
    none = edgesynth.deploy(network, tx2, **options, batch=2)

    assert json.loads(here.told("builds")[0])["full"] == ["dense_1"]
    assert "scores: " in some.failures[0]
    assert "it calls no layer so" in none.failures[0]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["8.6", "10.3"])
def test_trtexec_is_told_of_such_layers_too(here, tmp_path, version):
    shutil.rmtree(here.modules / "tensorrt")
    here.set("trtexec", version=version)
    here.compute("half", "flagged")
    network = write_network(tmp_path / "large.onnx", scale=1e5)
    data = labelled(tmp_path / "data.npz", network, 12)

    with edgesynth.open_device("jetson-tx2", link="local") as device:
        done = edgesynth.deploy(network, device, data=data, precision="fp16")
        here.set("trtexec", lacks=["layerOutputTypes"])
        refused = edgesynth.deploy(network, device, data=data, precision="fp16", batch=2)

    assert (precision_of(done), done.engine.runner) == ("fp16", "trtexec")
    assert "this trtexec has no --layerOutputTypes, so it keeps no layer in FP32" in refused.failures[0]


@pytest.mark.slow
def test_a_precision_that_cannot_be_made_leaves_what_was_proven(here, tmp_path):
    here.be(load_profile("jetson-agx-orin"), "tegra234", dla_cores=2)
    here.set("tensorrt", version="10.3.0", build="memory", starves="fp16")
    here.compute()
    network = tmp_path / "relu.onnx"
    graph = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["scores"], name="relu")],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 6])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), network)

    with edgesynth.open_device("jetson-agx-orin", link="local") as device:
        done = edgesynth.deploy(network, device, data=labelled(tmp_path / "data.npz", network, 40))

    assert precision_of(done) == "fp32"
    assert [tried.precision for tried in done.passed_over] == ["fp16", "int8"]
    assert "so INT8 would change nothing" in done.passed_over[1].says


def test_what_is_quantised_already_stays_so(here, tmp_path):
    here.be(load_profile("jetson-agx-orin"), "tegra234", dla_cores=2)
    here.set("tensorrt", version="10.3.0")
    here.compute()
    values = {"scale": np.float32(0.05), "zero": np.int8(0)}
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            helper.make_node("Relu", ["d"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "quantised.onnx")

    with edgesynth.open_device("jetson-agx-orin", link="local") as device:
        done = edgesynth.deploy(tmp_path / "quantised.onnx", device)

    assert (precision_of(done), done.passed_over, done.gain) == ("int8", (), None)
