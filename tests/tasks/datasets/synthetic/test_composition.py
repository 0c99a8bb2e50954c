import numpy as np
import pytest
import torch
from PIL import Image

from edgesynth.errors import DataError, InputError
from edgesynth.tasks.datasets.synthetic.composition import Composition, Sprite, compose_scenes


def black(_rng, side):
    return np.zeros((side, side, 3), np.float32)


def sprite(colour, label=0, size=(50, 30)):
    return Sprite.of(str(colour), label, Image.new("RGBA", size, (*colour, 255)))


@pytest.fixture(scope="module")
def plain():
    """Thirty scenes of sprites of one colour each, drawn without noise or tint."""
    sprites = [sprite((250, 0, 0), 0), sprite((0, 250, 0), 1), sprite((0, 0, 250), 2)]
    return compose_scenes(sprites, black, Composition(64, noise=0, tint=0), 30, seed=3)


def test_a_mask_says_of_every_pixel_what_is_seen_there(plain):
    for image, mask in zip(plain.images, plain.masks, strict=True):
        brightest = image.amax(0)
        # Only pixels at an edge are mixed, and the mask gives those to what covers half of them.
        sure = (brightest > 240) & (image.int().sum(0) - brightest < 10)
        assert torch.equal(mask[sure], (image.argmax(0) + 1).to(torch.uint8)[sure])
        assert int(mask[brightest < 10].sum()) == 0
        assert sure.sum() > 0.5 * (mask > 0).sum()


def test_boxes_fit_the_visible_part_and_no_more(plain):
    for mask, boxes, labels in zip(plain.masks, plain.boxes, plain.labels, strict=True):
        assert 1 <= len(boxes) == len(labels) <= 4
        covered = torch.zeros_like(mask, dtype=torch.bool)
        for box, label in zip(boxes.int().tolist(), labels.tolist(), strict=True):
            inside = mask[box[1] : box[3], box[0] : box[2]] == label + 1
            assert min(inside[0].sum(), inside[-1].sum(), inside[:, 0].sum(), inside[:, -1].sum()) > 0
            covered[box[1] : box[3], box[0] : box[2]] = True
        assert not bool(mask[~covered].any())


def test_objects_keep_enough_of_themselves(plain):
    # Rectangles of 50 to 30 fill most of a box; what is hidden is missing in the mask.
    for mask, boxes, labels in zip(plain.masks, plain.boxes, plain.labels, strict=True):
        if len(set(labels.tolist())) == len(labels):
            for box, label in zip(boxes, labels, strict=True):
                pixels = int((mask == label + 1).sum())
                longest = float(max(box[2] - box[0], box[3] - box[1]))
                assert pixels > 0.45 * 0.6 * 0.4 * longest**2


def test_scenes_repeat_and_the_first_stay_when_more_are_wanted():
    sprites = [sprite((200, 100, 50)), sprite((50, 100, 200), 1)]
    few, many = (compose_scenes(sprites, black, Composition(48), count, seed=1) for count in (4, 9))
    other = compose_scenes(sprites, black, Composition(48), 4, seed=2)
    assert torch.equal(few.images, many.images[:4])
    assert torch.equal(few.masks, many.masks[:4])
    assert all(torch.equal(one, two) for one, two in zip(few.boxes, many.boxes, strict=False))
    assert not torch.equal(few.images, other.images)


def test_classes_are_drawn_equally_often_however_many_pictures_each_has():
    sprites = [*(sprite((40 * n, 0, 0), 0) for n in range(1, 6)), sprite((0, 200, 0), 1)]
    made = compose_scenes(sprites, black, Composition(32, objects=(1, 1)), 400, seed=0)
    counts = torch.cat(made.labels).bincount()
    assert counts.sum() == 400
    assert abs(int(counts[0]) - 200) < 50


def test_a_sprite_is_cut_to_what_is_opaque():
    picture = Image.new("RGBA", (100, 80), (9, 9, 9, 0))
    picture.paste((200, 0, 0, 255), (20, 10, 60, 30))
    levels = Sprite.of("a", 0, picture).levels
    assert levels[0].size == (40, 20)
    assert levels[0].getpixel((0, 0)) == (200, 0, 0, 255)


def test_what_cannot_be_composed_is_refused():
    with pytest.raises(DataError, match="transparent throughout"):
        Sprite.of("empty", 0, Image.new("RGBA", (10, 10)))
    with pytest.raises(InputError, match="at least 32 pixels, got 8"):
        Composition(8)
