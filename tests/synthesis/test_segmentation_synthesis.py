"""The whole way with a class for every pixel: nothing in a synthesis may assume one label per sample."""

from __future__ import annotations

import onnx
import pytest
import torch
from small_runs import SEGMENTATION

from edgesynth.deploy.onnx import compare_with_runtime
from edgesynth.graph import load
from edgesynth.runs import Run
from edgesynth.zoo.lraspp import LiteSegmenter

pytestmark = pytest.mark.slow


def test_networks_meet_the_bound_and_beat_an_answer_of_one_class(segmentation_run) -> None:
    run = segmentation_run
    assert run.result.met
    assert len(run.result.networks) == SEGMENTATION.networks
    for record in run.result.networks:
        assert record.metrics["macs"].value <= run.bound
        quality = record.test_metrics["miou"]
        assert quality.samples == run.task.size("test")
        assert quality.interval is not None
        low, high = quality.interval
        assert low < quality.value < high
        # The ground everywhere has 0.29.
        assert quality.value > 0.6
        assert record.test_metrics["netscore"].value > 0


def test_the_run_records_mean_iou_in_every_cycle(segmentation_run) -> None:
    with Run.open(segmentation_run.folder) as run:
        assert run.status == "finished"
        cycles = run.cycles()
        assert [cycle.cycle for cycle in cycles] == list(range(SEGMENTATION.cycles))
        assert all(0 < cycle.quality < 1 for cycle in cycles)
        networks = run.networks()
    assert all(record.metrics["miou"].provenance == "measured" for record in networks)


def test_onnx_files_are_written_and_agree(segmentation_run) -> None:
    folder = segmentation_run.folder
    for record in segmentation_run.result.networks:
        path = folder / record.files["onnx"]
        assert "Resize" in {node.op_type for node in onnx.load(str(path)).graph.node}
        module = load(LiteSegmenter(3, 3, 16), folder / record.files["recipe"])
        comparison = compare_with_runtime(module, path, torch.randn(3, 3, 32, 32))
        assert comparison.max_abs < 1e-4 * comparison.outputs[0].scale


def test_the_generator_draws_further_networks(segmentation_run) -> None:
    network = segmentation_run.generator().generate(12345, thorough=False)
    assert network.measurements["macs"].value <= segmentation_run.bound
    assert network.module(torch.zeros(2, 3, 32, 32)).shape == (2, 3, 32, 32)
