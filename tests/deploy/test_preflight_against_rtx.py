"""What the pre-flight calls read for the newest TensorRT, a real parser of that generation reads."""

from __future__ import annotations

import importlib
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgesynth.deploy.preflight import preflight
from edgesynth.deploy.rtx import rtx_missing
from edgesynth.devices import load_profile
from edgesynth.errors import InputError

ROOT = Path(__file__).resolve().parents[2]

# TensorRT has them as plugins, which its edition for RTX does not bring along.
PLUGINS = {"DeformConv", "NonZero", "RoiAlign"}
# Single cases that no published restriction covers.
KNOWN = {
    "test_bernoulli_expanded",
    "test_matmul_1d_3d",
    "test_tensorscatter_3d",
    "test_upsample_nearest",
}


def newest(folder: Path) -> Path:
    """The profile of a Thor with the newest release that a Jetson gets."""
    text = (ROOT / "profiles" / "jetson-thor.toml").read_text()
    lines = [
        'tensorrt = "10.16.2"'
        if line.startswith("tensorrt =")
        else "opset = 24"
        if line.startswith("opset =")
        else line
        for line in text.splitlines()
    ]
    (folder / "newest.toml").write_text("\n".join(lines))
    return folder / "newest.toml"


@pytest.mark.slow
@pytest.mark.skipif(bool(rtx_missing()), reason=rtx_missing())
def test_what_is_called_read_is_read_by_a_real_parser(tmp_path: Path) -> None:
    from onnx.backend.test import loader

    trt: Any = importlib.import_module("tensorrt_rtx_bindings")
    logger, profile = trt.Logger(trt.Logger.INTERNAL_ERROR), load_profile(str(newest(tmp_path)))
    verdicts: Counter[str] = Counter()
    wrong = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = loader.load_model_tests(kind="node")
    for case in cases:
        if case.model is None:
            continue
        path = tmp_path / "case.onnx"
        onnx.save(case.model, str(path))
        try:
            verdict = preflight(path, profile).verdict
        except InputError:
            continue  # no graph with outputs, or none that can be read
        verdicts[verdict] += 1
        if verdict != "read":
            continue
        network = trt.Builder(logger).create_network(0)
        parser = trt.OnnxParser(network, logger)
        operators = {node.op_type for node in case.model.graph.node}
        if not parser.parse_from_file(str(path)) and not operators & PLUGINS and case.name not in KNOWN:
            wrong.append((case.name, parser.get_error(parser.num_errors - 1).desc()))
    assert not wrong
    assert verdicts["read"] > 500
    assert verdicts["refused"] > 200
