"""Calls launched as a CUDA graph: the same outputs, or none of it and the reason."""

import dataclasses
import json
import re
import subprocess

import numpy as np
import onnxruntime
import pytest
from two_inputs import build, feed, write_network

from edgesynth.deploy.standalone import standalone_runner
from edgesynth.devices import open_device
from edgesynth.devices.likeness import Likeness
from edgesynth.errors import DeviceError, InputError
from edgesynth.profiler import MeasurementPlan, profile

TRTEXECS = [
    pytest.param("7.1", marks=pytest.mark.slow),
    "8.2",
    pytest.param("8.5", marks=pytest.mark.slow),
    pytest.param("8.6", marks=pytest.mark.slow),
    "10.3",
    "11.1",
]
ALIVE = """
import array, ctypes, json, os, sys
import runner
library = ctypes.CDLL(os.environ["EDGESYNTH_ROOT"] + "/usr/local/cuda/lib64/libcudart.so")
engine = runner.Engine(sys.argv[1], 2, cuda_graph=True)
index = array.array("i", [3, 4])
images = [array.array("f", [float(i + n) for i in range(12)]) for n in range(2)]
first = engine.infer({"image": images[0], "index": index})
kept = {name: bytes(value) for name, value in first.items()}
other = engine.infer({"image": images[1], "index": index})
told = {
    "graph": engine.cuda_graph,
    "pinned": engine.pinned_bytes,
    "kept": all(bytes(first[name]) == value for name, value in kept.items()),
    "differ": all(bytes(other[name]) != value for name, value in kept.items()),
    "sum": memoryview(first["sum"]).cast("B").cast("f").tolist(),
    "during": [library.fake_live(kind) for kind in range(6)],
}
engine.close()
del engine
told["after"] = [library.fake_live(kind) for kind in range(6)]
print(json.dumps(told))
"""


@pytest.fixture
def network(tmp_path):
    return write_network(tmp_path / "two.onnx")


def run(board, network, **asked):
    """What an engine of the network told, and its outputs beside the network's own."""
    board.compute()
    data, inputs = feed(6), {}
    for name, value in data.items():
        np.save(board.root / f"home/{name}.npy", value)
        inputs[name] = str(board.root / f"home/{name}.npy")
    plan = build(board, network, 2)
    events = board.ask(
        "run", engine=plan, batch=2, inputs=inputs, outputs=str(board.root / "home/out"), **asked
    )
    assert events[-1]["event"] == "end", events
    told = {name: value for event in events for name, value in event.items()}
    expected = onnxruntime.InferenceSession(network.read_bytes()).run(None, data)
    for entry, want in zip(told["outputs"], expected, strict=True):
        np.testing.assert_allclose(np.load(entry["path"]), want, rtol=1e-6)
    board.wait_until_quiet()
    return told


def test_every_tensorrt_and_cuda_give_the_outputs_of_the_network(release, network):
    told = run(release, network, cuda_graph=True)

    assert told["cuda_graph"] is True
    assert "no_cuda_graph" not in told


def test_pycuda_leaves_graphs_to_libcudart(board, network):
    board.install("pycuda")

    assert run(board, network, cuda_graph=True)["cuda_graph"] is True


def test_without_libcudart_pycuda_has_no_graphs(board, network):
    board.install("pycuda")
    board.compute()
    board.hide_cuda()

    told = run(board, network, cuda_graph=True)

    assert told["cuda_graph"] is False
    # This machine may have one of its own, without a driver.
    assert re.search(
        "no libcudart in /usr/local/cuda/lib64|cudaStreamBeginCapture gave error 35", told["no_cuda_graph"]
    )


def test_nobody_gets_a_graph_who_does_not_ask(board, network):
    told = run(board, network)

    assert told["cuda_graph"] is False
    assert "no_cuda_graph" not in told


RECORDED = {
    "refused": "TensorRT refused the call",
    "raise": "not while a stream records",
    "wait": "cudaStreamEndCapture gave error 901",
    "allocate": "cudaStreamEndCapture gave error 901",
    "wrong": "as a graph the engine gave other outputs than without one",
    "stale": "as a graph the engine gave other outputs than without one",
}


@pytest.mark.parametrize("how", list(RECORDED))
def test_what_cannot_be_recorded_runs_without_and_says_why(board, network, how):
    board.set("tensorrt", record=how)

    told = run(board, network, cuda_graph=True)

    assert told["cuda_graph"] is False
    assert RECORDED[how] in told["no_cuda_graph"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("FAKE_NO_INSTANCE", "WithFlags gave error 2: out of memory"),
        ("FAKE_NO_LAUNCH", "cudaGraphLaunch gave error 1"),
    ],
)
def test_a_graph_that_cuda_does_not_take_is_left_and_the_reason_said(board, network, fault, said, cudarts):
    board.give_cuda(cudarts["3.12"])
    board.environment[fault] = "1"

    told = run(board, network, cuda_graph=True)

    assert told["cuda_graph"] is False
    assert said in told["no_cuda_graph"]


def test_outputs_that_differ_from_call_to_call_cannot_be_compared(board):
    board.set("tensorrt", noise=True)

    conditions = board.recording(load_s=0.0, cuda_graph=True).conditions

    assert conditions["cuda_graph"] is False
    assert "two calls on the same inputs differ already" in conditions["no_cuda_graph"]


def alive(board, network):
    """What a program of its own sees of an engine from its beginning to its end."""
    board.compute()
    plan = build(board, network, 2)
    (board.root / "home/runner.py").write_text(standalone_runner())
    done = subprocess.run(
        [board.python, "-c", ALIVE, plan],
        capture_output=True,
        text=True,
        env=board.environment,
        cwd=board.root / "home",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    session = onnxruntime.InferenceSession(network.read_bytes())
    image = np.arange(12, dtype=np.float32).reshape(2, 6)
    (expected,) = session.run(["sum"], {"image": image, "index": np.array([3, 4])})
    np.testing.assert_allclose(np.reshape(told["sum"], (2, 6)), expected, rtol=1e-6)
    assert told["kept"]
    assert told["differ"]
    return told


BYTES = 2 * 6 * 4 + 2 * 4 + 2 * (2 * 6 * 4)  # image, index, sum and relu


@pytest.mark.parametrize("access", ["libcudart", "pycuda"])
@pytest.mark.parametrize(("minor", "capability", "pinned"), [("3.6", "6.2", 0), ("3.10", "8.7", BYTES)])
def test_memory_is_pinned_where_the_cpu_caches_it_and_all_is_let_go_of(
    board, network, cudarts, access, minor, capability, pinned
):
    board.use_python(minor)
    board.give_cuda(cudarts[minor])
    board.have_gpu(capability)
    if access == "pycuda":
        board.install("pycuda")

    told = alive(board, network)

    assert told["pinned"] == pinned
    assert told["graph"] is True
    assert told["during"] == [4, 4 if pinned else 0, 1, 2, 0, 1]  # tensors, staging, stream, events, graph
    assert told["after"] == [0, 0, 0, 0, 0, 0]


def test_a_card_has_its_memory_pinned_whatever_it_is_capable_of(board, network):
    board.have_gpu("6.1", card=True)

    assert alive(board, network)["pinned"] == BYTES


def test_without_memory_to_pin_it_goes_on(board, network):
    board.have_gpu("8.7")
    board.environment["FAKE_NO_PINNED"] = "1"

    assert alive(board, network)["pinned"] == 0


def test_a_benchmark_says_whether_calls_are_a_graph(board):
    found = board.recording(cuda_graph=True, layer_runs=5)
    plain = board.recording(load_s=0.0)

    assert found.conditions["cuda_graph"] is True
    assert plain.conditions["cuda_graph"] is False
    assert np.median(found.gpu_latencies_ms) < 0.8 * np.median(plain.gpu_latencies_ms)
    assert found.layers == (("conv1 + relu1", 0.75), ("fc", 0.25))
    assert found.counts[-1][1] > 0


def test_a_benchmark_of_what_cannot_be_recorded_goes_well(board):
    board.set("tensorrt", record="wait")

    found = board.recording(cuda_graph=True)

    assert found.failure == ""
    assert len(found.latencies_ms) == 20
    assert found.conditions["cuda_graph"] is False
    assert "what CUDA cannot record" in found.conditions["no_cuda_graph"]
    assert found.conditions["no_cuda_graphs_here"] is False


@pytest.mark.parametrize("version", TRTEXECS)
def test_trtexec_of_every_version_is_told_in_its_words(bare_board, version):
    bare_board.set("trtexec", version=version, call_ms=5.0, exact=True)

    found = bare_board.recording(load_s=0.0, layer_runs=10, cuda_graph=True)

    assert found.conditions["cuda_graph"] is True
    assert found.latencies_ms == pytest.approx([3.0] * 20)
    _, *warm_up_and_timed, layers = bare_board.told("trtexec")
    assert len(warm_up_and_timed) >= 2
    for line in warm_up_and_timed:
        assert "--noCudaGraph" not in line
        assert ("--useCudaGraph" in line) == (version != "11.1")
    assert "--useCudaGraph" not in layers
    assert ("--noCudaGraph" in layers) == (version == "11.1")


@pytest.mark.parametrize("version", TRTEXECS)
def test_what_trtexec_cannot_record_runs_without(bare_board, version):
    bare_board.set("trtexec", version=version, call_ms=5.0, exact=True, unrecordable=True)

    found = bare_board.recording(load_s=0.0, cuda_graph=True)

    assert found.conditions["cuda_graph"] is False
    assert "cannot record in a graph" in found.conditions["no_cuda_graph"]
    assert found.latencies_ms == pytest.approx([5.0] * 20)


def test_a_trtexec_without_the_option_says_so(bare_board):
    bare_board.set("trtexec", version="8.2", lacks=["useCudaGraph"])

    conditions = bare_board.recording(load_s=0.0, cuda_graph=True).conditions

    assert (conditions["cuda_graph"], conditions["no_cuda_graphs_here"]) == (False, True)
    assert "no --useCudaGraph" in conditions["no_cuda_graph"]


def test_boards_with_and_without_graphs_are_not_alike():
    likeness = Likeness("first", {})
    likeness.check("first", {"cuda_graph": False})
    likeness.check("first", {"cuda_graph": True})
    likeness.check("second", {"cuda_graph": False, "no_cuda_graph": "loops", "no_cuda_graphs_here": False})
    with pytest.raises(DeviceError, match="launching calls as a CUDA graph is impossible there"):
        likeness.check("third", {"cuda_graph": False, "no_cuda_graph": "old", "no_cuda_graphs_here": True})


@pytest.mark.slow
def test_figures_say_what_they_are_of(here, model):
    plan = MeasurementPlan(
        **{"warm_up_s": 0.05, "latency_runs": 20, "latency_limit_s": 0.5, "idle_s": 0.0, "window_s": 2.0},
        **{"settle_s": 0.1, "cool_down_s": 0.0, "attempts": 1},
    )
    with open_device("jetson-tx2", link="local", mode="MAXN") as device:
        for asked in (False, True):
            found = profile(model, device, dataclasses.replace(plan, cuda_graph=asked))
            assert found.conditions["cuda_graph"] is asked
            source = found.metrics["memory_peak_bytes"].source  # the machine may be too busy for others
            assert source.endswith(", CUDA graph") is asked


def test_devices_without_graphs_refuse_them():
    plan = MeasurementPlan("fp16", cuda_graph=True)
    with (
        open_device("jetson-tx2", "simulated") as device,
        pytest.raises(InputError, match=r"launches nothing as a CUDA graph: that is for TensorRT on a real"),
    ):
        profile("net.onnx", device, plan)


@pytest.mark.gpu
@pytest.mark.usefixtures("own_tensorrt")
def test_a_real_gpu_gives_the_same_as_a_graph(network, tmp_path):
    from edgesynth.agent import builder
    from edgesynth.agent.engine import Engine

    plan = tmp_path / "plan"
    order = {"model": str(network), "precision": "fp32", "batches": 2, "workspace_mb": 64, "typed": False}
    order.update(plan=str(plan), timings=str(tmp_path / "timings"), dla_core=None, full=[])
    plan.write_bytes(builder.build(order))
    data = {"image": feed(2)["image"], "index": feed(2)["index"]}
    found = []
    for graph in (False, True):
        engine = Engine(str(plan), 2, cuda_graph=graph)
        assert engine.cuda_graph == graph, engine.no_graph
        kinds = {tensor.name: tensor.kind for tensor in engine.tensors}
        index = data["index"].astype(np.int64 if kinds["index"] == "INT64" else np.int32)
        found.append(engine.infer({"image": data["image"], "index": index}))
        engine.close()
    expected = onnxruntime.InferenceSession(network.read_bytes()).run(["sum"], data)[0]
    np.testing.assert_allclose(found[0]["sum"], expected, rtol=1e-5)
    assert np.array_equal(found[0]["sum"], found[1]["sum"])
