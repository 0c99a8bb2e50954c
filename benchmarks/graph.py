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
from _networks import ResNet50

from edgesynth.graph import Prototype


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
