"""A task of your own: find the middle of a disc. It is the example of the README, and runs as it stands."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

import edgesynth as es
from edgesynth.metrics import wilson_interval
from edgesynth.tasks import Batch, Score, Scored

SIDE, NEAR = 24, 0.1
PCK = es.register_metric(es.MetricKind("pck", "PCK@0.1", "", "higher", "task", share=True))
ERROR = es.register_metric(es.MetricKind("error_px", "mean distance", "px", "lower", "task"))


@dataclass(frozen=True)
class Place:
    """A place in the picture, from 0 to 1 along x and y."""

    x: float
    y: float

    def drawn_on(self, image: Tensor) -> Tensor:
        """A red cross on the uint8 picture [3, height, width]."""
        drawn, (height, width) = image.clone(), image.shape[1:]
        row, column = (
            min(max(int(at * size), 0), size - 1) for at, size in ((self.y, height), (self.x, width))
        )
        red = torch.tensor([220, 30, 30], dtype=torch.uint8)[:, None]
        drawn[:, row, max(0, column - 3) : column + 4] = red
        drawn[:, max(0, row - 3) : row + 4, column] = red
        return drawn

    def caption(self, truth: Place) -> str:
        """How far off it is."""
        if self is truth:
            return "truth"
        return f"{SIDE * ((self.x - truth.x) ** 2 + (self.y - truth.y) ** 2) ** 0.5:.1f} px off"


class DiscJudge:
    """Hears answers batch by batch."""

    def __init__(self, source: str) -> None:
        self.source, self.far, self.losses = source, [], []

    def add(self, outputs: Tensor, batch: Batch) -> None:
        self.far.append((outputs.float() - batch.targets).norm(dim=1))
        self.losses.append((outputs.float() - batch.targets).abs().mean(1))

    def score(self) -> Score:
        if not self.far:
            raise es.EdgesynthError(f"{self.source}: no outputs were given")
        far, count = torch.cat(self.far), sum(map(len, self.far))
        right = int((far < NEAR).sum())
        measured = {"provenance": es.Provenance.MEASURED, "samples": count, "source": self.source}
        pck = es.Metric("pck", right / count, interval=wilson_interval(right, count), **measured)
        error = es.Metric("error_px", SIDE * float(far.mean()), **measured)
        return Score(pck, float(torch.cat(self.losses).mean()), correct=far < NEAR, others=(error,))


class DiscTask(Scored):
    """Discs in noise, generated from seeds: 1,200 to train on, 300 + 300 to judge by."""

    name, metric, classes, input_shape = "discs (generated)", "pck", ("x", "y"), (1, SIDE, SIDE)

    def __init__(self, train_size: int = 1200) -> None:
        self.postprocessing = {"kind": "keypoints", "order": ["x", "y"], "unit": "share of the side"}
        sizes = {"train": train_size, "validation": 300, "test": 300}
        self._data = {split: discs(n, seed) for seed, (split, n) in enumerate(sizes.items())}

    def size(self, split):
        if split not in self._data:
            raise es.EdgesynthError(f"unknown split {split!r}")
        return len(self._data[split][1])

    def batches(self, split, *, batch_size, seed=0, shuffle=False, augment=False, limit=None):
        if batch_size < 1 or (limit is not None and limit < 1):
            raise es.EdgesynthError(f"batch size and limit are at least 1, got {batch_size} and {limit}")
        images, middles = self._data[split]
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(middles), generator=generator) if shuffle else torch.arange(len(middles))
        order = order[:limit]
        for chosen in order.tensor_split(-(-len(order) // batch_size)):
            yield Batch(images[chosen], middles[chosen])

    def loss(self, outputs, targets):
        if outputs.shape != targets.shape:
            raise es.EdgesynthError(f"a place needs outputs [batch, 2], got {tuple(outputs.shape)}")
        return (outputs.float() - targets).abs().mean()

    def distillation_loss(self, outputs, teacher_outputs, targets):
        return 0.5 * self.loss(outputs, targets) + 0.5 * self.loss(outputs, teacher_outputs)

    def judge(self, split):
        return DiscJudge(f"{self.name}, {split}")

    # Three methods for pictures in the report; leave them out for data that are no pictures.
    def images(self, inputs):
        return (255 * inputs).clamp(0, 255).byte().expand(-1, 3, -1, -1)

    def answers(self, outputs):
        return tuple(Place(*place) for place in outputs.float().tolist())

    truths = answers


def discs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures [count, 1, 24, 24] from 0 to 1, and the middle of the disc in each [count, 2]."""
    generator = torch.Generator().manual_seed(seed)
    middles = 0.15 + 0.7 * torch.rand(count, 2, generator=generator)
    radii = 0.08 + 0.1 * torch.rand(count, 1, 1, generator=generator)
    along = (torch.arange(SIDE) + 0.5) / SIDE
    x, y = along - middles[:, 0, None, None], along[:, None] - middles[:, 1, None, None]
    disc = (x.square() + y.square() < radii.square()).float()
    noise = 0.2 * torch.randn(count, SIDE, SIDE, generator=generator)
    return (0.2 + 0.6 * disc + noise).clamp(0, 1)[:, None], middles


class DiscNet(nn.Module):
    """Convolutions, then the middle of the disc."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(stage(a, b) for a, b in ((1, 16), (16, 32), (32, 32))))
        self.inner, self.head = nn.Linear(32 * 9, 64), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures [batch, 1, 24, 24] to places [batch, 2]."""
        return torch.sigmoid(self.head(torch.relu(self.inner(self.stages(x).flatten(1)))))


def stage(before: int, after: int) -> nn.Module:
    """Half the size in each direction."""
    convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())
