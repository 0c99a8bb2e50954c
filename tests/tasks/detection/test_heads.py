import pytest
import torch

from edgesynth.tasks.detection import heads
from edgesynth.tasks.detection.heads import CentreHead, GridHead, head_by_name


@pytest.mark.parametrize("head", [CentreHead(), GridHead()])
@pytest.mark.parametrize("box", [[9.0, 9.0, 12.0, 12.0], [1.0, 3.0, 63.0, 61.0], [0.0, 0.0, 2.0, 64.0]])
def test_every_object_has_a_cell(head, box):
    levels = (8, 4) if head.name == "centre" else (8,)
    widths = {"classes": 2, "coverage": 2, "distances": 4, "offsets": 4, "centreness": 1}
    outputs = [torch.zeros(1, widths[name], n, n) for n in levels for name in head.channels]
    predictions = head.predictions(outputs, 2, (64, 64))
    rows = head.assigned(predictions, torch.tensor([[box]]), torch.tensor([[1]]))
    assert int((rows == 0).sum()) >= 1


def test_the_smaller_of_two_objects_has_the_cell():
    head = GridHead()
    predictions = head.predictions((torch.zeros(1, 1, 8, 8), torch.zeros(1, 4, 8, 8)), 1, (64, 64))
    boxes = torch.tensor([[[0.0, 0, 64, 64], [24, 24, 40, 40]]])
    rows = head.assigned(predictions, boxes, torch.zeros(1, 2, dtype=torch.int64)).view(8, 8)
    assert int(rows[3, 3]) == 1
    assert int(rows[2, 2]) == 0


@pytest.mark.parametrize("head", [CentreHead(), GridHead()])
@pytest.mark.parametrize("pairs", [1, 200, 5000])
def test_many_objects_are_assigned_in_parts_and_alike(head, pairs, monkeypatch):
    generator = torch.Generator().manual_seed(2)
    corner = 50 * torch.rand(3, 40, 2, generator=generator).round(decimals=1)
    # Few sizes, so that areas are often equal.
    size = torch.randint(1, 4, (3, 40, 1), generator=generator) * 4.0
    boxes = torch.cat([corner, corner + size], -1)
    labels = torch.randint(-3, 2, (3, 40), generator=generator)
    labels[1] = -1
    widths = {"classes": 2, "coverage": 2, "distances": 4, "offsets": 4, "centreness": 1}
    levels = (8, 4) if head.name == "centre" else (8,)
    outputs = [torch.zeros(3, widths[name], n, n) for n in levels for name in head.channels]
    predictions = head.predictions(outputs, 2, (64, 64))
    whole = head.assigned(predictions, boxes, labels)
    assert int((whole >= 0).sum()) > 20
    assert bool((whole[1] == -1).all())
    monkeypatch.setattr(heads, "_PAIRS", pairs)
    assert torch.equal(head.assigned(predictions, boxes, labels), whole)


def test_levels_share_objects_by_size():
    head = CentreHead()
    outputs = [torch.zeros(1, c, n, n) for n in (16, 8) for c in (1, 4, 1)]
    predictions = head.predictions(outputs, 1, (128, 128))
    boxes = torch.tensor([[[10.0, 10, 40, 40], [20, 20, 120, 120]]])
    rows = head.assigned(predictions, boxes, torch.zeros(1, 2, dtype=torch.int64))[0]
    assert set(predictions.strides[rows == 0].tolist()) == {8.0}
    assert set(predictions.strides[rows == 1].tolist()) == {16.0}


def test_heads_are_found_by_name():
    assert head_by_name("grid") == GridHead()
