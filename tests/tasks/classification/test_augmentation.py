import time

import pytest
import torch

from edgesynth.errors import InputError
from edgesynth.tasks import Augmentation, load_task


def vary(augmentation, images, seed=0):
    return augmentation(images, torch.Generator().manual_seed(seed))


def test_a_shifted_image_is_a_window_of_the_padded_one():
    images = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5).expand(64, -1, -1, -1)
    padded = torch.nn.functional.pad(images[0, 0], (2, 2, 2, 2))
    windows = [padded[y : y + 5, x : x + 5] for y in range(5) for x in range(5)]
    shifted = vary(Augmentation(shift=2), images)
    found = {next(i for i, w in enumerate(windows) if torch.equal(image[0], w)) for image in shifted}
    assert len(found) > 15
    assert shifted.dtype == torch.uint8


def test_reflection_brings_no_new_values_in():
    images = torch.randint(100, 200, (32, 3, 8, 8), dtype=torch.uint8)
    shifted = vary(Augmentation(shift=3, border="reflect"), images)
    assert int(shifted.min()) >= 100
    assert not torch.equal(shifted, images)


def test_about_half_of_the_images_are_mirrored():
    images = torch.arange(4, dtype=torch.uint8).view(1, 1, 1, 4).expand(400, -1, -1, -1)
    mirrored = (vary(Augmentation(flip=True), images)[:, 0, 0, 0] == 3).float().mean()
    assert 0.4 < mirrored < 0.6


def test_cutout_zeroes_one_square_of_each_image():
    images = torch.ones(200, 2, 16, 16)
    holes = (vary(Augmentation(cutout=4), images) == 0).sum((2, 3))
    assert torch.equal(holes[:, 0], holes[:, 1])
    assert int(holes.max()) == 16
    assert int(holes.min()) >= 4


def test_images_of_one_batch_are_varied_differently_and_repeatably():
    images = torch.rand(8, 1, 12, 12)[:1].expand(8, -1, -1, -1)
    augmentation = Augmentation(shift=2, flip=True, cutout=3)
    assert len({image.numpy().tobytes() for image in vary(augmentation, images)}) > 1
    assert torch.equal(vary(augmentation, images, 4), vary(augmentation, images, 4))


def test_sizes_must_not_be_negative():
    with pytest.raises(InputError, match="-1"):
        Augmentation(shift=-1)


def test_only_data_that_allow_it_are_mirrored():
    assert load_task("fashion-mnist-subset").augmentation.flip
    assert not load_task("digits").augmentation.flip


def test_varying_an_epoch_is_cheap_beside_training_on_it():
    task = load_task("fashion-mnist-subset")
    seconds = []
    for _ in range(3):
        started = time.process_time()
        count = sum(
            len(batch.inputs) for batch in task.batches("train", batch_size=128, shuffle=True, augment=True)
        )
        seconds.append(time.process_time() - started)
    assert count == 4000
    # Alone on one core it takes 0.05 s; ResNet-20 takes over 100 times as long to train on them.
    assert min(seconds) < 0.6
