"""Networks and data that several tests of deployment share."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesynth.deploy.onnx import export_onnx
from edgesynth.graph import Prototype
from edgesynth.zoo import build


def images(samples: int = 32, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Real images, normalised: the ones that come with the package."""
    batch = next(
        iter(_task().batches("validation", batch_size=samples, shuffle=True, seed=seed, limit=samples))
    )
    return {"input": batch.inputs.numpy()}


@functools.cache
def _task() -> Any:
    from edgesynth.tasks import load_task

    return load_task("fashion-mnist-subset")


def zoo(name: str, folder: Path, seed: int = 0, *, width: bool = False) -> tuple[nn.Module, Path]:
    """A zoo network, or a slice of one at random widths, and its FP32 file."""
    torch.manual_seed(seed)
    module = build(name)
    settle(module)
    if width:
        prototype = Prototype(module, torch.zeros(1, 1, 28, 28), name=name)
        module = prototype.slice(prototype.space.sample(seed))
    path = export_onnx(module, torch.zeros(2, 1, 28, 28), folder / f"{name}-{seed}.onnx").path
    return module.eval(), path


def settle(module: nn.Module) -> None:
    """Give batch norms statistics of real data, without which a deep fresh network computes nothing."""
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.as_tensor(images(32)["input"]))
    module.eval()


class Small(nn.Module):
    """A network with everything that faults are seeded in: convolutions, a norm, softmax, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.left, self.right = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        inner = torch.relu(self.two(torch.relu(self.norm(self.one(image)))))
        pooled = inner.mean((2, 3))
        return self.left(pooled), torch.softmax(self.right(pooled), 1)


def small(folder: Path) -> tuple[Small, Path, dict[str, NDArray[Any]]]:
    """The small network, its FP32 file and data for it."""
    torch.manual_seed(0)
    module = Small().eval()
    data = {"input": np.random.default_rng(0).normal(0.5, 1, (16, 3, 8, 8)).astype(np.float32)}
    path = export_onnx(
        module, torch.as_tensor(data["input"][:2]), folder / "small.onnx", output_names=["logits", "share"]
    ).path
    return module, path, data
