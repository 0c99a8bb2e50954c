"""A real TensorRT builder takes what we write: every network of the zoo, in every precision."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import detection_shapes
import pytest
import shape_scenes
import torch
from networks_with_tasks import case
from real_builder import (
    PRECISIONS,
    STRONGLY_TYPED,
    delivered,
    needs_builder,
    precision_of,
    was_built,
)

from edgesynth.deploy import rtx
from edgesynth.deploy.delivery import deliver
from edgesynth.deploy.onnx import export_onnx
from edgesynth.deploy.rtx import build_with_rtx, rtx_missing
from edgesynth.deploy.target import export_for_device
from edgesynth.errors import InputError, MissingDependencyError
from edgesynth.tasks import load_task
from edgesynth.zoo import PROTOTYPES, TaskKind, build, prototype_kind, prototype_names
from tests.deploy.networks import images, small, zoo

# Calibrating a deep network takes a while on a busy machine. These are quick, one of every kind of task.
FAST = {"resnet8", "lraspp", "centrenet"}


def _cases(fast: set[str]) -> list[Any]:
    return [
        pytest.param(name, precision, marks=[] if name in fast else [pytest.mark.slow])
        for name in prototype_names()
        for precision in PRECISIONS
    ]


@cache
def _task(kind: TaskKind) -> Any:
    """The smallest real pictures that a network of this kind is for."""
    if kind == "segmentation":
        return shape_scenes.shapes_task()
    return load_task("fashion-mnist-subset") if kind == "classification" else detection_shapes.shapes_task()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, dict[str, Any]]]:
    """Gives the FP32 file of a zoo network, made for those pictures, and some of them."""
    place = tmp_path_factory.mktemp("zoo")

    @cache
    def export(name: str) -> tuple[Path, dict[str, Any]]:
        task = _task(prototype_kind(name))
        torch.manual_seed(0)
        module = build(name, in_channels=task.input_shape[0], classes=len(task.classes)).train()
        batch = next(iter(task.batches("validation", batch_size=16, limit=16))).inputs
        with torch.no_grad():
            for _ in range(3):  # without statistics of batches a deep fresh network computes nothing
                module(batch)
        path = export_onnx(module.eval(), batch[:2], place / f"{name}.onnx").path
        return path, {"input": batch.numpy()}

    return export


@needs_builder
@pytest.mark.parametrize(("name", "precision"), _cases(FAST))
def test_every_zoo_network_builds(exported, tmp_path: Path, name: str, precision: str) -> None:
    path, data = exported(name)
    export = export_for_device(
        path, STRONGLY_TYPED, tmp_path / "out.onnx", precision=precision, data=data, methods=["min-max"]
    )
    assert precision_of(export.path) == precision
    was_built(build_with_rtx(export.path))


def test_every_name_of_the_zoo_is_built_in_every_precision() -> None:
    assert {case.values for case in _cases(FAST)} == {
        (name, precision) for name in PROTOTYPES for precision in ("fp32", "fp16", "int8")
    }
    assert {prototype_kind(name) for name in FAST} == set(get_args(TaskKind))


@needs_builder
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["resnet8", "mobilenetv2", "densenet", "shufflenetv2"])
@pytest.mark.slow
def test_slices_at_random_widths_build(tmp_path: Path, name: str, precision: str) -> None:
    _, path = zoo(name, tmp_path, seed=3, width=True)
    export = export_for_device(
        path, STRONGLY_TYPED, tmp_path / "out.onnx", precision=precision, data=images(16), methods=["min-max"]
    )
    was_built(build_with_rtx(export.path, batch=4))


@needs_builder
def test_a_builder_that_is_missing_is_no_reason_to_skip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not rtx_missing()
    _, path, _ = small(tmp_path)
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")
    with pytest.raises(MissingDependencyError, match=r"edgesynth\[rtx\]"):
        delivered(path, tmp_path / "out.onnx", "fp32", None)
    assert not (tmp_path / "out.onnx").exists()


@needs_builder
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


@needs_builder
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


@needs_builder
@pytest.mark.parametrize("precision", ["fp32", "fp16", pytest.param("int8", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["colours", "masks", "centre", pytest.param("grid", marks=pytest.mark.slow)])
def test_what_is_put_inside_builds(tmp_path: Path, name: str, precision: str) -> None:
    task, _, path = case(name, tmp_path)
    done = deliver(
        *(path, STRONGLY_TYPED, None),
        precision=precision,
        data=task,
        inside=("normalise", "answer"),
        must_build=True,
    )
    assert done, done.failures
    assert done.build is not None
    assert done.build.layers > 10
    assert done.export is not None
    assert ("classes" in done.export.outputs) == (name in ("centre", "grid"))
    assert done.samples is not None
    assert done.samples.data["input"].dtype == "uint8"
