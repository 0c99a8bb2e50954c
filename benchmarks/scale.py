"""Whole cycles with a network of the size of ResNet-50 at 224x224: memory, and the time of every phase.

    python benchmarks/scale.py
    python benchmarks/scale.py --steps 96         # training weighs more the longer it is

The data are scikit-learn's 8x8 digits blown up: it is the cost that is looked at, not the quality, so the
prototype is not trained either. Bound: 8 GB at the peak. What a phase takes beside training depends on how
much training there is; the table says how many steps a cycle had.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time

import torch
from _networks import ResNet50
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import Dataset

import edgesynth as es
from edgesynth.cli.progress import open_progress
from edgesynth.runs import Run
from edgesynth.tasks import from_datasets

SIZE = 224
BATCH = 16
BOUND_GB = 8.0


class LargeDigits(Dataset[tuple[Tensor, int]]):
    """Digits as RGB images ``[3, 224, 224]``, made when they are read.

    Args:
        first: The first digit.
        count: How many.
    """

    classes = tuple("0123456789")

    def __init__(self, first: int, count: int) -> None:
        digits = load_digits()
        images = torch.from_numpy(digits.images[first : first + count]).float() / 16
        self._images = images[:, None].expand(-1, 3, -1, -1)
        self._labels = digits.target[first : first + count].tolist()

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self._images[index : index + 1]
        return torch.nn.functional.interpolate(image, size=(SIZE, SIZE), mode="bilinear")[0], self._labels[
            index
        ]


def main() -> int:
    """Run the cycles and print the table; exit 1 when memory exceeds the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=48, help="training steps over all cycles")
    parser.add_argument("--cycles", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    prototype = es.Prototype(ResNet50(classes=10), torch.zeros(1, 3, SIZE, SIZE), align=8)
    train, validation, test = LargeDigits(0, 256), LargeDigits(256, 64), LargeDigits(320, 64)
    task = from_datasets(train, test, validation, name="digits, 224x224", memory_limit_bytes=0)
    settings = es.SynthesisSettings(
        cycles=options.cycles,
        epochs=options.steps * BATCH / len(train),
        networks=1,
        polish_epochs=0.1,
        seeds_per_cycle=2,
        asked_per_cycle=2,
        probes_per_cycle=1,
        batch_size=BATCH,
        validation_limit=64,
        calibration_samples=64,
    )
    requirements = es.Requirements({"macs": f"<= {prototype.cost().macs / 4}"})
    print(f"{prototype}, {prototype.cost().macs / 1e9:.2f} GMACs, batches of {BATCH}")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        es.synthesize(
            prototype, task, requirements, run_dir=folder, settings=settings, progress=open_progress()
        )
        with Run.open(folder) as run:
            records = run.cycles()
    phases = list(dict.fromkeys(name for record in records for name in record.seconds))
    print("cycle  steps  " + "  ".join(f"{name:>14}" for name in phases))
    spent = 0.0
    for record in records:
        total = sum(record.seconds.values())
        steps = round((record.epochs - spent) * len(train) / BATCH)
        spent = record.epochs
        shares = "  ".join(
            f"{record.seconds[name]:6.1f} s {record.seconds[name] / total:4.0%} " for name in phases
        )
        print(f"{record.cycle:5d}  {steps:5d}  {shares}")
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    seconds = time.perf_counter() - began
    print(f"whole run {seconds:.0f} s, peak memory {peak_gb:.2f} GB; bound: {BOUND_GB:.0f} GB")
    return int(peak_gb > BOUND_GB)


if __name__ == "__main__":
    sys.exit(main())
