"""Before a board is asked: what its TensorRT cannot take is named; what nobody knows is not called fine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgesynth.deploy.onnx import export_onnx
from edgesynth.deploy.opset import convert_opset
from edgesynth.deploy.parser_facts import opset_range, standing
from edgesynth.deploy.preflight import Preflight, preflight
from edgesynth.deploy.runners import OnnxRunner
from edgesynth.devices import list_profiles, load_profile
from edgesynth.devices.release import parse_release
from edgesynth.errors import InputError
from edgesynth.zoo import build, prototype_names

TX2, XAVIER, ORIN, THOR = "jetson-tx2", "jetson-xavier-nx", "jetson-orin-nano", "jetson-thor"
F, I64 = TensorProto.FLOAT, TensorProto.INT64


def model(
    nodes: Sequence[onnx.NodeProto],
    *,
    opset: int = 13,
    shape: Sequence[int | str] = (1, 3, 8, 8),
    kind: int = F,
    out: int | None = None,
    constants: dict[str, np.ndarray[Any, Any]] | None = None,
    extra: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", kind, list(shape)), *extra],
        [helper.make_tensor_value_info("y", out or kind, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def node(operator: str, *inputs: str, outputs: Sequence[str] = ("y",), **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(
        operator, list(inputs) or ["x"], list(outputs), name=f"the_{operator}", **attributes
    )


def judge(graph: onnx.ModelProto, device: str = TX2, **options: Any) -> Preflight:
    return preflight(graph, load_profile(device), **options)


@pytest.mark.parametrize("name", prototype_names())
def test_every_zoo_network_is_read_by_every_jetson(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = export_onnx(build(name), torch.zeros(2, 1, 32, 32), tmp_path / "net.onnx").path
    for device in list_profiles():
        if device.startswith("jetson"):
            verdict = preflight(path, load_profile(device))
            assert verdict
            assert verdict.verdict == "read", (device, verdict.findings)


FLOATS = np.ones(3, dtype=np.float32)
REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str, str]] = {
    "an opset above the parser's": (lambda: model([node("Relu")], opset=17), TX2, "opset 17"),
    "a free axis besides the batch": (
        lambda: model([node("Relu")], shape=(1, 3, "h", 8)),
        ORIN,
        "free axes [2]",
    ),
    "an input without a shape": (
        lambda: helper.make_model(
            helper.make_graph(
                [node("Relu")],
                "g",
                [helper.make_tensor_value_info("x", F, None)],
                [helper.make_tensor_value_info("y", F, None)],
            ),
            opset_imports=[helper.make_opsetid("", 13)],
        ),
        TX2,
        "without a shape",
    ),
    "no inputs": (
        lambda: helper.make_model(
            helper.make_graph(
                [node("Identity", "c")],
                "g",
                [],
                [helper.make_tensor_value_info("y", F, [3])],
                [onnx.numpy_helper.from_array(np.ones(3, np.float32), "c")],
            ),
            opset_imports=[helper.make_opsetid("", 13)],
        ),
        TX2,
        "it takes no inputs",
    ),
    "GridSample before 8.5": (
        lambda: model([node("GridSample", "x", "x")], opset=16),
        TX2,
        "8.2 does not read",
    ),
    "GridSample in five axes": (
        lambda: model([node("GridSample", "x", "x")], opset=20, shape=(1, 1, 2, 2, 3)),
        ORIN,
        "5 axes",
    ),
    "LayerNormalization before 8.6": (
        lambda: model([node("LayerNormalization", "x", "s")], opset=17, constants={"s": FLOATS}),
        XAVIER,
        "known from 8.6",
    ),
    "GroupNormalization before 8.6": (
        lambda: model(
            [node("GroupNormalization", "x", "s", "s", num_groups=1)], opset=18, constants={"s": FLOATS}
        ),
        XAVIER,
        "known from 8.6",
    ),
    "an int64 Range with computed limits": (
        lambda: model([node("Range", "x", "x", "x")], shape=(), kind=I64),
        TX2,
        "computed INT64 limits",
    ),
    "a cubic Resize": (
        lambda: model([node("Resize", "x", "", "s", mode="cubic")], constants={"s": np.ones(4, np.float32)}),
        ORIN,
        "mode 'cubic'",
    ),
    "an antialiased Resize": (
        lambda: model(
            [node("Resize", "x", "", "s", mode="linear", antialias=1)],
            opset=18,
            constants={"s": np.ones(4, np.float32)},
        ),
        ORIN,
        "antialiasing",
    ),
    "strings": (
        lambda: model([node("Identity")], shape=(1,), kind=TensorProto.STRING),
        THOR,
        "STRING is not read",
    ),
    "bfloat16 before 9": (lambda: model([node("Relu")], kind=TensorProto.BFLOAT16), TX2, "BFLOAT16"),
    "more axes than a tensor has": (lambda: model([node("Relu")], shape=(1,) * 9), THOR, "at most 8"),
    "indices of a pool": (
        lambda: model([node("MaxPool", outputs=("y", "i"), kernel_shape=[2, 2])]),
        THOR,
        "output of indices",
    ),
    "a pool over four axes": (
        lambda: model([node("MaxPool", kernel_shape=[2] * 4)], shape=(1, 1, 4, 4, 4, 4)),
        TX2,
        "4 spatial axes",
    ),
    "a computed weight": (
        lambda: model([node("Conv", "x", "x")], shape=(1, 1, 3, 3)),
        TX2,
        "must be an initializer",
    ),
    "boxes by computed limits": (
        lambda: model(
            [node("NonMaxSuppression", "b", "b", "x")],
            shape=(1,),
            kind=I64,
            extra=[helper.make_tensor_value_info("b", F, [1, 2, 4])],
        ),
        TX2,
        "max_output_boxes_per_class",
    ),
    "an operator of another domain": (
        lambda: helper.make_model(
            model([helper.make_node("FusedConv", ["x"], ["y"], name="fused", domain="com.microsoft")]).graph,
            opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)],
        ),
        THOR,
        "'com.microsoft'",
    ),
    "an asymmetric zero point": (
        lambda: model(
            [node("QuantizeLinear", "x", "s", "z")],
            out=TensorProto.INT8,
            constants={"s": np.float32(1), "z": np.int8(3)},
        ),
        ORIN,
        "zero point is not 0",
    ),
    "quantisation to UINT8": (
        lambda: model(
            [node("QuantizeLinear", "x", "s", "z")],
            out=TensorProto.UINT8,
            constants={"s": np.float32(1), "z": np.uint8(0)},
        ),
        ORIN,
        "quantises to UINT8",
    ),
    "Q/DQ where the device has no INT8": (
        lambda: model(
            [node("QuantizeLinear", "x", "s", "z")],
            out=TensorProto.INT8,
            constants={"s": np.float32(1), "z": np.int8(0)},
        ),
        TX2,
        "dp4a",
    ),
    "batch norm in training": (
        lambda: model(
            [node("BatchNormalization", "x", *"ssss", outputs=("y", "m", "v"), training_mode=1)],
            opset=15,
            constants={"s": FLOATS},
        ),
        ORIN,
        "training_mode",
    ),
    "a wide TopK": (
        lambda: model(
            [node("TopK", "x", "k", outputs=("y", "i"))],
            shape=(1, 5000),
            constants={"k": np.array([4000])},
        ),
        ORIN,
        "below 3840",
    ),
    "an operator no release has": (lambda: model([node("Det")]), THOR, "does not read it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_is_refused_with_its_reason(case: str) -> None:
    make, device, reason = REFUSED[case]
    verdict = judge(make(), device)
    assert not verdict
    assert verdict.verdict == "refused"
    assert any(reason in found.reason for found in verdict.refusals), verdict.findings
    assert all(found.advice for found in verdict.findings)


UNKNOWN: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "an operator no table has": (lambda: model([node("Swish")], opset=24), ORIN),
    "an operator that came between two tables": (lambda: model([node("Gelu")], opset=20), ORIN),
    "an operator in no table up to the newest": (lambda: model([node("Mish")], opset=18), THOR),
    "an opset below the documented range": (lambda: model([node("Relu")], opset=8), THOR),
    "a comparison of bytes": (
        lambda: model([node("Greater", "x", "x")], kind=TensorProto.UINT8, out=TensorProto.BOOL),
        THOR,
    ),
    "a pool of another norm": (lambda: model([node("LpPool", kernel_shape=[2, 2], p=3)], opset=18), THOR),
    "an opset between two tables": (lambda: model([node("Relu")], opset=22), ORIN),
    "one spatial axis": (
        lambda: model(
            [node("Conv", "x", "w")], shape=(1, 3, 8), constants={"w": np.ones((4, 3, 3), np.float32)}
        ),
        TX2,
    ),
    "arithmetic the table lists for floats alone": (
        lambda: model([node("ReduceMax")], kind=TensorProto.INT32),
        TX2,
    ),
    "half precision in the graph before 8.4": (lambda: model([node("Relu")], kind=TensorProto.FLOAT16), TX2),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_nobody_knows_is_unknown_and_never_read(case: str) -> None:
    make, device = UNKNOWN[case]
    verdict = judge(make(), device)
    assert verdict
    assert verdict.verdict == "unknown", verdict.findings


def test_a_device_whose_tensorrt_is_not_known_is_unknown(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "profiles/jetson-orin-nano.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text("\n".join(line for line in text.splitlines() if not line.startswith("tensorrt")))
    assert judge(model([node("Relu")]), str(own)).verdict == "unknown"


def test_nodes_of_subgraphs_are_judged_too() -> None:
    def branch(name: str, operator: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, F, [1])
        return helper.make_graph([helper.make_node(operator, ["x"], [name], name=name)], name, [], [out])

    chosen = helper.make_node(
        "If", ["c"], ["y"], then_branch=branch("a", "Det"), else_branch=branch("b", "Relu")
    )
    verdict = judge(
        model([chosen], shape=(1,), extra=[helper.make_tensor_value_info("c", TensorProto.BOOL, [])]), ORIN
    )
    assert [found.node for found in verdict.refusals] == ["a"]
    assert verdict.nodes == 3


def test_branches_of_different_rank_are_refused() -> None:
    def branch(name: str, shape: list[int]) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, F, shape)
        return helper.make_graph([helper.make_node("Relu", ["x"], [name])], name, [], [out])

    chosen = helper.make_node(
        "If", ["c"], ["y"], then_branch=branch("a", [1]), else_branch=branch("b", [1, 1])
    )
    verdict = judge(
        model([chosen], shape=(1,), extra=[helper.make_tensor_value_info("c", TensorProto.BOOL, [])]), ORIN
    )
    assert any("1 and 2 axes" in found.reason for found in verdict.refusals)


@pytest.mark.parametrize(
    ("after", "scanned", "verdict"),
    [(["n", 3], False, "read"), (["n", 4], False, "unknown"), (["n", 3], True, "unknown")],
)
def test_a_loop_is_read_whose_state_keeps_its_shape(
    after: list[int | str], scanned: bool, verdict: str
) -> None:
    value, kinds = helper.make_tensor_value_info, TensorProto
    turn = [helper.make_node("Identity", ["go"], ["more"]), helper.make_node("Relu", ["was"], ["is"])]
    inner = [value("turn", kinds.INT64, []), value("go", kinds.BOOL, []), value("was", F, ["n", 3])]
    given = [value("more", kinds.BOOL, []), value("is", F, after)]
    if scanned:
        turn.append(helper.make_node("Identity", ["is"], ["row"]))
        given.append(value("row", F, ["n", 3]))
    outputs = ["y", "rows"] if scanned else ["y"]
    loop = node("Loop", "turns", "yes", "x", outputs=outputs, body=helper.make_graph(turn, "b", inner, given))
    graph = model([loop], shape=("n", 3), constants={"turns": np.array(4, np.int64), "yes": np.array(True)})

    found = judge(graph, ORIN)

    assert found.verdict == verdict
    assert bool(found.findings) == (verdict == "unknown")


def test_doubles_and_large_integers_are_noted_but_taken() -> None:
    double = judge(model([node("Relu")], kind=TensorProto.DOUBLE))
    assert {found.verdict for found in double.findings} == {"noted"}
    large = judge(model([node("Add", "x", "k")], kind=I64, constants={"k": np.array([2**40])}))
    assert large
    assert any("clamped to INT32" in found.reason for found in large.findings)


def test_a_fixed_batch_that_is_not_the_one_wanted_is_refused() -> None:
    fixed = model([node("Relu")], shape=(4, 3, 8, 8))
    assert judge(fixed)
    assert not judge(fixed, batch=1)
    assert judge(fixed, batch=4)
    assert judge(model([node("Relu")], shape=("batch", 3, 8, 8)), batch=7)


def test_external_data_that_is_missing_or_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    weights = {"w": np.ones((64, 3, 3, 3), np.float32)}
    onnx.save(
        model([node("Conv", "x", "w")], constants=weights),
        str(path),
        save_as_external_data=True,
        location="net.data",
        size_threshold=0,
    )
    assert preflight(path, load_profile(TX2))
    (tmp_path / "net.data").write_bytes(b"cut")
    assert "cut off" in preflight(path, load_profile(TX2)).refusals[0].reason
    (tmp_path / "net.data").unlink()
    assert "missing" in preflight(path, load_profile(TX2)).refusals[0].reason


def test_int8_is_refused_with_the_profiles_own_reason() -> None:
    with pytest.raises(InputError, match="dp4a"):
        judge(model([node("Relu")]), TX2, precision="int8")


def test_a_host_runs_no_tensorrt() -> None:
    with pytest.raises(InputError, match="no TensorRT"):
        judge(model([node("Relu")]), "host-cpu")


@pytest.mark.parametrize("content", [b"", b"this is not a model", bytes(range(256))])
def test_what_is_no_model_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"junk\.onnx"):
        preflight(path, load_profile(TX2))


def test_findings_of_one_kind_are_one_row_and_json_has_them_all() -> None:
    many = model([node("Det", "x", outputs=("a",)), node("Det", "x", outputs=("b",)), node("Relu")])
    verdict = judge(many)
    rows = [row for row in verdict.rows() if row[2] == "Det"]
    assert len(rows) == 1
    assert rows[0][1] == "the_Det and 1 more"
    shown = verdict.to_json()
    assert shown["verdict"] == "refused"
    assert len([found for found in shown["findings"] if found["operator"] == "Det"]) == 2


def on_seven(graph: onnx.ModelProto, version: str = "7.1.3") -> Preflight:
    """As a TX2 with JetPack 4.4 would judge it."""
    known = load_profile(TX2)
    software, compiler = replace(known.software, tensorrt=version), replace(known.compiler, opset=11)
    return preflight(graph, replace(known, software=software, compiler=compiler))


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (lambda: model([node("Relu")], opset=13), "opset 13; TensorRT 7.1.3 reads 7 to 11"),
        (lambda: model([node("Round")], opset=11), "TensorRT 7.1 does not read it"),
        (
            lambda: model(
                [node("Resize", "x", "", "s", mode="nearest")],
                opset=11,
                constants={"s": np.ones(4, np.float32)},
            ),
            "before 8 only asymmetric is read",
        ),
        (
            lambda: model(
                [node("Pad", "x", "p")], opset=11, constants={"p": np.array([0, 1, 0, 0, 0, 0, 0, 0])}
            ),
            "it pads other axes than the last two",
        ),
        (
            lambda: model([node("Pad", "x", pads=[0, 0, 1, 1] * 2, value=1.0)], opset=10),
            "or not with zeros",
        ),
        (
            lambda: model(
                [node("QuantizeLinear", "x", "s", "z")],
                opset=11,
                out=TensorProto.INT8,
                constants={"s": np.float32(0.1).reshape(()), "z": np.int8(0).reshape(())},
            ),
            "explicit quantisation is read from 8.0 on",
        ),
    ],
)
def test_what_tensorrt_7_does_not_read_is_refused(graph: Callable[[], onnx.ModelProto], said: str) -> None:
    verdict = on_seven(graph())

    assert any(said in found.reason for found in verdict.refusals), verdict.findings


def test_what_tensorrt_7_reads_and_what_nobody_says_of_7_1_are_told_apart() -> None:
    assert on_seven(model([node("Relu"), node("Erf")], opset=11), "7.2.3").verdict == "read"
    assert on_seven(model([node("Relu")], opset=11)).verdict == "read"
    assert on_seven(model([node("Erf")], opset=11)).verdict == "unknown"  # it came between 5.1 and 7.2
    twice = {"s": np.float32([1, 1, 2, 2])}
    assert on_seven(model([node("Resize", "x", "s")], opset=10, constants=twice), "7.2.3").verdict == "read"
    assert on_seven(model([node("Pad", "x", pads=[0, 0, 1, 1] * 2)], opset=10)).verdict == "read"
    zeros = {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    assert on_seven(model([node("Pad", "x", "p")], opset=11, constants=zeros)).verdict == "read"


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2"])
def test_a_zoo_network_goes_down_to_what_tensorrt_7_reads_and_means_the_same(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    path = export_onnx(build(name), torch.zeros(1, 1, 28, 28), tmp_path / "net.onnx").path

    lowered = convert_opset(onnx.load(path), 11)

    onnx.checker.check_model(lowered, full_check=True)
    assert not on_seven(lowered).refusals
    x = {"input": np.random.default_rng(0).normal(size=(1, 1, 28, 28)).astype(np.float32)}
    one, two = (OnnxRunner(each)(x) for each in (onnx.load(path), lowered))
    for label, value in one.items():
        np.testing.assert_allclose(two[label], value, rtol=1e-4, atol=1e-5)


def test_the_facts_say_what_their_sources_say() -> None:
    assert parse_release("10.13.3.9") == (10, 13)
    assert parse_release("") is None
    assert opset_range((8, 2)) == (7, 13)
    assert (opset_range((7, 1)), opset_range((7, 0))) == ((7, 11), None)
    assert opset_range((10, 16)) == (9, 24)
    assert [standing("NonZero", release) for release in ((8, 2), (8, 5))] == ["refused", "read"]
    assert standing("Det", (10, 16)) == "unknown"  # the newest table is of 10.15
