"""A detector goes the whole way: a generator, networks within a budget, ONNX with every output."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import edgesynth as es

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("name", "outputs"), [("detectnet", 2), ("centrenet", 6)])
def test_detectors_are_synthesised_within_a_budget(
    name: str, outputs: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run = request.getfixturevalue(f"{name}_run")
    assert run.result.met, run.result.shortfall
    for record in run.result.networks:
        metrics = {metric.name: metric for metric in record.metrics.values()}
        assert metrics["macs"].value <= run.bound
        assert metrics["map50"].samples > 0
        assert metrics["map50"].interval is not None
        network = run.result.generator.generate(seed=record.seed)
        export = es.export_onnx(network.module, torch.zeros(1, *run.task.input_shape), tmp_path / "net.onnx")
        assert len(export.output_names) == outputs
        assert es.compare_with_runtime(
            network.module, export.path, next(run.task.batches("test", batch_size=3)).inputs
        )
