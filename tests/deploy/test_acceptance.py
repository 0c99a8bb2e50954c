"""A lower precision is taken when the task's score is shown to stay within its bound, and not before."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgesynth.deploy.acceptance import accept
from edgesynth.deploy.judging import ClassScore
from edgesynth.deploy.quantisation import quantise
from edgesynth.deploy.verify import VerifyReport, verify_outputs


def outputs(samples: int, wrong: int = 0, start: int = 0) -> dict[str, NDArray[Any]]:
    """Two classes of which the first is true; some samples are answered wrongly."""
    found = np.tile(np.float32([1.0, 0.0]), (samples, 1))
    found[start : start + wrong] = found[start : start + wrong, ::-1]
    return {"scores": found}


def judged(
    samples: int, before: int, after: int, precision: str = "fp16", *, start: int = 0, strict: bool = True
) -> Any:
    """What comes of so many wrong answers before and after."""
    return accept(
        ClassScore(np.zeros(samples, np.int64)),
        outputs(samples, before),
        outputs(samples, after, start),
        precision=precision,
        bound=0.01,
        strict=strict,
    )


@pytest.mark.parametrize(
    ("samples", "before", "after", "verdict"),
    [
        (400, 0, 0, "accepted"),
        (380, 0, 0, "undecided"),
        (12, 0, 0, "undecided"),
        (12, 0, 6, "rejected"),
        (400, 0, 4, "undecided"),
        (4000, 0, 20, "accepted"),
        (4000, 100, 180, "rejected"),
        (400, 0, 20, "rejected"),
        (4000, 300, 200, "accepted"),
    ],
)
def test_the_interval_decides_and_not_the_two_scores(
    samples: int, before: int, after: int, verdict: str
) -> None:
    found = judged(samples, before, after)
    assert found.verdict == verdict
    assert found.refused == (verdict != "accepted")
    assert json.loads(json.dumps(found.to_json()))["verdict"] == verdict


def test_what_was_asked_for_by_name_is_refused_for_a_fall_alone() -> None:
    few = judged(12, 0, 0, strict=False)
    assert (few.verdict, few.refused, few.warns) == ("undecided", False, True)
    assert few.says.endswith(
        "and may lose 1; fp16 is used because it was asked for; about 390 samples would decide it: give them "
        "with --data and --samples 390"
    )
    fell = judged(12, 0, 1, strict=False)
    assert (fell.verdict, fell.refused, fell.warns) == ("undecided", True, False)
    assert "fp32 stays" in fell.says
    assert judged(12, 0, 6, strict=False).refused
    sure = judged(400, 0, 0, strict=False)
    assert (sure.verdict, sure.refused, sure.warns) == ("accepted", False, False)


def test_half_of_what_was_asked_for_would_not_have_done() -> None:
    found = judged(40, 0, 0)
    assert found.enough in (390, 400)
    assert judged(found.enough, 0, 0).verdict == "accepted"
    assert judged(found.enough * 3 // 4, 0, 0).verdict == "undecided"
    many = judged(400, 0, 2)
    assert many.enough is not None
    assert judged(many.enough, 0, many.enough // 200).verdict != "undecided"


def test_a_loss_of_just_the_bound_is_never_decided() -> None:
    assert judged(1000, 0, 10).enough is None


def test_where_there_is_no_higher_precision_only_a_fall_counts() -> None:
    few = judged(12, 0, 0, "fp32")
    assert (few.verdict, few.refused, few.warns) == ("undecided", False, False)
    assert "too few samples to tell more, and nothing hangs on it in fp32" in few.says
    fell = judged(12, 0, 1, "fp32")
    assert (fell.verdict, fell.refused) == ("undecided", True)
    assert fell.says.startswith("the task's score fell from 100 % to 91.67 %: it changed by -8.33 points")


def test_the_message_has_the_figures_and_what_to_do() -> None:
    assert judged(200, 0, 2).says == (
        "whether fp16 keeps the task's score cannot be decided: it changed by -1 points on 200 samples (0 "
        "right in fp16 alone, 2 in the reference alone), 95 % interval -3.57 to +0.903, and may lose 1; fp32 "
        "stays; more samples may decide it: give them with --data"
    )
    assert judged(400, 0, 20).says.endswith("95 % interval -7.6 to -3.26, and may lose 1; stay with fp32")
    assert judged(400, 0, 0).says == (
        "fp16 keeps the task's score: it changed by +0 points on 400 samples (0 right in fp16 alone, 0 in "
        "the reference alone), 95 % interval -0.951 to +0.951, and may lose 1"
    )


def test_a_score_of_ones_own_that_tells_no_samples_cannot_accept() -> None:
    found = accept(lambda _: 0.5, outputs(9), outputs(9), precision="int8", bound=0.01, strict=True)
    assert (found.verdict, found.refused) == ("undecided", True)
    assert "it changed by +0, and does not tell what each sample came to" in found.says
    assert "give labels or a task with --data" in found.says
    for precision, strict in (("fp32", True), ("int8", False)):
        assert not accept(
            lambda _: 0.5, outputs(9), outputs(9), precision=precision, bound=0.01, strict=strict
        ).refused


def test_the_report_fails_and_says_why() -> None:
    report = VerifyReport("net", "", "net", "a board", "fp16", 12, ())
    metric = ClassScore(np.zeros(12, np.int64))
    found = verify_outputs(
        report, outputs(12), outputs(12), metric=metric, advice="take another board", strict=True
    )
    assert not found
    (failure,) = found.failures
    assert failure.endswith("about 390 samples would decide it: take another board")
    plain = verify_outputs(report, outputs(12), outputs(12), metric=metric, strict=True)
    assert plain.failures[0].endswith("decide it: give them with --data and --samples 390")
    assert found.to_json()["acceptance"]["says"] == failure
    assert verify_outputs(report, outputs(12), outputs(12), metric=metric)  # it was asked for
    assert verify_outputs(report, outputs(12), outputs(12))  # without labels the outputs decide


def test_between_calibrations_that_noise_cannot_tell_apart_the_error_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from edgesynth.deploy import quantisation
    from edgesynth.deploy.onnx_graph import load_model
    from tests.deploy.networks import small

    _, path, data = small(tmp_path)
    model, errors = load_model(path), {"min-max": 0.2, "percentile": 0.1, "entropy": 0.3}
    wrong = {"min-max": 1, "percentile": 2, "entropy": 9}  # of 16; the last is worse for certain
    answers = iter([outputs(16), *(outputs(16, count) for count in wrong.values())])
    monkeypatch.setattr(quantisation, "_quantised", lambda model, data, method: model)
    monkeypatch.setattr(quantisation, "run_in_parts", lambda runner, feed: next(answers))
    left = iter(errors.values())
    monkeypatch.setattr(quantisation, "output_error", lambda expected, found: next(left))
    done = quantise(model, data, metric=ClassScore(np.zeros(16, np.int64)))
    assert done.chosen.method == "percentile"
    assert [tried.metric for tried in done.compared] == [1 - count / 16 for count in wrong.values()]
