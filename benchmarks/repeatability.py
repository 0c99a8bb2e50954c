"""How well a benchmark repeats: the same network measured again and again.

    python benchmarks/repeatability.py [--runs 20] [--model resnet20] [--target all|host|simulated]

On this machine's processor (measured) and on the simulated TX2 (simulated, another seed of its noise each
time). The bar: the coefficient of variation of the median latency over the runs that gave one is under 3 %,
and a run that could not be trusted said ``inconclusive`` instead of giving a figure. The reference is a fixed
load that shows the machine's own speed; a run at another speed than the first one's is inconclusive. Exits
with 1 when the bar is missed, and when fewer than half of the runs gave a figure, which proves nothing: the
machine was busy.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

import edgesynth as es
from edgesynth.profiler import Measurement, MeasurementPlan, profile
from edgesynth.zoo import build

BAR = 0.03


def host_runs(model: Path, runs: int) -> Iterator[Measurement]:
    """The same file on this machine's processor."""
    plan = MeasurementPlan("fp32", warm_up_s=1.0, latency_runs=2000, cool_down_s=3.0, attempts=2)
    with es.open_device("host-cpu") as device:
        for _ in range(runs):
            yield profile(model, device, plan)


def simulated_runs(model: Path, runs: int) -> Iterator[Measurement]:
    """The same file on simulated boards of different seeds."""
    for seed in range(runs):
        with es.open_device("jetson-tx2", link="simulated", seed=seed) as device:
            yield profile(model, device)


def report(name: str, runs: Iterator[Measurement]) -> bool:
    """Print every run and the spread of those that gave a figure; whether the bar is met."""
    shares = f"{'drift':>8}{'waited':>8}{'reference ms':>14}"
    print(f"{name}\n{'run':>5}{'median ms':>12}{'95 % interval':>22}{shares}  status")
    medians: list[float] = []
    energies: list[float] = []
    count = 0
    for count, run in enumerate(runs, 1):
        latency, energy = run.metrics.get("latency_ms"), run.metrics.get("energy_mj")
        drift, waited = run.conditions.get("latency_drift"), run.conditions.get("waited_share")
        cells = f"{'-':>12}{'-':>22}"
        if latency is not None and latency.interval is not None:
            low, high = latency.interval
            cells = f"{latency.value:>12.4f}{f'{low:.4f} .. {high:.4f}':>22}"
            medians.append(latency.value)
        if energy is not None:
            energies.append(energy.value)
        shares = "".join(f"{'-' if share is None else f'{share:.3f}':>8}" for share in (drift, waited))
        reference = run.conditions.get("reference_ms")
        shares += f"{'-' if reference is None else f'{reference:.4f}':>14}"
        why = f": {run.reason.split(';')[0]}" if run.reason else ""
        print(f"{count:>5}{cells}{shares}  {run.status}{why}", flush=True)
    if len(medians) < max(2, count / 2):
        print(f"{len(medians)} of {count} runs gave a median: INCONCLUSIVE, the machine was too busy\n")
        return False
    met = spread(medians) < BAR
    print(
        f"median latency of {len(medians)} of {count} runs: {statistics.mean(medians):.4f} ms, coefficient "
        f"of variation {spread(medians):.2%}, range {min(medians):.4f} .. {max(medians):.4f}; "
        f"bar under {BAR:.0%}: {'met' if met else 'MISSED'}"
    )
    if len(energies) > 1:
        print(f"energy of {len(energies)} runs: coefficient of variation {spread(energies):.2%}")
    print()
    return met


def spread(values: Sequence[float]) -> float:
    """The coefficient of variation."""
    return statistics.stdev(values) / statistics.mean(values)


def main() -> int:
    """Run both targets; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--model", default="resnet20", help="a name of the zoo")
    parser.add_argument("--target", choices=("all", "host", "simulated"), default="all")
    options = parser.parse_args()
    torch.manual_seed(0)
    example = torch.randn(1, 3, 32, 32)
    with tempfile.TemporaryDirectory() as scratch:
        module = build(options.model, in_channels=3, classes=10).eval()
        model = Path(scratch) / f"{options.model}.onnx"
        es.export_onnx(module, example, model)
        met = []
        if options.target in ("all", "host"):
            title = f"{options.model} on the processor of this machine, measured"
            met.append(report(title, host_runs(model, options.runs)))
        if options.target in ("all", "simulated"):
            title = f"{options.model} on jetson-tx2, simulated"
            met.append(report(title, simulated_runs(model, options.runs)))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
