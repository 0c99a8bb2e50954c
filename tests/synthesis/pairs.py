"""A space of eight dimensions, and pairs that learn of it."""

from itertools import pairwise

import numpy as np

from edgesynth.space import Choice, Space, Switch, Width
from edgesynth.synthesis.pair import GeneratorInquisitor
from edgesynth.synthesis.performance import NetScore

SPACE = Space([Width(f"w{i}", 8, 64, 8) for i in range(6)] + [Switch("b"), Choice("op", ["a", "b", "c"])])
BOUNDS = {"accuracy": ">= 0.8", "macs": "<= 1M"}


def computed(a):
    w = [3] + [a[f"w{i}"] for i in range(6)]
    work = sum(9 * x * y for x, y in pairwise(w)) * (1.2 if a["b"] else 1.0)
    return {"macs": 64.0 * work, "parameters": float(work)}


def paid(a):
    loss = sum(0.06 * np.exp(-a[f"w{i}"] / (8 + 3 * i)) for i in range(6))
    return {"accuracy": 0.95 - loss + 0.01 * a["b"] - 0.02 * (a["op"] == "a")}


def make(seed=0, **options):
    return GeneratorInquisitor(SPACE, BOUNDS, NetScore(), seed=seed, computed=computed, **options)


def run(pair, evaluations, batch=4):
    asked = []
    for _ in range(evaluations // batch):
        for architecture in pair.ask(batch):
            asked.append(architecture)
            pair.tell(architecture, paid(architecture))
    return asked
