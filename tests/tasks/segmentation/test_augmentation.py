import pytest
import torch
import torch.nn.functional as F

from edgesynth.errors import InputError
from edgesynth.tasks import PairedAugmentation


def telling(count=8, side=24):
    """Pictures whose every pixel tells its class: the mask, ten times, in every channel."""
    generator = torch.Generator().manual_seed(3)
    masks = torch.randint(20, (count, side, side), generator=generator, dtype=torch.uint8)
    return (10 * masks)[:, None].expand(-1, 3, -1, -1).contiguous(), masks


def vary(augmentation, seed=0):
    return augmentation(*telling(), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "augmentation",
    [
        PairedAugmentation(shift=6),
        PairedAugmentation(flip=True),
        PairedAugmentation(5, flip=True),
        PairedAugmentation(5, flip=True, turn=True),
    ],
)
def test_every_pixel_keeps_its_own_class(augmentation):
    images, masks = vary(augmentation)
    counts = masks != 255
    assert torch.equal(images[:, 0][counts], (10 * masks)[counts])
    assert not torch.equal(masks, telling()[1])


def test_a_shift_moves_the_mask_whole_and_what_it_brings_in_is_ignored():
    images, masks = telling()
    augmentation = PairedAugmentation(shift=6, border="zero")
    moved, shifted = augmentation(images, masks, torch.Generator().manual_seed(0), ignore_label=200)
    seen = set()
    for image, mask, original in zip(moved, shifted, masks, strict=True):
        found = [
            (down, right)
            for down in range(-6, 7)
            for right in range(-6, 7)
            if torch.equal(mask, shifted_by_hand(original, down, right))
        ]
        assert len(found) == 1
        seen.update(found)
        assert not image[:, mask == 200].any()
    assert len(seen) > 4


def shifted_by_hand(mask, down, right):
    return F.pad(mask, (6, 6, 6, 6), value=200)[6 + down : 30 + down, 6 + right : 30 + right]


def test_magnified_masks_stay_aligned_with_their_pictures():
    # One edge down the middle: wherever it goes, it goes in both.
    masks = torch.zeros(64, 33, 33, dtype=torch.uint8)
    masks[:, :, 16:] = 1
    images = (200 * masks)[:, None].clone()
    augmentation = PairedAugmentation(shift=3, scale=(0.5, 2.0), flip=True)
    moved, shifted = augmentation(images, masks, torch.Generator().manual_seed(0))
    bright, counts = moved[:, 0].float() / 200, shifted != 255
    assert ((bright - shifted).abs()[counts] <= 0.5).all()
    # Between pixels a magnified edge has values of its own.
    assert ((bright > 0.1) & (bright < 0.9)).any()
    widths = counts[:, 16].sum(1)
    assert widths.min() < 25
    assert widths.max() == 33


def test_colour_varies_the_picture_alone():
    images, masks = telling()
    tinted, same = vary(PairedAugmentation(colour=0.4))
    assert torch.equal(same, masks)
    assert tinted.dtype == torch.uint8
    factors = tinted.float().mean((1, 2, 3)) / images.float().mean((1, 2, 3))
    assert factors.min() > 0.55
    assert factors.max() < 1.45
    assert factors.std() > 0.05


def test_grey_pictures_are_varied_too():
    images, masks = telling()
    augmentation = PairedAugmentation(2, (0.8, 1.2), flip=True, colour=0.2)
    moved, _ = augmentation(images[:, :1], masks, torch.Generator().manual_seed(0))
    assert moved.shape == (8, 1, 24, 24)


def test_the_seed_decides_everything_and_samples_differ():
    augmentation = PairedAugmentation(4, (0.7, 1.4), flip=True, colour=0.3)
    one, again, other = vary(augmentation, 1), vary(augmentation, 1), vary(augmentation, 2)
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    assert not torch.equal(one[1], other[1])
    alike = torch.zeros(16, 12, 12, dtype=torch.uint8)
    alike[:, 3, 3] = 1
    masks = augmentation(alike[:, None], alike, torch.Generator().manual_seed(0))[1]
    assert len({mask.numpy().tobytes() for mask in masks}) > 8


def test_nothing_asked_is_nothing_done():
    images, masks = telling()
    same = vary(PairedAugmentation())
    assert torch.equal(same[0], images)
    assert torch.equal(same[1], masks)


@pytest.mark.parametrize(
    "wrong", [{"shift": -1}, {"colour": 1.5}, {"scale": (0.0, 1.0)}, {"scale": (2.0, 1.0)}]
)
def test_impossible_variations_are_refused(wrong):
    with pytest.raises(InputError, match="paired augmentation needs"):
        PairedAugmentation(**wrong)
