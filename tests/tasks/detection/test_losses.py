import pytest
import torch

from edgesynth.tasks.detection.losses import focal_loss


def test_the_focal_loss_is_that_of_the_paper():
    logits = torch.tensor([2.0, -1.0])
    p = logits.sigmoid()
    expected = -0.25 * (1 - p[0]) ** 2 * p[0].log() - 0.75 * p[1] ** 2 * (1 - p[1]).log()
    assert float(focal_loss(logits, torch.tensor([1.0, 0.0]))) == pytest.approx(float(expected))
