import pytest
import torch

from edgesynth.tasks import Augmentation, BoxAugmentation, PairedAugmentation
from edgesynth.tasks.images import quarter_turns, turned


def numbered(height, width, count=64):
    """Every pixel another number, the same pictures over and over."""
    return torch.arange(height * width, dtype=torch.uint8).view(1, 1, height, width).repeat(count, 1, 1, 1)


@pytest.mark.parametrize(("shape", "orientations"), [((5, 5), 4), ((4, 6), 2)])
def test_every_orientation_that_keeps_the_shape_is_drawn_and_no_other(shape, orientations):
    images = numbered(*shape)
    quarters = quarter_turns(images, torch.Generator().manual_seed(0))
    result = turned(images, quarters)
    assert result.shape == images.shape
    expected = {tuple(images[0].rot90(k, (1, 2)).flatten().tolist()) for k in range(0, 4, 4 // orientations)}
    assert {tuple(image.flatten().tolist()) for image in result} == expected
    assert all(
        torch.equal(image, images[0].rot90(int(k), (1, 2))) for image, k in zip(result, quarters, strict=True)
    )


@pytest.mark.parametrize(("shape", "orientations"), [((5, 5), 8), ((4, 6), 4)])
def test_with_mirror_images_all_symmetries_are_drawn(shape, orientations):
    images = numbered(*shape, count=200)
    varied = Augmentation(flip=True, turn=True)(images, torch.Generator().manual_seed(0))
    assert len({tuple(image.flatten().tolist()) for image in varied}) == orientations


def test_masks_turn_with_pictures():
    images = numbered(6, 6)
    masks = images[:, 0] % 7
    varied, followed = PairedAugmentation(turn=True)(images, masks, torch.Generator().manual_seed(0))
    assert torch.equal(varied[:, 0] % 7, followed)
    assert not torch.equal(varied, images)


def test_boxes_of_an_oblong_picture_turn_by_halves_and_padding_stays():
    images = torch.zeros(40, 3, 32, 64, dtype=torch.uint8)
    images[:, :, 4:10, 8:20] = 255
    boxes = torch.tensor([[[8.0, 4, 20, 10], [0, 0, 0, 0]]]).repeat(40, 1, 1)
    labels = torch.tensor([[2, -1]]).repeat(40, 1)
    augmentation = BoxAugmentation(flip=False, shift=0, scale=(1, 1), colour=0, turn=True)
    varied, moved, kept = augmentation(images, boxes, labels, torch.Generator().manual_seed(0))
    assert torch.equal(kept, labels)
    assert not moved[:, 1].any()
    assert moved[:, 0].unique(dim=0).tolist() == [[8, 4, 20, 10], [44, 22, 56, 28]]
    for image, (left, top, right, bottom) in zip(varied, moved[:, 0].int().tolist(), strict=True):
        assert bool((image[:, top:bottom, left:right] == 255).all())


def test_turning_draws_after_the_shift():
    images = numbered(8, 8)
    one = Augmentation(shift=2, flip=True)(images, torch.Generator().manual_seed(4))
    other = Augmentation(shift=2, flip=True, turn=True)(images, torch.Generator().manual_seed(4))
    assert sorted(one.flatten(1).sum(1).tolist()) == sorted(other.flatten(1).sum(1).tolist())
