"""One network per kind of task, with its data: all of them small, and none trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from coloured_pictures import Colours, coloured_task
from detection_shapes import shapes_task as boxes_task
from shape_scenes import TinySegmenter
from shape_scenes import shapes_task as masks_task
from torch import Tensor, nn

from edgesynth.deploy.onnx import export_onnx

__all__ = ["case"]


class Boxes(nn.Module):
    """Two levels of a detector, untrained."""

    def __init__(self, head: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fine = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.coarse = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        channels = (3, 4, 1) if head == "centre" else (3, 4)
        self.heads = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(8, count, 1) for count in channels) for _ in range(2)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        fine = torch.relu(self.fine(image))
        levels = (fine, torch.relu(self.coarse(fine)))
        return tuple(head(level) for heads, level in zip(self.heads, levels, strict=True) for head in heads)


def case(name: str, folder: Path) -> tuple[Any, nn.Module, Path]:
    """A task, a network for it and the file of that."""
    torch.manual_seed(0)
    task, module = {
        "colours": lambda: (coloured_task(), Colours()),
        "masks": lambda: (masks_task(rest=8), TinySegmenter()),
        "centre": lambda: (boxes_task(held=8, head="centre"), Boxes("centre")),
        "grid": lambda: (boxes_task(held=8, head="grid"), Boxes("grid")),
    }[name]()
    shape = (2, *task.input_shape)
    return task, module.eval(), export_onnx(module.eval(), torch.zeros(shape), folder / f"{name}.onnx").path
