"""Pictures of 8 bits, each of one colour on noise, and a network that tells the colours apart."""

import torch
from torch import nn

from edgesynth.deploy.onnx import export_onnx
from edgesynth.tasks import ClassificationTask, TensorSamples

__all__ = ["COLOURS", "Colours", "coloured_task", "write_colours"]

COLOURS = ("red", "green", "blue")


def _samples(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    # Every channel has its own mean and spread, so that no two can be taken for each other.
    base, spread = torch.tensor([40.0, 90.0, 150.0]), torch.tensor([20.0, 50.0, 70.0])
    pictures = base[:, None, None] + spread[:, None, None] * torch.rand(count, 3, 8, 8, generator=generator)
    pictures[torch.arange(count), labels] += 25
    return TensorSamples(pictures.clamp(0, 255).to(torch.uint8), labels)


def coloured_task(**options):
    """Three splits; the normalisation is that of the training split."""
    splits = {split: _samples(48, seed) for seed, split in enumerate(("train", "validation", "test"))}
    return ClassificationTask("colours (generated)", classes=COLOURS, **splits, **options)


class Colours(nn.Module):
    """A convolution with padding, the mean, and a logit per channel; untrained, and right most times."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blur = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
        nn.init.uniform_(self.blur.weight, 0.5, 1.5)

    def forward(self, image):
        return self.blur(image).mean((2, 3)) / 3


def write_colours(path):
    """Its ONNX file, with a free batch."""
    return export_onnx(Colours().eval(), torch.zeros(2, 3, 8, 8), path).path
