"""The whole way with a class for every pixel: nothing in a synthesis may assume one label per sample."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from shape_scenes import shapes_task

from edgesynth.deploy.onnx import compare_with_runtime
from edgesynth.graph import Prototype, load
from edgesynth.progress import NullProgress
from edgesynth.runs import Run
from edgesynth.synthesis.api import Result, load_generator, synthesize
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.settings import SynthesisSettings
from edgesynth.tasks import PairedAugmentation, SegmentationTask, TrainingPlan, fit
from edgesynth.zoo.lraspp import LiteSegmenter

pytestmark = pytest.mark.slow

SETTINGS = SynthesisSettings(
    cycles=2,
    epochs=6,
    networks=2,
    polish_epochs=1,
    seeds_per_cycle=2,
    asked_per_cycle=2,
    probes_per_cycle=1,
    batch_size=16,
    validation_limit=24,
    calibration_samples=64,
)


@pytest.fixture(scope="module")
def task() -> SegmentationTask:
    return shapes_task(train=96, augmentation=PairedAugmentation(shift=2, flip=True))


@pytest.fixture(scope="module")
def prototype(task: SegmentationTask) -> Prototype:
    torch.manual_seed(0)
    module = LiteSegmenter(3, 3, 16)
    fit(module, task, TrainingPlan(epochs=10, batch_size=16, learning_rate=0.1))
    return Prototype(module, torch.zeros(1, 3, 32, 32), align=4)


@pytest.fixture(scope="module")
def finished(
    prototype: Prototype, task: SegmentationTask, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Result, Path, int]:
    folder = tmp_path_factory.mktemp("segmentation") / "run"
    bound = prototype.cost().macs // 3
    requirements = Requirements({"miou": ">= 0.6", "macs": f"<= {bound}"})
    result = synthesize(
        prototype, task, requirements, run_dir=folder, settings=SETTINGS, progress=NullProgress()
    )
    return result, folder, bound


def test_networks_meet_the_bound_and_beat_an_answer_of_one_class(finished, task: SegmentationTask) -> None:
    result, _, bound = finished
    assert result.met
    assert len(result.networks) == SETTINGS.networks
    for record in result.networks:
        assert record.metrics["macs"].value <= bound
        quality = record.test_metrics["miou"]
        assert quality.samples == task.size("test")
        assert quality.interval is not None
        low, high = quality.interval
        assert low < quality.value < high
        # The ground everywhere has 0.29.
        assert quality.value > 0.6
        assert record.test_metrics["netscore"].value > 0


def test_the_run_records_mean_iou_in_every_cycle(finished) -> None:
    _, folder, _ = finished
    with Run.open(folder) as run:
        assert run.status == "finished"
        cycles = run.cycles()
        assert [cycle.cycle for cycle in cycles] == list(range(SETTINGS.cycles))
        assert all(0 < cycle.quality < 1 for cycle in cycles)
        networks = run.networks()
    assert all(record.metrics["miou"].provenance == "measured" for record in networks)


def test_onnx_files_are_written_and_agree(finished) -> None:
    result, folder, _ = finished
    for record in result.networks:
        path = folder / record.files["onnx"]
        assert "Resize" in {node.op_type for node in onnx.load(str(path)).graph.node}
        module = load(LiteSegmenter(3, 3, 16), folder / record.files["recipe"])
        comparison = compare_with_runtime(module, path, torch.randn(3, 3, 32, 32))
        assert comparison.max_abs < 1e-4 * comparison.outputs[0].scale


def test_the_generator_draws_further_networks(finished, prototype: Prototype, task: SegmentationTask) -> None:
    _, folder, bound = finished
    network = load_generator(folder, prototype, task).generate(12345, thorough=False)
    assert network.measurements["macs"].value <= bound
    assert network.module(torch.zeros(2, 3, 32, 32)).shape == (2, 3, 32, 32)
