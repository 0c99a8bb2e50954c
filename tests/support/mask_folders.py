"""Folders of pictures with masks, whose red tells the class."""

import numpy as np
import torch
from PIL import Image

SPLITS = ("train", "validation", "test")
PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def values(seed, size=(20, 16), top=3):
    """A mask of blocks, with every value below ``top``."""
    blocks = np.random.default_rng(seed).integers(0, top, (size[1] // 4, size[0] // 4))
    blocks.ravel()[:top] = range(top)
    return blocks.repeat(4, 0).repeat(4, 1).astype(np.uint8)


def draw(path, seed, size=(20, 16), mode="RGB"):
    """A picture that shows its mask: value times fifty in red, noise in the other channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    pixels[..., 0] = 50 * values(seed, size)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def save(path, array, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    if palette is not None:
        picture = picture.convert("P")
        picture.putpalette(palette)
    picture.save(path)
    return path


def pair(images, masks, name, seed, ending="", palette=None):
    draw(images / f"{name}.png", seed)
    save(masks / f"{name}{ending}.png", values(seed), palette)


def everything(task, split="train"):
    (batch,) = task.batches(split, batch_size=10_000)
    return task.images(batch.inputs), batch.targets


def assert_aligned(task):
    """Red tells the class, wherever the picture was read."""
    for split in SPLITS:
        pictures, masks = everything(task, split)
        counts = masks != 255
        assert torch.equal(((pictures[:, 0].int() + 25) // 50)[counts], masks.int()[counts])
        assert counts.any()
