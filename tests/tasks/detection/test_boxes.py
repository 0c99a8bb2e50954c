import pytest
import torch

from edgesynth.tasks.detection import boxes as module
from edgesynth.tasks.detection.boxes import giou, iou, pairwise_iou, suppressed


def random_boxes(count, seed=0, side=64.0):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * side * 0.7
    return torch.cat([corners, corners + 2 + torch.rand(count, 2, generator=generator) * side * 0.3], 1)


def greedy(boxes, scores, threshold, overlap, most):
    """Non-maximum suppression of one image, one box after the other."""
    pairs = [
        (float(scores[n, k]), n, k)
        for n in range(len(boxes))
        for k in range(scores.shape[1])
        if scores[n, k] >= threshold
    ]
    kept = []
    for score, n, k in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if all(k != other or float(iou(boxes[n], boxes[m])) <= overlap for _, m, other in kept):
            kept.append((score, n, k))
    return kept[:most]


def test_overlap_of_known_boxes():
    a, b = torch.tensor([0.0, 0, 4, 4]), torch.tensor([2.0, 2, 6, 6])
    assert float(iou(a, b)) == pytest.approx(4 / 28)
    assert float(giou(a, b)) == pytest.approx(4 / 28 - (36 - 28) / 36)
    assert float(iou(a, a)) == pytest.approx(1.0)
    apart = torch.tensor([8.0, 0, 12, 4])
    assert float(iou(a, apart)) == 0.0
    assert float(giou(a, apart)) == pytest.approx(-(48 - 32) / 48)


def test_boxes_without_area_overlap_nothing():
    flat = torch.tensor([3.0, 3, 3, 9])
    assert float(iou(flat, flat)) == 0.0
    assert float(iou(torch.tensor([5.0, 5, 1, 1]), torch.tensor([0.0, 0, 9, 9]))) == 0.0


def test_every_pair_is_compared():
    one, other = random_boxes(5), random_boxes(7, seed=1)
    table = pairwise_iou(one, other)
    assert table.shape == (5, 7)
    assert table[3, 2] == iou(one[3], other[2])


@pytest.mark.parametrize("seed", range(5))
def test_suppression_of_a_batch_is_the_greedy_one_of_every_image(seed):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.stack([random_boxes(60, seed=10 * seed + image) for image in range(3)])
    scores = torch.rand(3, 60, 4, generator=generator) ** 2
    found = suppressed(boxes, scores, score_threshold=0.2, nms_iou=0.3, max_detections=25)
    for image in range(3):
        expected = greedy(boxes[image], scores[image], 0.2, 0.3, 25)
        count = int((found.labels[image] >= 0).sum())
        assert count == len(expected)
        assert found.scores[image, :count].tolist() == [score for score, _, _ in expected]
        assert found.labels[image, :count].tolist() == [k for _, _, k in expected]
        assert torch.equal(found.boxes[image, :count], boxes[image][[n for _, n, _ in expected]])
        assert bool((found.labels[image, count:] == -1).all())


def test_more_detections_are_chosen_from_more_candidates(monkeypatch):
    # A row of boxes apart, each said by three cells.
    left = 4.0 * torch.arange(400)
    row = torch.stack([left, torch.zeros(400), left + 3, torch.full((400,), 3.0)], -1)
    boxes = torch.stack([row.repeat(3, 1), row.flip(0).repeat(3, 1)])
    scores = torch.rand(2, 1200, 1, generator=torch.Generator().manual_seed(0)) / 2 + 0.3
    options = {"score_threshold": 0.1, "nms_iou": 0.5}
    found = suppressed(boxes, scores, max_detections=400, **options)
    assert bool((found.labels == 0).all())
    assert torch.equal(found.boxes[0, :, 0].sort().values, left)
    assert int((suppressed(boxes, scores, max_detections=100, **options).labels == 0).sum()) == 200
    monkeypatch.setattr(module, "_PAIRS", 1)
    for part, whole in zip(suppressed(boxes, scores, max_detections=400, **options), found, strict=True):
        assert torch.equal(part, whole)


def test_boxes_of_different_classes_do_not_suppress_each_other():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10]]])
    scores = torch.tensor([[[0.9, 0.0], [0.8, 0.7]]])
    found = suppressed(boxes, scores, score_threshold=0.1, nms_iou=0.5, max_detections=10)
    assert found.labels[0, :3].tolist() == [0, 1, -1]


def test_a_suppressed_box_suppresses_nothing():
    # The first overlaps the second, the second the third, the first not the third.
    boxes = torch.tensor([[[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]])
    scores = torch.tensor([[[0.9], [0.8], [0.7]]])
    found = suppressed(boxes, scores, score_threshold=0.1, nms_iou=0.3, max_detections=10)
    assert found.scores[0].tolist() == pytest.approx([0.9, 0.7, 0.0])


def test_nothing_above_the_threshold_is_no_detection():
    found = suppressed(
        random_boxes(9)[None],
        torch.full((1, 9, 2), 0.01),
        score_threshold=0.05,
        nms_iou=0.5,
        max_detections=5,
    )
    assert found.labels.tolist() == [[-1] * 5]
