"""Torch runs a file as ONNX Runtime does, or says what it does not run; the same program measures it."""

import time
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from fake_nvml import FIRST, Library
from onnx import TensorProto, ValueInfoProto, helper
from onnx.numpy_helper import from_array
from torch import nn
from torch.nn import functional

import edgesynth
from edgesynth.devices import BenchRequest, Line, load_profile, onnx_bench
from edgesynth.devices.bench import read_recording
from edgesynth.devices.nvml import NvmlGpu
from edgesynth.devices.onnx_bench import serve
from edgesynth.devices.runtimes import TorchRuntime, runtime_of
from edgesynth.devices.torch_session import TorchSession
from edgesynth.errors import DeviceError
from edgesynth.zoo import build, prototype_names

onnxruntime = pytest.importorskip("onnxruntime", reason="what torch computes is compared with it")


class Many(nn.Module):
    """Operators that the zoo does not have."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.ConvTranspose2d(3, 8, 2, stride=2)
        self.norm = nn.LayerNorm(16)
        self.same = nn.Conv2d(8, 8, 3, padding=(1, 2), stride=(2, 1), groups=2)

    def forward(self, image):
        image = functional.hardswish(self.up(image))
        image = functional.pad(self.same(image), (1, 0, 2, 1), value=0.5)
        left, right = functional.max_pool2d(image, 3, 2, ceil_mode=True).split([3, 5], dim=1)
        mixed = torch.cat([functional.leaky_relu(left), right * torch.sigmoid(right)], 1)
        tokens = self.norm(functional.interpolate(mixed, (4, 4), mode="bilinear").flatten(2))
        shares = torch.softmax(tokens @ tokens.transpose(1, 2) / tokens.shape[-1] ** 0.5, -1)
        gelu = functional.gelu(shares @ tokens)
        return gelu.mean(-1), torch.where(gelu > 0, gelu, gelu.exp() - 1).amax((1, 2)), gelu.sum(1)[:, 1::2]


def both(path, session, batch):
    """The outputs of ONNX Runtime and of torch, for noise."""
    reference = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (taken,) = reference.get_inputs()
    shape = (batch, *taken.shape[1:])
    feeds = {taken.name: np.random.default_rng(batch).standard_normal(shape).astype(np.float32)}
    return reference.run(None, feeds), session.run(None, feeds)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "lraspp" else pytest.mark.slow) for name in prototype_names()],
)
def test_the_networks_of_the_zoo_give_what_they_give_elsewhere(name, tmp_path):
    network = build(name, in_channels=3, classes=10).eval()
    edgesynth.export_onnx(network, torch.randn(1, 3, 32, 32), tmp_path / "net.onnx")
    session = TorchSession(str(tmp_path / "net.onnx"), "cpu")

    for batch in (1, 3, 1):  # what depends on shapes is not kept for others
        for expected, found in zip(*both(tmp_path / "net.onnx", session, batch), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * abs(expected).max())


@pytest.mark.parametrize("opset", [13, 18])
def test_operators_beyond_those_of_the_zoo_are_the_same_too(opset, tmp_path):
    path = edgesynth.export_onnx(
        Many().eval(), torch.randn(1, 3, 12, 12), tmp_path / "net.onnx", opset=opset
    ).path
    session = TorchSession(path.read_bytes(), "cpu")

    for expected, found in zip(*both(path, session, 2), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


NONE = np.zeros(0, np.float32)


def one_node(operator, *constants, opset=13, outputs=("y",), **attributes):
    """A network of one operator; its input has the shape [1, 3, 8, 8]."""
    weights = [from_array(np.asarray(value), f"w{index}") for index, value in enumerate(constants)]
    node = helper.make_node(operator, ["x", *(weight.name for weight in weights)], outputs, **attributes)
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    given = [ValueInfoProto(name=name) for name in outputs]
    graph = helper.make_graph([node], "one", [taken], given, weights)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.mark.parametrize(
    "model",
    [
        one_node("AveragePool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 1, 1, 1], count_include_pad=1),
        one_node("AveragePool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 1, 1, 1]),
        one_node("MaxPool", kernel_shape=[3, 3], strides=[3, 2], pads=[0, 2, 2, 1], dilations=[1, 2]),
        one_node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        one_node("Resize", NONE, np.float32([1, 1, 1.3, 0.7]), mode="linear"),
        one_node(
            *("Resize", NONE, NONE, [1, 3, 5, 16]),
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        ),
        one_node("Clip"),
        one_node("Flatten", axis=-1),
        one_node("Reshape", [6, 32], opset=14, allowzero=1),
        one_node("Slice", [-1, 2], [-(2**63), 2**62], [2, 3], [-2, 3]),
        one_node("Pad", [0, 0, -1, 2, 0, 0, 1, -3], np.float32(0.5)),
        one_node("Squeeze"),
        one_node("ReduceMean", axes=[-1, 1], keepdims=0),
        one_node("Pow", np.int64(2)),
        one_node("Max", np.zeros((3, 1, 1), np.float32)),
    ],
)
def test_one_operator_gives_what_it_gives_elsewhere(model):
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    reference = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    (expected,), (found,) = reference.run(None, feeds), TorchSession(model, "cpu").run(None, feeds)

    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (one_node("Celu"), r"not asked to run Celu; install onnxruntime-gpu.*edgesynth\[gpu\]"),
        (one_node("Relu", opset=11), "operator sets before 13, and this is 11; install onnxruntime-gpu"),
        (
            one_node("AveragePool", kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
            "this AveragePool: auto_pad is 'SAME_UPPER'",
        ),
        (one_node("AveragePool", kernel_shape=[3, 3], pads=[2, 2, 2, 2]), "more than half of its kernel"),
        (one_node("MaxPool", kernel_shape=[3, 3], outputs=("y", "at")), "its output 'at' is asked for too"),
        (one_node("Dropout", np.float32(0.5), True), "this Dropout: it is as in training"),
        (
            one_node("Resize", NONE, np.float32([1, 1, 2, 2]), opset=18, mode="linear", antialias=1),
            "antialias",
        ),
        (
            one_node("Resize", NONE, np.float32([1, 2, 1, 1]), mode="linear"),
            "other axes than those of pictures",
        ),
        (
            one_node(
                *("Resize", NONE, np.float32([1, 1, 0.6, 0.6])),
                mode="linear",
                coordinate_transformation_mode="align_corners",
            ),
            "no whole number of pixels",
        ),
        (
            one_node(
                *("Resize", NONE, NONE, [1, 3, 1, 4]),
                mode="linear",
                coordinate_transformation_mode="pytorch_half_pixel",
            ),
            "a single row or column",
        ),
        (one_node("LayerNormalization", np.ones(1, np.float32), opset=17), "its scale is of another shape"),
    ],
)
def test_what_torch_does_not_run_is_refused_with_what_does(model, said):
    with pytest.raises(DeviceError, match=said):
        TorchSession(model, "cpu").run(None, {"x": np.zeros((1, 3, 8, 8), np.float32)})


def ask(path, **changes):
    values = {"warm_up_s": 0.0, "latency_runs": 40, "latency_limit_s": 5.0, "idle_s": 0.1, "load_s": 0.5}
    return BenchRequest(
        {"model": str(path)}, "fp32", 2, rate_hz=20.0, mode="default", **{**values, **changes}
    )


def served(request, counter, capsys):
    serve(request, TorchRuntime("cpu"), counter)
    return read_recording([Line(0.0, text) for text in capsys.readouterr().out.splitlines()])


def test_the_bench_program_measures_it_by_the_same_protocol(tmp_path, capsys):
    network = build("resnet8", in_channels=3, classes=10).eval()
    edgesynth.export_onnx(network, torch.randn(1, 3, 32, 32), tmp_path / "net.onnx")

    found = served(ask(tmp_path / "net.onnx", layer_runs=3), NvmlGpu(Library(), lambda: FIRST), capsys)

    kept = found.conditions["blocks_at_speed"]  # on a busy machine, few
    assert len(found.references_ms) == len(found.medians_ms) == kept <= found.conditions["blocks"]
    assert kept <= len(found.latencies_ms) <= 40
    assert len(found.latencies_ms) == 40 or found.conditions["blocks"] > kept
    assert found.conditions["torch"] == f"{torch.__version__}, eager"
    assert found.conditions["settled"] in (True, False, None)
    assert found.conditions["gpu"] == "NVIDIA RTX A2000"
    assert all("GPU_BOARD 28750mW" in line.text for line in found.sensor)
    assert list(found.phases) == ["idle_before", "load", "idle_after", "end"]
    assert found.counts[-1][1] > 0
    assert "layers_missing" not in found.conditions
    names = [name for name, _ in found.layers]
    assert names == [node.name for node in onnx.load(tmp_path / "net.onnx").graph.node if node.name in names]
    assert sum("conv" in name.lower() for name in names) == 9
    assert all(ms > 0 for _, ms in found.layers)
    if kept:  # all operators together are most of a call, whatever other programs make of either
        assert 0.02 < sum(ms for _, ms in found.layers) / np.median(found.latencies_ms) < 50


@pytest.mark.parametrize("alike", [True, False])
def test_times_are_moved_to_one_speed_only_where_the_load_is_slowed_alike(tmp_path, capsys, alike):
    class Runtime(TorchRuntime):
        @property
        def alike(self):
            return alike

    (tmp_path / "net.onnx").write_bytes(one_node("Relu"))
    serve(replace(ask(tmp_path / "net.onnx", load_s=0.0), batch=1), Runtime("cpu"), None)
    found = read_recording([Line(0.0, text) for text in capsys.readouterr().out.splitlines()])

    told = found.conditions["latency_as_timed_ms"] is not None
    assert told == (alike and found.conditions["blocks_at_speed"] > 0)


def test_bringing_inputs_to_the_device_is_no_part_of_the_first_operator():
    class Far(TorchSession):
        def _moved(self, feeds):
            time.sleep(0.1)
            return super()._moved(feeds)

    layers = Far(one_node("Relu"), "cpu").time_layers({"x": np.zeros((1, 3, 8, 8), np.float32)}, 2)

    assert [name for name, _ in layers] == ["Relu"]
    assert layers[0][1] < 100


def test_calls_of_seconds_are_not_made_three_times_to_time_one(monkeypatch):
    made = []

    class Slow:
        def run(self, outputs, feeds):
            made.append(feeds)
            time.sleep(0.02)

    monkeypatch.setattr("edgesynth.devices.onnx_bench._LONG_S", 0.01)
    calls_ms, seconds = onnx_bench._time_block(Slow(), {}, 20)

    assert len(calls_ms) == 1
    assert len(made) == 2
    assert 1e3 * seconds >= calls_ms[0] >= 20


def test_what_it_does_not_run_is_no_fault_of_the_network(tmp_path, capsys):
    (tmp_path / "net.onnx").write_bytes(one_node("Celu"))

    with pytest.raises(DeviceError, match="not asked to run Celu"):
        served(ask(tmp_path / "net.onnx", load_s=0.0), None, capsys)


def test_a_gpu_that_only_torch_knows_is_measured_with_torch(monkeypatch):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("the installed ONNX Runtime knows CUDA")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    assert runtime_of(load_profile("nvidia-gpu")) == "torch"
    assert runtime_of(load_profile("host-cpu")) == "cpu"


@pytest.mark.gpu
def test_a_real_gpu_gives_the_same(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")
    TorchRuntime()
    network = build("shufflenetv2", in_channels=3, classes=10).eval()
    edgesynth.export_onnx(network, torch.randn(1, 3, 32, 32), tmp_path / "net.onnx")
    session = TorchSession(str(tmp_path / "net.onnx"), "cuda")

    for expected, found in zip(*both(tmp_path / "net.onnx", session, 2), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-4 * abs(expected).max())
