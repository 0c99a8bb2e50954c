import pytest
import torch
from detection_shapes import shapes

from edgesynth.tasks import BoxAugmentation


def batch(count=16):
    """White rectangles on black, and their boxes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(count, 3, 64, 64, dtype=torch.uint8)
    boxes, labels = torch.zeros(count, 2, 4), torch.full((count, 2), -1)
    for index in range(count):
        x, y, w, h = torch.randint(8, 28, (4,), generator=generator).tolist()
        images[index, :, y : y + h, x : x + w] = 255
        boxes[index, 0] = torch.tensor([x, y, x + w, y + h])
        labels[index, 0] = index % 3
    return images, boxes, labels


def bright_box(image):
    """Where the white is."""
    y, x = torch.nonzero(image[0] > 200, as_tuple=True)
    return torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1], dtype=torch.float32)


@pytest.mark.parametrize(
    "augmentation",
    [
        BoxAugmentation(flip=True, shift=0, scale=(1, 1), colour=0),
        BoxAugmentation(flip=False, shift=0.3, scale=(1, 1), colour=0),
        BoxAugmentation(flip=False, shift=0, scale=(0.6, 1.6), colour=0),
        BoxAugmentation(flip=True, shift=0.2, scale=(0.7, 1.4), colour=0),
        BoxAugmentation(flip=False, shift=0, scale=(1, 1), colour=0, turn=True),
        BoxAugmentation(flip=True, shift=0.2, scale=(0.7, 1.4), colour=0, turn=True),
    ],
)
def test_boxes_follow_their_objects(augmentation):
    images, boxes, labels = batch()
    varied, moved, kept = augmentation(images, boxes, labels, torch.Generator().manual_seed(1))
    assert varied.shape == images.shape
    assert varied.dtype == torch.uint8
    assert not torch.equal(varied, images)
    assert int((kept[:, 0] >= 0).sum()) >= 12
    for image, box, label in zip(varied, moved[:, 0], kept[:, 0], strict=True):
        if label >= 0:
            # Bilinear edges: a pixel of 255 between others may fall below the threshold.
            assert torch.allclose(bright_box(image), box, atol=1.3)


def test_equal_generators_vary_equally():
    samples = batch()
    one, other = (BoxAugmentation()(*samples, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_objects_that_leave_the_picture_are_dropped_and_others_clipped():
    boxes = torch.tensor([[[0.0, 20, 10, 30], [40.0, 20, 64, 30]]]).repeat(200, 1, 1)
    labels = torch.tensor([[0, 1]]).repeat(200, 1)
    images = torch.zeros(200, 3, 64, 64, dtype=torch.uint8)
    augmentation = BoxAugmentation(flip=False, shift=0.25, scale=(1, 1), colour=0)
    _, moved, kept = augmentation(images, boxes, labels, torch.Generator().manual_seed(0))
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 64
    for row, width in ((0, 10.0), (1, 24.0)):
        here = kept[:, row] >= 0
        seen = (moved[:, row, 2] - moved[:, row, 0]) / width
        assert float(seen[here].min()) >= 0.3
        assert bool((moved[:, row][~here] == 0).all())
    assert 0 < int((kept[:, 0] < 0).sum()) < 200
    assert bool((kept[:, 1] >= 0).all())


def test_padding_stays_padding():
    images, boxes, labels = batch()
    _, _, kept = BoxAugmentation()(images, boxes, labels, torch.Generator().manual_seed(0))
    assert bool((kept[:, 1] == -1).all())


def test_colours_change_and_places_do_not():
    samples = shapes(6, seed=2)
    boxes, labels = torch.zeros(6, 1, 4), torch.full((6, 1), -1)
    augmentation = BoxAugmentation(flip=False, shift=0, scale=(1, 1), colour=0.3)
    varied, _, _ = augmentation(samples.inputs, boxes, labels, torch.Generator().manual_seed(0))
    for before, after in zip(samples.inputs, varied, strict=True):
        assert not torch.equal(before, after)
        pair = torch.stack([before.float().mean(0).flatten(), after.float().mean(0).flatten()])
        assert float(torch.corrcoef(pair)[0, 1]) > 0.98
