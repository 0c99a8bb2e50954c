import math

import numpy as np
import pytest
import torch
from keypoints_task import DiscNet, DiscTask

from edgesynth.errors import InputError
from edgesynth.metrics import Metric, Provenance
from edgesynth.tasks import Score, TrainingPlan, fit
from edgesynth.tasks.scoring import bootstrap_interval, check_task, judged, share_interval


def test_the_interval_of_a_mean_is_two_standard_errors_wide():
    right = [0, 1] * 50
    low, high = bootstrap_interval(lambda counts: float(counts @ right) / 100, 100)
    # The standard error of a share of one half of 100 is 0.05.
    assert low == pytest.approx(0.4, abs=0.02)
    assert high == pytest.approx(0.6, abs=0.02)


def share_of(right, samples):
    values = np.r_[np.ones(right), np.zeros(samples - right)]
    return lambda counts: np.array([counts @ values / samples])


def test_one_sample_says_nothing_of_others():
    assert share_interval(share_of(1, 1), 1, np.array([1])) == (0.0, 1.0)
    with pytest.raises(InputError, match="no interval of 0 samples"):
        share_interval(share_of(0, 0), 0, np.array([0]))


@pytest.mark.parametrize("samples", [2, 11, 300])
def test_samples_that_agree_have_the_exact_interval_of_clopper_and_pearson(samples):
    exact = 0.025 ** (1 / samples)
    ends = share_interval(share_of(samples, samples), samples, np.array([samples]))
    assert ends == pytest.approx((exact, 1.0), abs=1e-3)
    ends = share_interval(share_of(0, samples), samples, np.array([samples]))
    assert ends == pytest.approx((0.0, 1 - exact), abs=1e-3)


# Clopper and Pearson's, from the quantiles of beta distributions.
@pytest.mark.parametrize(
    ("right", "samples", "exact"),
    [(10, 11, (0.587, 0.998)), (25, 50, (0.355, 0.645)), (1, 50, (0.001, 0.106)), (298, 300, (0.976, 0.999))],
)
def test_a_share_of_samples_has_about_the_exact_interval_and_none_narrower_than_resampling(
    right, samples, exact
):
    scores = share_of(right, samples)
    low, high = share_interval(scores, samples, np.array([samples]))
    assert (low, high) == pytest.approx(exact, abs=0.03)
    drawn = bootstrap_interval(lambda counts: float(scores(counts)[0]), samples)
    assert low <= drawn[0]
    assert high >= drawn[1]


def test_a_class_that_two_samples_show_is_known_from_two():
    """The other class is known from all of them; of the mean of both, half is as uncertain as two samples."""
    shown = np.r_[np.ones(2), np.zeros(98)]

    def scores(counts):
        return np.array([1.0, 1.0 if counts @ shown else np.nan])

    low, high = share_interval(scores, 100, np.array([100, 2]))
    assert high == 1.0
    assert low == pytest.approx((0.025 ** (1 / 100) + 0.025 ** (1 / 2)) / 2, abs=0.05)


class Judged(DiscTask):
    """A task whose judge scores what it is told to, whatever it heard."""

    def __init__(self, judge):
        super().__init__(32)
        self._judge = judge

    def judge(self, split):
        return self._judge


class Says:
    def __init__(self, score):
        self._score = score

    def add(self, outputs, batch):
        pass

    def score(self):
        return self._score


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (None, r"Judged\.judge\('test'\) returned None, which has no add and no score"),
        (7, r"returned an object of type int, which has no add and no score; return a judge"),
        (Says(None), r"Says\.score\(\) returned None; return an edgesynth\.tasks\.Score"),
        (Says(0.5), r"Says\.score\(\) returned an object of type float; return an edgesynth\.tasks\.Score"),
        (Says(Score(0.5, 0.0)), "returned a Score with an object of type float as metric"),
        (
            Says(Score(Metric("accuracy", 0.5, Provenance.MEASURED), 0.0)),
            "returned a Score with the metric 'accuracy'; .* named 'pck'",
        ),
    ],
)
def test_a_judge_that_is_none_and_a_score_that_is_none_are_laid_at_the_tasks_door(judge, said):
    with pytest.raises(InputError, match=said):
        judged(Judged(judge), DiscNet(), "test", limit=8)


@pytest.mark.parametrize(
    ("value", "interval", "said"),
    [
        (93.0, None, r"returned pck = 93; give a share in 0 \.\. 1"),
        (0.5, (0.4, math.inf), r"the interval of pck is 0\.4 \.\. inf; give finite ends"),
        (0.5, (math.nan, 0.6), "give finite ends"),
        (0.5, (0.6, 0.4), "give finite ends in order"),
    ],
)
def test_a_score_that_cannot_be_is_laid_at_the_tasks_door(value, interval, said):
    score = Score(Metric("pck", value, Provenance.MEASURED, 8, interval), 0.0)
    with pytest.raises(InputError, match=said):
        judged(Judged(Says(score)), DiscNet(), "test", limit=8)


def test_a_task_is_asked_for_what_it_can_tell_before_anything_is_trained():
    check_task(DiscTask(32))
    with pytest.raises(InputError, match=r"judge\('validation'\) returned None"):
        check_task(Judged(None))
    task = DiscTask(32)
    task.size = {"train": 32, "validation": None, "test": 8}.get
    with pytest.raises(
        InputError, match=r"DiscTask\.size\('validation'\) returned None; return how many samples"
    ):
        check_task(task)
    assert judged(DiscTask(32), DiscNet(), "test", limit=8).metric.name == "pck"


def test_a_score_of_the_tasks_own_is_checked_too():
    task = DiscTask(32)
    task.score = lambda module, split, **_: None
    with pytest.raises(InputError, match=r"DiscTask\.score\(\) returned None"):
        judged(task, DiscNet(), "test")


@pytest.mark.parametrize("given", [[(torch.zeros(2, 1, 24, 24), torch.zeros(2, 2))], []])
def test_batches_that_are_none_are_told_before_training(given):
    task = DiscTask(32)
    task.batches = lambda split, **_: iter(given)
    with pytest.raises(
        InputError, match=r"gave (tuple|nothing) as a batch of train; yield edgesynth\.tasks\.Batch"
    ):
        fit(DiscNet(), task, TrainingPlan(epochs=1))
