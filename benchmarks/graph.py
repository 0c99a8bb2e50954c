"""How long the graph package takes on a network of the size of ResNet-50.

    python benchmarks/graph.py

Prints one table: time and peak memory of tracing with couplings, of one slice, of one gather, of one
price. Bounds: trace and couplings under 10 s and 2 GB, one slice under 0.5 s.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgesynth.graph import Prototype


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut, as in ResNet-50."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride > 1 or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[b, inputs, h, w]`` to ``[b, 4 width, h / stride, w / stride]``."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class ResNet50(nn.Module):
    """Stages of 3, 4, 6 and 3 bottlenecks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        stages, inputs = [], 64
        for stage, count in enumerate((3, 4, 6, 3)):
            width = 64 * 2**stage
            blocks = []
            for i in range(count):
                blocks.append(Bottleneck(inputs, width, 2 if stage and not i else 1))
                inputs = 4 * width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, 3, h, w]`` to ``[b, 1000]``."""
        return self.fc(self.stages(self.stem(x)).mean((2, 3)))


def _timed(action: Callable[[int], object], repeats: int) -> str:
    wall, cpu = [], []
    for i in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        action(i)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return (
        f"{statistics.median(wall) * 1e3:9.2f} ms   worst {max(wall) * 1e3:9.2f} ms   "
        f"processor {statistics.median(cpu) * 1e3:9.2f} ms   n={repeats}"
    )


def main() -> None:
    """Time everything once the interpreter and torch are loaded, and print the table."""
    torch.manual_seed(0)
    module = ResNet50().eval()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, start_cpu = time.perf_counter(), time.process_time()
    prototype = Prototype(module, torch.randn(1, 3, 224, 224))
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    architectures = [prototype.space.sample(seed) for seed in range(10)]
    present = {block.name: True for block in prototype.blocks}
    narrow = [{**a, **present} for a in architectures]
    print(f"network            {prototype}, {prototype.cost().macs / 1e9:.4f} GMACs")
    print(
        f"trace + couplings  {seconds:9.2f} s    processor {cpu:.2f} s    "
        f"peak memory {peak / 2**20:.2f} GiB (+{(peak - before) / 2**20:.2f})"
    )
    print(f"slice              {_timed(lambda i: prototype.slice(narrow[i]), 10)}")
    print(f"slice, no blocks   {_timed(lambda i: prototype.slice(architectures[i]), 10)}")
    plan = prototype.plan(narrow[0])
    print(f"gather             {_timed(lambda _: plan.gather(tensors), 10)}")
    print(f"cost               {_timed(lambda i: prototype.cost(architectures[i % 10]), 100)}")


if __name__ == "__main__":
    main()
