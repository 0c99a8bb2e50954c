"""What is found against the reference's objects: near ties may go either way, and mistakes are told."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgesynth.agent.batches import batches_of
from edgesynth.deploy.inside_objects import Objects, objects_of
from edgesynth.deploy.trial import Trial, in_every_size
from edgesynth.deploy.verify import VerifyReport, verify_outputs

ANSWER = {
    **{"kind": "detection", "names": ["boxes", "scores", "classes"], "classes": ["a", "b"]},
    **{"score_threshold": 0.05, "nms_iou": 0.5, "max_detections": 150},
}
Cells = tuple[NDArray[Any], NDArray[Any]]


def cells(seed: int = 0, count: int = 400) -> Cells:
    """Boxes in heaps, and confidences with many near the threshold."""
    generator = np.random.default_rng(seed)
    corner = generator.integers(0, 5, (6, count, 2)) * 40 + generator.normal(0, 4, (6, count, 2))
    boxes = np.concatenate([corner, corner + generator.normal(30, 3, (6, count, 2))], 2)
    return boxes.astype(np.float32), (generator.random((6, count, 2)) ** 6).astype(np.float32)


def found(boxes: NDArray[Any], scores: NDArray[Any], **changes: Any) -> dict[str, NDArray[Any]]:
    return dict(objects_of(boxes, scores, {**ANSWER, **changes}))


def judged(want: Objects, have: dict[str, NDArray[Any]], precision: str = "fp32") -> VerifyReport:
    return verify_outputs(VerifyReport("e", "", "n", "r", precision, 6, ()), want, have)


@pytest.fixture
def want() -> Objects:
    return objects_of(*cells(), ANSWER)


def test_what_the_reference_gives_agrees_with_it(want: Objects) -> None:
    report = judged(want, dict(want))

    assert report
    assert [check.others for check in report.outputs] == [None, None, 0.0]
    assert (want["classes"] < 0).any()
    assert (want["classes"] >= 0).sum() > 100


@pytest.mark.parametrize(("precision", "share"), [("fp32", 1e-6), ("fp16", 1e-3), ("int8", 1e-2)])
@pytest.mark.parametrize(("seed", "most"), [(0, 150), (1, 150), (2, 30)])
def test_noise_turns_near_ties_and_is_told_from_a_mistake(
    precision: str, share: float, seed: int, most: int
) -> None:
    boxes, scores = cells(seed)
    generator = np.random.default_rng(100 + seed)
    loud = [
        (part + generator.uniform(-1, 1, part.shape) * share * part.max()).astype(np.float32)
        for part in (boxes, scores)
    ]
    want = objects_of(boxes, scores, {**ANSWER, "max_detections": most})
    have = found(*loud, max_detections=most)
    if precision != "fp32":  # rows do not stand where they stood
        assert (want["classes"] != have["classes"]).any()

    report = judged(want, have, precision)

    assert report, report.failures
    assert all(check.max_abs <= 2.1 * share * check.scale for check in report.outputs)


def test_two_of_one_confidence_may_change_places(want: Objects) -> None:
    have = {name: value.copy() for name, value in want.items()}
    for value in have.values():
        value[:, [3, 4]] = value[:, [4, 3]]
    want.pool[1][...] = np.round(want.pool[1], 7)

    assert judged(want, have)


def without(have: dict[str, NDArray[Any]], row: int) -> None:
    for value in have.values():
        value[0, row:-1] = value[0, row + 1 :]
    have["scores"][0, -1] = 0


def another_class(have: dict[str, NDArray[Any]]) -> None:
    have["classes"][0, 0] = 1 - have["classes"][0, 0]


def no_number(have: dict[str, NDArray[Any]]) -> None:
    have["boxes"][0, 0, 2] = np.nan


def moved(have: dict[str, NDArray[Any]]) -> None:
    have["boxes"][0, 0] += 0.5


def weaker(have: dict[str, NDArray[Any]]) -> None:
    have["scores"][0, 0] -= 0.01


def of_no_class(have: dict[str, NDArray[Any]]) -> None:
    have["classes"][0, 0] = -1


MISTAKES: dict[str, Callable[[dict[str, NDArray[Any]]], None]] = {
    "classes": lambda have: without(have, 2),
    "boxes|classes": another_class,
    "classes: ": of_no_class,
    "boxes": moved,
    "scores": weaker,
    "boxes: .* NaN|classes": no_number,
}


@pytest.mark.parametrize("said", MISTAKES)
def test_a_single_mistake_is_told(want: Objects, said: str) -> None:
    have = {name: value.copy() for name, value in want.items()}
    MISTAKES[said](have)

    failures = judged(want, have).failures

    assert failures
    assert any(re.match(said, failure) for failure in failures), failures


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(
    "changes", [{"nms_iou": 1.0}, {"nms_iou": 0.1}, {"score_threshold": 0.5}], ids=["none", "much", "few"]
)
def test_another_rule_is_refused_in_every_precision(want: Objects, changes: Any, precision: str) -> None:
    report = judged(want, found(*cells(), **changes), precision)

    assert [failure for failure in report.failures if failure.startswith("classes: ")]


def test_suppression_across_classes_is_refused(want: Objects) -> None:
    boxes, scores = cells()
    one = objects_of(boxes, scores.max(2, keepdims=True), {**ANSWER, "classes": ["any"]})
    have = {name: value.copy() for name, value in one.items()}
    alone = np.abs(have["boxes"][:, :, None] - boxes[:, None]).sum(3).argmin(2)
    labels = np.take_along_axis(scores.argmax(2), alone, 1)
    have["classes"] = np.where(have["scores"] > 0, labels, -1).astype(np.int32)

    assert not judged(want, have)


def test_outputs_of_another_shape_are_told(want: Objects) -> None:
    have = {name: value[:, :-1] for name, value in want.items()}

    assert any("shape 6x149x4, not 6x150x4" in failure for failure in judged(want, have).failures)


def test_calls_of_every_size_are_held_to_the_reference(want: Objects) -> None:
    trial = Trial.of(batches_of([1, 4, 4]), 6)
    swapped = {name: value[trial.origins].copy() for name, value in want.items()}
    for value in swapped.values():
        value[-1, [3, 4]] = value[-1, [4, 3]]  # of the call of one sample alone
    wrong = {name: value.copy() for name, value in swapped.items()}
    wrong["classes"][-1, 5] = 1 - wrong["classes"][-1, 5]

    for have, fine in ((swapped, True), (wrong, False)):
        report = judged(want, trial.answers(have))
        assert report
        every = in_every_size(report, want, have, trial)
        assert bool(every) == fine
    assert any("in batch 1: " in failure for failure in every.failures)


def test_some_samples_and_all_of_some(want: Objects) -> None:
    parts = [want.of(np.arange(2)), want.of(np.arange(2, 6))]

    again = Objects.joined(parts)

    assert judged(again, dict(want))
    assert judged(want.of(np.array([5, 1])), {name: value[[5, 1]] for name, value in want.items()})
    assert not judged(want.of(np.array([1, 5])), {name: value[[5, 1]] for name, value in want.items()})
