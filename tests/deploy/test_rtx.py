"""A real TensorRT builder takes what we write; where it is not installed the tests say so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from networks_with_tasks import case

from edgesynth.deploy import rtx
from edgesynth.deploy.delivery import deliver
from edgesynth.deploy.rtx import build_with_rtx, rtx_missing
from edgesynth.deploy.target import export_for_device
from edgesynth.devices import load_profile
from edgesynth.errors import InputError, MissingDependencyError
from edgesynth.zoo import prototype_names
from tests.deploy.networks import images, small, zoo

needs_rtx = pytest.mark.skipif(bool(rtx_missing()), reason=rtx_missing())
THOR = load_profile("jetson-thor")
# Calibration of a deep network takes a while on a busy machine.
FAST = {"resnet8", "resnet20"}


def _cases() -> list[object]:
    cases = []
    for name in prototype_names():
        for precision in ("fp32", "fp16", "int8"):
            slow = precision == "int8" and name not in FAST
            cases.append(pytest.param(name, precision, marks=[pytest.mark.slow] if slow else []))
    return cases


@needs_rtx
@pytest.mark.parametrize(("name", "precision"), _cases())
def test_every_zoo_network_builds(tmp_path: Path, name: str, precision: str) -> None:
    _, path = zoo(name, tmp_path)
    export = export_for_device(
        path, THOR, tmp_path / "out.onnx", precision=precision, data=images(16), methods=["min-max"]
    )
    build = build_with_rtx(export.path)
    assert build, build.errors
    assert build.layers > 10
    assert build.bytes > 0
    assert build.version.startswith("1.")


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", ["resnet8", "mobilenetv2", "densenet", "shufflenetv2"])
@pytest.mark.slow
def test_generated_slices_build(tmp_path: Path, name: str, precision: str) -> None:
    _, path = zoo(name, tmp_path, seed=3, width=True)
    export = export_for_device(
        path, THOR, tmp_path / "out.onnx", precision=precision, data=images(16), methods=["min-max"]
    )
    build = build_with_rtx(export.path, batch=4)
    assert build, build.errors


@needs_rtx
def test_what_it_refuses_is_told_with_the_node(tmp_path: Path) -> None:
    import onnx

    _, path, _ = small(tmp_path)
    model = onnx.load(str(path))
    model.graph.node[0].op_type = "NotAnOperator"
    bad = tmp_path / "bad.onnx"
    onnx.save(model, str(bad))
    build = build_with_rtx(bad)
    assert not build
    assert "NotAnOperator" in " ".join(build.errors)


@needs_rtx
def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_text("this is not a model")
    build = build_with_rtx(junk)
    assert not build
    assert build.errors
    with pytest.raises(InputError, match=r"absent\.onnx"):
        build_with_rtx(tmp_path / "absent.onnx")


def _with_worker(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> Path:
    worker = folder / "worker.py"
    worker.write_text(program)
    monkeypatch.setattr(rtx, "_WORKER", worker)
    monkeypatch.setattr(rtx, "_MODULE", "json")  # any module that is installed
    model = folder / "any.onnx"
    model.write_bytes(b"")
    return model


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_crash_is_a_line_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _with_worker(monkeypatch, tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    build = build_with_rtx(model)
    assert not build
    assert build.errors == ("the builder ended by SIGSEGV",)


def test_an_error_of_the_process_is_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _with_worker(monkeypatch, tmp_path, "raise RuntimeError('no library')\n")
    assert build_with_rtx(model).errors == ("the builder failed with exit code 1: RuntimeError: no library",)


def test_a_build_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _with_worker(monkeypatch, tmp_path, "import time\ntime.sleep(60)\n")
    assert "did not finish in 0.5 s" in build_with_rtx(model, timeout_s=0.5).errors[0]


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")
    with pytest.raises(MissingDependencyError, match=r"edgesynth\[rtx\]"):
        build_with_rtx(tmp_path / "any.onnx")


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16", pytest.param("int8", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["colours", "masks", "centre", pytest.param("grid", marks=pytest.mark.slow)])
def test_what_is_put_inside_builds(tmp_path: Path, name: str, precision: str) -> None:
    task, _, path = case(name, tmp_path)
    done = deliver(
        *(path, THOR, None), precision=precision, data=task, inside=("normalise", "answer"), must_build=True
    )
    assert done, done.failures
    assert done.build is not None
    assert done.build.layers > 10
    assert done.samples is not None
    assert done.samples.data["input"].dtype == "uint8"
