"""A run knows the data it began with, and refuses others before it does anything with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import detection_shapes
import pytest
import shape_scenes
import torch

from edgesynth.errors import RunError
from edgesynth.synthesis.data import check_data, described, digests
from edgesynth.tasks import Batch, Split, load_task

HERE = Path("run")


class Given:
    """A task whose batches are what a function makes of those of another."""

    def __init__(self, task: Any, change: Any) -> None:
        self.task, self.change = task, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def batches(self, split: Split, **options: Any) -> Iterator[Batch]:
        for batch in self.task.batches(split, **options):
            yield self.change(split, batch)


class Undescribed(Given):
    """One of the user's own, which says nothing of its data."""

    description = None


def same(split: Split, batch: Batch) -> Batch:
    return batch


def permuted(split: Split, batch: Batch) -> Batch:
    return replace(batch, targets=(batch.targets + 1) % 3)


def manifest(task: Any) -> dict[str, Any]:
    """What is left of it once it was written and read."""
    found: dict[str, Any] = json.loads(json.dumps({"data": described(task)}))
    return found


@pytest.fixture(scope="module")
def task() -> Any:
    return shape_scenes.shapes_task(train=96)


def test_other_labels_of_the_same_pictures_are_refused(task: Any) -> None:
    with pytest.raises(
        RunError,
        match="run in run have changed: as many samples as before, but other inputs or targets, in train, "
        "validation, test; restore them",
    ):
        check_data(HERE, manifest(task), Given(task, permuted))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_other_pictures_are_refused_in_any_split(task: Any, split: Split) -> None:
    def other(which: Split, batch: Batch) -> Batch:
        return replace(batch, inputs=batch.inputs.flip(0)) if which == split else batch

    with pytest.raises(RunError, match=f"in {split}; restore"):
        check_data(HERE, manifest(task), Given(task, other))


def test_boxes_are_compared_part_by_part() -> None:
    task = detection_shapes.shapes_task(20, 20)

    def moved(split: Split, batch: Batch) -> Batch:
        return replace(batch, targets={**batch.targets, "boxes": batch.targets["boxes"] + 2})

    assert "boxes" in next(iter(task.batches("train", batch_size=2))).targets
    check_data(HERE, manifest(task), task)
    with pytest.raises(RunError, match="in train, validation, test; restore"):
        check_data(HERE, manifest(task), Given(task, moved))


def test_rounding_is_no_difference(task: Any) -> None:
    def rounded(split: Split, batch: Batch) -> Batch:
        return replace(batch, inputs=batch.inputs * (1 + 1e-6 * torch.randn(batch.inputs.shape)))

    check_data(HERE, manifest(task), Given(task, rounded))


def test_digests_do_not_depend_on_threads() -> None:
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(digests(shape_scenes.shapes_task(train=96)))
    finally:
        torch.set_num_threads(before)
    assert found[0].keys() == found[1].keys()
    assert all(digest.alike(found[1][part]) for part, digest in found[0].items())


def test_what_is_otherwise_each_time_has_no_digest(task: Any) -> None:
    def noisy(split: Split, batch: Batch) -> Batch:
        return replace(batch, inputs=batch.inputs + torch.randn(batch.inputs.shape))

    noise = Given(task, noisy)
    state = torch.get_rng_state()
    kept = manifest(noise)
    assert torch.equal(torch.get_rng_state(), state)
    assert set(kept["data"]["digests"]) == {"train targets", "validation targets", "test targets"}
    check_data(HERE, kept, noise)
    with pytest.raises(RunError, match="in train, validation, test; restore"):
        check_data(HERE, kept, Given(noise, permuted))


def test_the_sizes_of_a_task_without_description_are_kept() -> None:
    def made(count: int) -> Undescribed:
        return Undescribed(load_task("digits", train_size=count), same)

    kept = manifest(made(100))
    check_data(HERE, kept, made(100))
    with pytest.raises(RunError, match="have changed: train had 100 samples and has 101"):
        check_data(HERE, kept, made(101))


def test_runs_of_earlier_versions_go_on(task: Any) -> None:
    for kept in (manifest(task), {"data": {"name": "own"}}, {}):
        kept.get("data", {}).pop("digests", None)
        check_data(HERE, kept, Given(task, permuted))


def test_few_samples_are_read_of_large_pictures_and_of_endless_tasks(task: Any) -> None:
    read: list[int] = []

    def counted(split: Split, batch: Batch) -> Batch:
        read.append(len(batch.inputs))
        return batch

    class Endless(Given):
        def batches(self, split: Split, **options: Any) -> Iterator[Batch]:
            while True:
                yield from super().batches(split, batch_size=options["batch_size"])

    digests(Endless(task, counted))
    assert sum(read) < 3 * 80
    read.clear()
    large = Given(task, counted)
    large.input_shape = (3, 2048, 2048)
    digests(large)
    assert read == [1, 1, 1]
