import pytest
import torch

from edgesynth.errors import DataError
from edgesynth.tasks import load_task
from edgesynth.tasks.datasets.synthetic.fonts import MASK_SIDE, FontFamily, find_families, system_font_folders
from edgesynth.tasks.datasets.synthetic.glyphs import _parted, compose, find_photographs, render


@pytest.fixture(scope="module")
def families():
    """The fonts that come with matplotlib, and whatever this machine has."""
    return find_families(system_font_folders())


def test_digits_are_found_in_real_fonts_and_not_in_symbol_fonts(families):
    names = [family.name for family in families]
    assert {"dejavu", "computer modern", "stixgeneral"} <= set(names)
    assert len(names) == len(set(names))
    assert not any("lastresort" in name for name in names)
    for family in families:
        assert family.masks.shape[1:] == (10, MASK_SIDE, MASK_SIDE)
        assert bool((family.masks.amax((2, 3)) > 128).all())


def test_photographs_of_installed_packages_are_found():
    photographs = find_photographs()
    assert {"china.jpg", "flower.jpg", "grace_hopper.jpg"} <= set(photographs)
    for photograph in photographs.values():
        assert min(photograph.shape[1:]) == 256
        assert photograph.float().std() > 10


def test_pictures_are_balanced_varied_and_repeatable(families):
    photographs = list(find_photographs().values())
    one, again = (render(families, photographs, 60, seed=1) for _ in range(2))
    other = render(families, photographs, 60, seed=2)
    assert one.inputs.shape == (60, 3, 32, 32)
    assert one.inputs.dtype == torch.uint8
    assert one.labels.bincount().tolist() == [6] * 10
    assert torch.equal(one.inputs, again.inputs)
    assert not torch.equal(one.inputs, other.inputs)
    assert len({image.numpy().tobytes() for image in one.inputs}) == 60


def test_a_picture_shows_the_digit_of_its_label():
    masks = torch.zeros(1, 10, MASK_SIDE, MASK_SIDE, dtype=torch.uint8)
    masks[0, 7, 8:40, 16:32] = 255
    drawn = render([FontFamily("block", masks)], [torch.full((3, 256, 256), 200, dtype=torch.uint8)], 200, 0)
    centre = drawn.inputs[:, :, 13:19, 14:18].float().mean((1, 2, 3))
    edge = drawn.inputs[:, :, :2, :2].float().mean((1, 2, 3))
    difference = (centre - edge).abs()
    # A neighbour sometimes reaches the corner or the centre.
    assert float((difference[drawn.labels == 7] > 15).float().mean()) > 0.85
    assert float((difference[drawn.labels == 3] > 15).float().mean()) < 0.15


def test_parts_share_nothing_and_keep_their_members_when_order_changes():
    named = [(f"family{index}", index) for index in range(20)]
    parts = _parted(named, (3, 1, 2))
    assert sorted([*parts[0], *parts[1], *parts[2]]) == list(range(20))
    assert [len(part) for part in parts] == [12, 3, 5]
    assert _parted(named[::-1], (3, 1, 2)) == parts


def test_too_few_fonts_are_refused_with_what_to_install(tmp_path):
    with pytest.raises(DataError, match=r"found 0 font families.*apt install"):
        load_task("glyphs", root=tmp_path)


def test_the_whole_set_says_that_it_is_generated(families):
    fonts = [FontFamily(f"font{i}", f.masks[:1]) for i, f in enumerate([*families, *families][:6])]
    found = list(find_photographs().values())
    photographs = {f"photograph{index}": found[index % len(found)] for index in range(5)}
    task = compose(fonts, photographs, train_size=200)
    assert [task.size(split) for split in ("train", "validation", "test")] == [200, 2_000, 4_000]
    assert "generated data, not recorded" in str(task.description)
    assert "fingerprint" in str(task.description)
    assert not task.augmentation.flip
