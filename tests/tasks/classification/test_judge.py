import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgesynth.metrics import Provenance, wilson_interval


class Answers(nn.Module):
    """Answers a fixed sequence of classes, whatever it is asked."""

    def __init__(self, answers, classes=3):
        super().__init__()
        self.answers, self.classes, self.at = list(answers), classes, 0

    def forward(self, x):
        part = self.answers[self.at : self.at + len(x)]
        self.at += len(x)
        return 10.0 * F.one_hot(torch.tensor(part), self.classes).float()


def test_a_score_counts_right_answers_and_gives_their_wilson_interval(make_task):
    task = make_task(test=(0, 0, 1, 1, 2, 2))
    score = task.score(Answers([0, 0, 1, 0, 2, 1]), "test", batch_size=4)
    assert score.metric.value == pytest.approx(4 / 6)
    assert score.metric.samples == 6
    assert score.metric.interval == wilson_interval(4, 6)
    assert score.metric.provenance is Provenance.MEASURED
    assert score.metric.source == "random test"
    assert score.correct.tolist() == [True, True, True, False, True, False]
    assert score.per_class == {"a": 1.0, "b": 0.5, "c": 0.5}
    assert score.confusion.tolist() == [[2, 0, 0], [1, 1, 0], [0, 1, 1]]


def test_a_score_does_not_depend_on_the_batch_size(clothing, small_net):
    one = clothing.score(small_net, "validation", batch_size=64, limit=200)
    other = clothing.score(small_net, "validation", batch_size=33, limit=200)
    assert torch.equal(one.correct, other.correct)
    assert one.loss == pytest.approx(other.loss, rel=1e-6)
