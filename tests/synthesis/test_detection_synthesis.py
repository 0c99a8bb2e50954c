"""A detector goes the whole way: a generator, networks within a budget, ONNX with every output."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detection_shapes import shapes_task

import edgesynth as es
from edgesynth import zoo
from edgesynth.synthesis.settings import SynthesisSettings
from edgesynth.tasks import TrainingPlan, fit

pytestmark = pytest.mark.slow

SETTINGS = SynthesisSettings(
    cycles=1,
    epochs=1,
    networks=1,
    polish_epochs=1.0,
    seeds_per_cycle=2,
    asked_per_cycle=1,
    probes_per_cycle=1,
    batch_size=16,
    validation_limit=16,
    calibration_samples=32,
)


@pytest.mark.parametrize(("name", "head", "outputs"), [("detectnet", "grid", 2), ("centrenet", "centre", 6)])
def test_detectors_are_synthesised_within_a_budget(
    name: str, head: str, outputs: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    task = shapes_task(64, 20, head=head)
    module = zoo.build(name, in_channels=3, classes=3)
    fit(module, task, TrainingPlan(epochs=4, batch_size=8, learning_rate=0.05, augment=False))
    prototype = es.Prototype(module, torch.zeros(1, *task.input_shape))
    bound = round(0.6 * prototype.cost().macs)
    requirements = es.Requirements({"map50": ">= 0.001", "macs": f"<= {bound}"})
    result = es.synthesize(prototype, task, requirements, run_dir=tmp_path / "run", settings=SETTINGS)
    assert result.met, result.shortfall
    for record in result.networks:
        metrics = {metric.name: metric for metric in record.metrics.values()}
        assert metrics["macs"].value <= bound
        assert metrics["map50"].samples > 0
        assert metrics["map50"].interval is not None
        network = result.generator.generate(seed=record.seed)
        export = es.export_onnx(network.module, torch.zeros(1, *task.input_shape), tmp_path / "net.onnx")
        assert len(export.output_names) == outputs
        assert es.compare_with_runtime(
            network.module, export.path, next(task.batches("test", batch_size=3)).inputs
        )
