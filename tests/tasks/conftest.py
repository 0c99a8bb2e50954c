import pytest
import torch
from torch import nn

from edgesynth.tasks import ClassificationTask, TensorSamples, load_task


@pytest.fixture(scope="session")
def clothing():
    """The packaged Fashion-MNIST subset, 256 images to train on."""
    return load_task("fashion-mnist-subset", train_size=256)


@pytest.fixture
def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


@pytest.fixture
def make_task():
    """A task of random samples with the given labels per split."""

    def make(train=(0, 1, 2) * 8, validation=(0, 1, 2), test=(0, 1, 2), *, shape=(1, 8, 8), **options):
        generator = torch.Generator().manual_seed(0)

        def samples(labels):
            inputs = torch.randint(256, (len(labels), *shape), generator=generator, dtype=torch.uint8)
            return TensorSamples(inputs, torch.tensor(labels, dtype=torch.int64))

        return ClassificationTask(
            "random",
            train=samples(train),
            validation=samples(validation),
            test=samples(test),
            classes=options.pop("classes", ("a", "b", "c")),
            **options,
        )

    return make
