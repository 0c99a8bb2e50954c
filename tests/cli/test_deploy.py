"""What can be wrong with a deployment is said in one line before a board is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgesynth.deploy.onnx import export_onnx
from edgesynth.runs import Run

NOWHERE = ("--device", "jetson-tx2", "--link", "ssh://127.0.0.1:9")


@pytest.fixture
def net(folder: Path) -> Path:
    torch.manual_seed(0)
    return export_onnx(torch.nn.Linear(4, 2), torch.zeros(1, 4), folder / "net.onnx").path


def prepare(folder: Path) -> None:
    """Files that are wrong, each in its way."""
    (folder / "junk.onnx").write_text("no model")
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken/manifest.json").write_text("{")
    (folder / "labels.txt").write_text("\n \n")
    (folder / "twice.txt").write_bytes(b"\xef\xbb\xbfcat\r\ncat\r\n")
    Run.create(folder / "run", {"space": []}).close()
    for operator, output in (("Det", [1]), ("Relu", [1, 2, 2])):
        graph = helper.make_graph(
            [helper.make_node(operator, ["x"], ["y"], name="the_node")],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        )
        whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(whole, str(folder / f"{operator}.onnx"))
    np.savez(folder / "other.npz", picture=np.zeros((4, 3), np.float32))


BAD = [
    ((), "nothing to do: give a NETWORK, or --list"),
    (("net.onnx", "--list"), "NETWORK and --list exclude each other"),
    (("--list", "--rollback", "net"), "--list and --rollback exclude each other"),
    (("nowhere.onnx",), "there is no network nowhere.onnx"),
    (("empty",), "holds no network.onnx"),
    (("junk.onnx",), "junk.onnx"),
    (("broken",), "the bundle in broken is damaged: its manifest.json cannot be read"),
    (("net.onnx", "--seed", "3"), "--seed is for a run folder, and net.onnx is none"),
    (("run",), "run is a run; say which of its networks, with --seed NUMBER"),
    (("net.onnx", "--precision", "int8"), "no INT8 dot product"),
    (("net.onnx", "--labels", "labels.txt"), "labels.txt is empty; write one name per line"),
    (("net.onnx", "--labels", "twice.txt"), "twice.txt names 'cat' twice"),
    (("Det.onnx",), "Det.onnx cannot run on jetson-tx2, whatever its TensorRT: the_node (Det):"),
    (("net.onnx", "--data", "nowhere.npz"), "there is no file nowhere.npz"),
    (("net.onnx", "--data", "other.npz"), "other.npz"),
    (("Relu.onnx", "--batch", "4", "--input", "4x3x3"), "4x3x3 does not fit the input"),
    (("net.onnx", "--labels", "nowhere.txt"), "the labels in nowhere.txt cannot be read"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[said[:30] for _, said in BAD])
def test_bad_input_is_one_line_and_exit_code_2(
    edgesynth: Callable[..., Any], folder: Path, net: Path, arguments: tuple[str, ...], said: str
) -> None:
    prepare(folder)

    outcome = edgesynth("deploy", *arguments, *NOWHERE)

    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert said in line
    assert outcome.out == ""


def test_int8_without_data_is_said_before_a_board_is_asked(edgesynth: Callable[..., Any], net: Path) -> None:
    outcome = edgesynth(
        *("deploy", "net.onnx", "--precision", "int8", "--device", "jetson-orin-nano"),
        *("--link", "ssh://127.0.0.1:9"),
    )

    assert outcome.code == 2
    assert "INT8 needs real inputs to calibrate on" in outcome.err


def test_a_simulated_board_is_no_place_to_deploy_to(edgesynth: Callable[..., Any], net: Path) -> None:
    for arguments in (("deploy", "net.onnx"), ("deploy", "--list"), ("run", "net", "x.npy")):
        np.save("x.npy", np.zeros((1, 4), np.float32))
        outcome = edgesynth(*arguments, "--device", "jetson-tx2")
        assert outcome.code == 2
        assert "builds no TensorRT engine; give --link ssh://user@board" in outcome.err


def test_a_board_that_is_not_there_is_exit_code_3(edgesynth: Callable[..., Any], net: Path) -> None:
    outcome = edgesynth("deploy", "net.onnx", "--quiet", *NOWHERE)

    assert outcome.code == 3
    assert "refused the connection" in outcome.err


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (("nowhere.npy",), "nowhere.npy cannot be read"),
        (("several.npz",), "holds several arrays"),
        (("objects.npy",), "objects.npy cannot be read"),
        (("x.npy", "x.npy"), "say which input each array is for"),
    ],
)
def test_arrays_that_cannot_be_read_are_named(
    edgesynth: Callable[..., Any], folder: Path, inputs: tuple[str, ...], said: str
) -> None:
    np.save(folder / "x.npy", np.zeros(4))
    np.savez(folder / "several.npz", a=np.zeros(4))
    np.save(folder / "objects.npy", np.array([json], dtype=object).astype(str).astype(object))

    outcome = edgesynth("run", "net", *inputs, *NOWHERE)

    assert outcome.code == 2
    assert said in outcome.err


@pytest.mark.parametrize(
    ("types", "said"),
    [
        (("int32",), "--type takes NAME=TYPE, such as best=int32, not 'int32'"),
        (("=int32",), "--type takes NAME=TYPE, such as best=int32, not '=int32'"),
        (
            ("best=",),
            "'' is no type of TensorRT; those are bool, float16, float32, int32, int64, int8, uint8",
        ),
        (("best=double",), "'double' is no type of TensorRT"),
        (("best=int32", "best=bool"), "--type says 'best' twice"),
    ],
)
def test_types_that_nothing_has_are_named(
    edgesynth: Callable[..., Any], folder: Path, types: tuple[str, ...], said: str
) -> None:
    np.save(folder / "x.npy", np.zeros(4))
    options = [part for text in types for part in ("--type", text)]

    outcome = edgesynth("run", "net", "x.npy", *options, *NOWHERE)

    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert said in line
