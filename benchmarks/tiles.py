"""Whether a generator holds a latency that climbs in steps: devices compute whole tiles of channels.

    python benchmarks/tiles.py --first 10 --seeds 4

ResNet-20 for 28 x 28 pixels on a made-up device whose latency is the work of all layers, channels rounded up
to whole tiles; accuracy is a sum over widths that saturates. A pair is told ``--evaluations`` networks that
it asked for, and fresh seeds of it are judged by the device: no search, no repair. The bar: 98 % of them
within the latency, 90 % distinct, on average over seeds. The exit status is 1 where it is missed.
"""

from __future__ import annotations

import argparse
import sys
from statistics import mean

import numpy as np
import torch

import edgesynth as es
from edgesynth.synthesis.evaluation import ComputedCosts
from edgesynth.zoo import build

DEVICES = ((8, 2), (16, 4))
"""Channels of a tile, and of the step of the widths."""
SHARE = 0.3
"""Of the largest network's latency that is allowed."""
FEASIBLE, DISTINCT = 0.98, 0.9


def latency_ms(prototype: es.Prototype, architecture: es.Architecture, tile: int) -> float:
    """Latency of an architecture on the made-up device."""
    (sizes,), (there,) = prototype.layer_sizes(prototype.space.encode(architecture)[None])
    out, into, often = sizes.T
    work = np.ceil(out / tile) * np.ceil(into / tile) * tile**2 * often
    return float(1.0 + 2e-7 * work[there].sum())


def accuracy(space: es.Space, architecture: es.Architecture) -> float:
    """Made-up accuracy: every channel is worth something, each further one less."""
    lost = 0.0
    for number, dimension in enumerate(space):
        if isinstance(dimension, es.Switch):
            lost += 0.004 * (not architecture[dimension.name])
        else:
            need = max(map(int, dimension.values)) * (0.21 + 0.28 * np.random.default_rng(number).random())
            lost += 0.02 * float(np.exp(-2 * int(architecture[dimension.name]) / need))
    return 0.95 - lost


def family(prototype: es.Prototype, tile: int, seed: int, evaluations: int) -> tuple[float, float, float]:
    """Of a hundred fresh seeds, shares within the latency and distinct, and mean accuracy within."""
    space = prototype.space
    bound = 1.0 + SHARE * (latency_ms(prototype, space.largest(), tile) - 1.0)
    pair = es.GeneratorInquisitor(
        space, {"latency_ms": f"<= {bound}"}, lambda m: m["accuracy"], seed, ComputedCosts(prototype)
    )
    told = 0
    while told < evaluations:
        for architecture in pair.ask(5):
            found = {
                "latency_ms": latency_ms(prototype, architecture, tile),
                "accuracy": accuracy(space, architecture),
            }
            pair.tell(architecture, found)
            told += 1
    drawn = [pair.generate(1000 + fresh) for fresh in range(100)]
    inside = [each for each in drawn if latency_ms(prototype, each, tile) <= bound]
    distinct = len({space.key(each) for each in drawn}) / len(drawn)
    return len(inside) / len(drawn), distinct, mean(accuracy(space, each) for each in inside or drawn)


def main() -> int:
    """Print a line per seed; exit 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first", type=int, default=10, help="the first seed")
    parser.add_argument("--evaluations", type=int, default=60)
    options = parser.parse_args()
    met = True
    for tile, step in DEVICES:
        module = build("resnet20", in_channels=1, classes=10)
        prototype = es.Prototype(module, torch.zeros(1, 1, 28, 28), align=step)
        rows = []
        for seed in range(options.first, options.first + options.seeds):
            rows.append(family(prototype, tile, seed, options.evaluations))
            held, distinct, worth = rows[-1]
            print(
                f"tiles of {tile}, widths in steps of {step}, seed {seed}: {held:.0%} within, "
                f"{distinct:.0%} distinct, accuracy {worth:.4f}",
                flush=True,
            )
        held, distinct, _ = map(mean, zip(*rows, strict=True))
        right = held >= FEASIBLE and distinct >= DISTINCT
        print(f"mean: {held:.1%} within, {distinct:.1%} distinct; {'met' if right else 'MISSED'}")
        met = met and right
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
