"""No engine is called by a precision that it was not built in."""

import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from control_flow import branches
from fake_board import write_layer
from onnx import TensorProto, helper, numpy_helper

import edgesynth
from edgesynth.agent.onnx_types import computes_in_half, read_precision
from edgesynth.devices.half import to_half
from edgesynth.errors import InputError
from edgesynth.graph import Prototype
from edgesynth.profiler import MeasurementPlan, profile
from edgesynth.synthesis.measuring import MeasuringAhead

TYPED = "11.1.0.106"  # has no flags of precision
PLAN = {"latency_runs": 20, "latency_limit_s": 2.0, "warm_up_s": 0.01, "idle_s": 0.1, "window_s": 2.0}
UNFAILED = ("ok", "inconclusive")  # the machine, which plays the board, may be busy


def save(path, nodes, weights, **more):
    """A network from ``input`` to ``output``, both of two axes."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", more.pop("kind", TensorProto.FLOAT), [1, 4])],
        [helper.make_tensor_value_info("output", more.pop("made", TensorProto.FLOAT), [1, 4])],
        weights,
        **more,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def square(name, kind):
    return helper.make_tensor(name, kind, [4, 4], [0.5] * 16)


def cast(source, target, kind):
    return helper.make_node("Cast", [source], [target], to=kind)


def matmul(source, weight, target):
    return helper.make_node("MatMul", [source, weight], [target])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_what_a_graph_computes_in_is_read_from_its_types(tmp_path, precision):
    write_layer(tmp_path / "layer.onnx", precision)

    assert read_precision(str(tmp_path / "layer.onnx")) == precision


GRAPHS = {
    "a half that nothing is computed in": (
        "fp32",
        [
            matmul("input", "weight", "one"),
            cast("one", "two", TensorProto.FLOAT16),
            cast("two", "output", TensorProto.FLOAT),
        ],
        [square("weight", TensorProto.FLOAT)],
    ),
    "weights that are kept in half and computed with in single": (
        "fp32",
        [cast("weight", "wide", TensorProto.FLOAT), matmul("input", "wide", "output")],
        [square("weight", TensorProto.FLOAT16)],
    ),
    "a half that reaches the product through other operators": (
        "fp16",
        [
            cast("input", "one", TensorProto.FLOAT16),
            helper.make_node("Relu", ["one"], ["two"]),
            helper.make_node("Transpose", ["two"], ["three"]),
            matmul("three", "three", "four"),
            cast("four", "output", TensorProto.FLOAT),
        ],
        [],
    ),
    "no product at all": (
        "fp16",
        [
            cast("input", "one", TensorProto.FLOAT16),
            helper.make_node("Relu", ["one"], ["two"]),
            cast("two", "output", TensorProto.FLOAT),
        ],
        [],
    ),
    "bfloat": (
        "bf16",
        [
            cast("input", "one", TensorProto.BFLOAT16),
            matmul("one", "one", "two"),
            cast("two", "output", TensorProto.FLOAT),
        ],
        [],
    ),
    "eight bits that are floating-point numbers": (
        "fp8",
        [
            helper.make_node("QuantizeLinear", ["input", "scale", "point"], ["one"]),
            helper.make_node("DequantizeLinear", ["one", "scale", "point"], ["two"]),
            matmul("two", "weight", "output"),
        ],
        [
            square("weight", TensorProto.FLOAT),
            helper.make_tensor("scale", TensorProto.FLOAT, [], [0.1]),
            helper.make_tensor("point", TensorProto.FLOAT8E4M3FN, [], [0.0]),
        ],
    ),
    "unsigned integers by default": (
        "int8",
        [
            helper.make_node("QuantizeLinear", ["input", "scale"], ["one"]),
            helper.make_node("DequantizeLinear", ["one", "scale"], ["two"]),
            matmul("two", "weight", "output"),
        ],
        [square("weight", TensorProto.FLOAT), helper.make_tensor("scale", TensorProto.FLOAT, [], [0.1])],
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_casts_alone_make_no_precision(tmp_path, name):
    precision, nodes, weights = GRAPHS[name]

    assert read_precision(str(save(tmp_path / "net.onnx", nodes, weights))) == precision


def test_half_precision_is_found_beside_pairs_and_in_bytes(tmp_path):
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "scale"], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", "small"], ["half"]),
        matmul("half", "weight", "made"),
        cast("made", "output", TensorProto.FLOAT),
    ]
    scales = [helper.make_tensor("scale", TensorProto.FLOAT, [], [0.1])]
    scales += [helper.make_tensor("small", TensorProto.FLOAT16, [], np.float16([0.1]))]
    path = save(tmp_path / "net.onnx", nodes, [square("weight", TensorProto.FLOAT16), *scales])
    single = save(tmp_path / "single.onnx", [matmul("input", "input", "output")], [])

    assert read_precision(str(path)) == "int8"
    assert computes_in_half(str(path))
    assert computes_in_half(path.read_bytes())
    assert not computes_in_half(single.read_bytes())
    assert not computes_in_half(b"")


def test_a_branch_is_looked_into(tmp_path):
    def branch(name):
        return helper.make_graph(
            [matmul("half", "half", f"{name}_made")],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_made", TensorProto.FLOAT16, [4, 4])],
        )

    nodes = [
        cast("input", "half", TensorProto.FLOAT16),
        helper.make_node("If", ["which"], ["made"], then_branch=branch("yes"), else_branch=branch("no")),
        cast("made", "output", TensorProto.FLOAT),
    ]
    weights = [numpy_helper.from_array(np.array(True), "which")]

    assert read_precision(str(save(tmp_path / "net.onnx", nodes, weights))) == "fp16"


def test_a_converted_network_is_what_it_was_converted_to(tmp_path):
    write_layer(tmp_path / "layer.onnx", "fp32")
    half, _ = to_half(onnx.load(tmp_path / "layer.onnx"))
    onnx.save(half, tmp_path / "half.onnx")

    assert read_precision(str(tmp_path / "half.onnx")) == "fp16"


def test_a_file_that_is_cut_off_or_none_is_nothing(tmp_path):
    write_layer(tmp_path / "layer.onnx", "fp16")
    whole, cut = (tmp_path / "layer.onnx").read_bytes(), tmp_path / "cut.onnx"
    found = set()
    for length in range(len(whole) - 8):  # the graph is followed by the operator set
        cut.write_bytes(whole[:length])
        found.add(read_precision(str(cut)))
    for content in (b"not a network", bytes(200), b"\xff" * 200):
        cut.write_bytes(content)
        found.add(read_precision(str(cut)))

    assert found == {""}


WRONG = {  # what the file computes in, what is asked for, what is said
    "half of single": ("fp32", "fp16", "precision comes from the graph here, and this one computes in fp32"),
    "eight bits of single": ("fp32", "int8", "it holds no Q/DQ pairs"),
    "single of half": ("fp16", "fp32", "it computes in fp16 itself; ask for that"),
    "half of eight bits": ("int8", "fp16", "it is quantised to int8 itself; ask for that"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("runner", ["tensorrt", "trtexec"])
def test_the_agent_builds_nothing_that_would_be_called_wrong(bare_board, cudart, runner, name):
    holds, asked, said = WRONG[name]
    arm(bare_board, cudart, runner, typed=True)

    network = {"model": str(bare_board.root / f"home/{holds}.onnx")}
    last = bare_board.bench(precision=asked, network=network)[-1]

    assert (last["event"], last["kind"]) == ("error", "request")
    assert said in last["reason"]
    assert not bare_board.told("builds")
    assert not bare_board.told("trtexec")


@pytest.mark.parametrize("runner", ["tensorrt", "trtexec"])
def test_flags_do_not_quantise(bare_board, cudart, runner):
    arm(bare_board, cudart, runner, typed=False)

    last = bare_board.bench(precision="int8", network={"model": str(bare_board.root / "home/fp32.onnx")})[-1]

    assert (last["event"], last["kind"]) == ("error", "request")
    assert "it holds no Q/DQ pairs" in last["reason"]


def test_a_trtexec_that_lacks_a_precision_does_not_build_another(bare_board):
    bare_board.set("trtexec", lacks=["int8"])

    last = bare_board.bench(precision="int8")[-1]

    assert (last["event"], last["kind"]) == ("error", "tensorrt")
    assert "no --int8, so it builds no int8" in last["reason"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("runner", ["tensorrt", "trtexec"])
def test_what_the_graph_holds_is_built_without_flags(bare_board, cudart, runner, precision):
    arm(bare_board, cudart, runner, typed=True)

    found = bare_board.recording(precision=precision, load_s=0.0)

    assert found.failure == ""
    assert (found.conditions["runner"], found.conditions["precision_from"]) == (runner, "graph")


def arm(board, cudart, runner, *, typed):
    """Give a bare board one way to TensorRT: with types alone, or with flags."""
    if runner == "trtexec":
        board.set("trtexec", version="11.1" if typed else "8.2")
        return
    if cudart is None:
        pytest.skip("no gcc to compile the CUDA library of the board with")
    board.give_cuda(cudart)
    board.install("tensorrt", version=TYPED if typed else "8.2.1")


def typed_machine(here, runner):
    """This machine is a board whose TensorRT takes precision from the graph alone."""
    here.set("tensorrt", version=TYPED)
    here.set("trtexec", version="11.1")
    if runner == "trtexec":
        shutil.rmtree(here.modules / "tensorrt")


def sent(here):
    """The file that was built, as ONNX reads it."""
    (file,) = (here.root / "home/.cache/edgesynth/models").glob("*.onnx")
    return onnx.load(file)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["tensorrt", "trtexec"])
def test_half_precision_of_a_network_in_single_is_measured_in_half(here, model, runner):
    typed_machine(here, runner)

    with edgesynth.open_device("jetson-tx2", link="local", mode="MAXN") as device:
        found = profile(model, device, MeasurementPlan("fp16", **PLAN))

    assert found.status in UNFAILED, found.reason
    assert (found.conditions["precision"], found.conditions["precision_from"]) == ("fp16", "graph")
    built = sent(here)
    (weight,) = built.graph.initializer
    assert weight.data_type == TensorProto.FLOAT16
    assert [value.type.tensor_type.elem_type for value in (*built.graph.input, *built.graph.output)] == [
        TensorProto.FLOAT
    ] * 2
    if runner == "tensorrt":
        told = json.loads(here.told("builds")[-1])
        assert (told["typed"], told["flags"]) == (True, [])


@pytest.mark.slow
def test_a_network_with_branches_is_measured_in_half_too(here, tmp_path):
    typed_machine(here, "tensorrt")
    onnx.save(branches(), tmp_path / "branches.onnx")

    with edgesynth.open_device("jetson-tx2", link="local", mode="MAXN") as device:
        found = profile(tmp_path / "branches.onnx", device, MeasurementPlan("fp16", **PLAN))

    assert found.status in UNFAILED, found.reason
    assert (found.conditions["precision"], found.conditions["precision_from"]) == ("fp16", "graph")
    inside = [
        tensor.data_type
        for node in sent(here).graph.node
        if node.op_type == "If"
        for entry in node.attribute
        for tensor in entry.g.initializer
    ]
    assert inside == [TensorProto.FLOAT16] * 2


@pytest.mark.parametrize(
    ("holds", "asked", "said"),
    [
        ("fp32", "int8", "edgesynth export --precision int8 --data quantises it"),
        ("int8", "fp16", "it is quantised to int8 itself"),
        ("fp16", "fp32", "it computes in fp16 itself"),
    ],
)
def test_a_host_asks_for_no_engine_that_would_be_called_wrong(here, tmp_path, holds, asked, said):
    here.write("proc/device-tree/compatible", "nvidia,p3737\0nvidia,tegra234\0")
    write_layer(tmp_path / "net.onnx", holds)

    with (
        edgesynth.open_device("jetson-orin-nano", link="local") as device,
        pytest.raises(InputError, match=f"net.onnx cannot run in {asked} on jetson-orin-nano: .*{said}"),
    ):
        profile(tmp_path / "net.onnx", device, MeasurementPlan(asked, **PLAN))
    assert not here.told("builds")


@pytest.mark.slow
def test_a_board_with_flags_gets_the_file_itself(here, model):
    with edgesynth.open_device("jetson-tx2", link="local", mode="MAXN") as device:
        found = profile(model, device, MeasurementPlan("fp16", **PLAN))

    assert found.status in UNFAILED, found.reason
    assert found.conditions["precision_from"] == "flags"
    assert sent(here) == onnx.load(model)
    assert json.loads(here.told("builds")[-1])["flags"] == ["FP16"]


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["tensorrt", "trtexec"])
def test_candidates_of_a_synthesis_are_measured_in_half_too(here, runner):
    typed_machine(here, runner)
    layers = (torch.nn.Conv2d(3, 16, 1), torch.nn.ReLU(), torch.nn.Conv2d(16, 4, 1))
    module, example = torch.nn.Sequential(*layers), (torch.zeros(1, 3, 8, 8),)
    cost = Prototype(module, example).cost()

    with edgesynth.open_device("jetson-tx2", link="local", mode="MAXN") as device:
        ahead = MeasuringAhead(device, example)
        ahead.begin({"candidate": (module, cost)})
        found = ahead.take("candidate")

    assert found.status in UNFAILED, found.reason
    assert (found.conditions["precision"], found.conditions["precision_from"]) == ("fp16", "graph")
    weights = {weight.data_type for weight in sent(here).graph.initializer}
    assert weights == {TensorProto.FLOAT16}


@pytest.mark.slow
@pytest.mark.ssh
def test_a_board_elsewhere_gets_a_file_that_computes_in_half(remote, model):
    remote.board.set("tensorrt", version=TYPED, call_ms=4.0)

    done = remote.run(
        *("bench", "model.onnx", "--device", "jetson-tx2", "--mode", "MAXN", "--window", "3"),
        *("--precision", "fp16", "--quiet", "--json"),
    )

    assert done.returncode in (0, 3), done.stderr  # 3 where this machine is so busy that nothing is concluded
    shown = json.loads(done.stdout)
    assert shown["network"] == "model"
    conditions = shown["conditions"]
    assert (conditions["tensorrt"], conditions["precision"]) == (TYPED, "fp16")
    assert conditions["precision_from"] == "graph"
    (told,) = map(json.loads, remote.board.told("builds"))
    assert (told["typed"], told["flags"]) == (True, [])
    (file,) = (remote.work / "models").glob("*.onnx")
    assert read_precision(str(file)) == "fp16"
