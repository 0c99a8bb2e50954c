"""A network is measured on a device by one command, and every figure says what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from edgesynth.cli.bench import _circumstances
from edgesynth.deploy.onnx import export_onnx


def test_a_zoo_network_on_the_simulated_board_is_labelled_simulated(edgesynth: Callable[..., Any]) -> None:
    shown = edgesynth("bench", "resnet8", "--device", "jetson-tx2", "--json").json
    assert shown["status"] == "ok"
    assert {metric["provenance"] for metric in shown["metrics"].values()} <= {"simulated", "computed"}
    assert shown["metrics"]["inferences_per_joule"]["value"] > 0


def test_an_onnx_file_is_measured_as_it_is(edgesynth: Callable[..., Any], folder: Path) -> None:
    export_onnx(nn.Conv2d(1, 4, 3), torch.randn(1, 1, 8, 8), folder / "own.onnx")
    outcome = edgesynth("bench", "own.onnx", "--device", "jetson-tx2")
    assert outcome.code == 0
    assert "own on NVIDIA Jetson TX2 (simulated, MAXN), simulated" in outcome.out
    assert "inferences per joule" in outcome.out
    assert "energy per inference: VDD_4V0_WIFI" in outcome.out


def declaring(folder: Path, opset: int) -> str:
    """A file that says so, whatever is in it."""
    export_onnx(nn.Conv2d(1, 4, 3), torch.randn(1, 1, 8, 8), folder / "own.onnx", opset=13)
    model = onnx.load(folder / "own.onnx")
    model.opset_import[0].version = opset
    onnx.save(model, folder / "own.onnx")
    return "own.onnx"


def test_a_file_newer_than_the_board_reads_is_converted_and_that_is_said(
    edgesynth: Callable[..., Any], folder: Path
) -> None:
    outcome = edgesynth("bench", declaring(folder, 18), "--device", "jetson-tx2")
    assert outcome.code == 0
    assert "own.onnx was converted from opset 18 to 13, which jetson-tx2 reads" in outcome.err


@pytest.mark.parametrize("device", ["jetson-tx2", "host-cpu"])
def test_an_opset_that_nobody_knows_is_refused(
    edgesynth: Callable[..., Any], folder: Path, device: str
) -> None:
    outcome = edgesynth("bench", declaring(folder, 99), "--device", device)
    assert outcome.code == 2
    assert "own.onnx declares opset 99, and the newest that is known here is" in outcome.err


def test_measuring_twice_gives_the_same_simulated_figures(edgesynth: Callable[..., Any]) -> None:
    command = ("bench", "resnet8", "--device", "jetson-tx2", "--json")
    assert edgesynth(*command).out == edgesynth(*command).out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["absent.onnx", "--device", "jetson-tx2"], 2, "no ONNX file absent.onnx"),
        ([".", "--device", "jetson-tx2"], 2, ". is a folder; give the ONNX file in it, e.g. network.onnx"),
        (["resnet8", "--device", "jetson-tx3"], 2, "did you mean 'jetson-tx2'"),
        (["resnet8", "--device", "jetson-tx2", "--precision", "int8"], 2, "cannot run int8"),
        (["resnet8", "--device", "jetson-tx2", "--mode", "MAXX"], 2, "did you mean"),
        (["resnet8", "--device", "jetson-tx2", "--link", "carrier-pigeon"], 3, "cannot be reached"),
        (["resnet8", "--device", "host-cpu", "--link", "local", "--link", "local"], 2, "only once"),
        (["a.onnx", "--device", "jetson-tx2", "--input", "1x1"], 2, "--input is for modules"),
        (["resnet8", "--device", "jetson-tx2", "--cuda-graph"], 2, "launches nothing as a CUDA graph"),
        (["resnet8", "--device", "host-cpu", "--cuda-graph"], 2, "that is for TensorRT on a real board"),
    ],
)
def test_what_cannot_be_measured_says_why(
    edgesynth: Callable[..., Any], folder: Path, arguments: list[str], code: int, said: str
) -> None:
    outcome = edgesynth("bench", *arguments, "--quiet")
    assert outcome.code == code
    assert said in outcome.err
    assert outcome.out == ""


def test_a_file_that_is_no_onnx_model_is_refused(edgesynth: Callable[..., Any], folder: Path) -> None:
    (folder / "junk.onnx").write_text("this is not a model")
    outcome = edgesynth("bench", "junk.onnx", "--device", "jetson-tx2")
    assert outcome.code == 2
    assert "junk.onnx" in outcome.err


@pytest.mark.parametrize(
    ("settled", "told"),
    [
        (True, "warmed up for 1.3 s until the latency had settled"),
        (False, "warmed up for 1.3 s; the latency had not settled"),
        (None, "warmed up for 1.3 s; too few calls to tell whether the latency had settled"),
    ],
)
def test_how_a_warm_up_ended_is_shown(settled: bool | None, told: str) -> None:
    assert list(_circumstances({"warm_up_s": 1.26, "settled": settled})) == [told]


def test_nothing_is_said_of_a_warm_up_that_nobody_told_of() -> None:
    assert list(_circumstances({"latency_runs": 400})) == []


def test_the_speed_that_times_are_told_at_is_shown_with_what_the_clock_said() -> None:
    conditions = {"speed_ms": 0.5, "latency_as_timed_ms": 1.25, "blocks": 40, "blocks_at_speed": 37}
    assert list(_circumstances(conditions)) == [
        "times are as of a speed at which a reference load takes 0.5000 ms; the clock said 1.2500 ms in the "
        "median of the 37 of 40 blocks of calls that were near it"
    ]
    assert list(_circumstances({**conditions, "latency_as_timed_ms": None})) == []
    for lost in ("speed_ms", "blocks", "blocks_at_speed"):  # of a line that was damaged
        assert list(_circumstances({k: v for k, v in conditions.items() if k != lost})) == []
