"""What probe responses are worth: how well the inquisitor predicts the quality of unseen networks.

    python benchmarks/probing.py [--seeds 3] [--keep FOLDER]

Slices of ResNet-20 within a tenth of its MACs, half of them in its proportions and half of any, share weights
that were trained for a few epochs on Fashion-MNIST (10,000 images) and are judged by 2,000 validation images
each. The pair is told some of them, with the responses of two that were probed, and predicts the accuracy of
the others; the same without responses, and with responses whose dimensions were shuffled, which must harm if
it is the responses that help. Rank correlation and error (root mean square over the standard deviation of
what is predicted), means over seeds and splits; differences with the 95 % interval of the paired mean over
splits. Splits of one seed share networks, so the interval says how sure the difference is on these seeds.
Exits with 1 where telling responses does not help, at any number of networks told.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

import edgesynth as es
from edgesynth.progress import NullProgress
from edgesynth.synthesis.candidates import Costs, proportional, stratified
from edgesynth.synthesis.elastic import ElasticTrainer, ElasticWeights, StepSchedule
from edgesynth.synthesis.encoding import Encoding
from edgesynth.synthesis.evaluation import ComputedCosts, Evaluator
from edgesynth.synthesis.performance import Quality
from edgesynth.synthesis.probing import Prober, rank_channels
from edgesynth.synthesis.prototypes import train_prototype
from edgesynth.tasks import TeacherCache, TrainingPlan, load_task
from edgesynth.zoo import build

NETWORKS, PROBED, SPLITS = 140, 2, 12
TOLD = (16, 32, 64)
EPOCHS, SHARED_EPOCHS = 10, 4
FIRST = 10
"""The first seed; those before were looked at while this was chosen."""
Table = list[tuple[es.Architecture, float, dict[str, float]]]


def networks(seed: int, folder: Path) -> tuple[es.Prototype, es.Requirements, Table]:
    """Architectures, their accuracy on shared weights, and the responses of those that were probed."""
    task = load_task("fashion-mnist", train_size=10_000)
    torch.manual_seed(seed)
    module = build("resnet20", in_channels=1, classes=10)
    train_prototype(
        module, task, TrainingPlan(epochs=EPOCHS, seed=seed), folder / "prototype", NullProgress()
    )
    prototype = es.Prototype(module.eval(), torch.zeros(1, *task.input_shape), align=4)
    rank_channels(prototype, task, seed)
    requirements = es.Requirements({"macs": f"<= {prototype.cost().macs / 10}"})
    encoding = Encoding(prototype.space)
    costs = Costs(encoding, ComputedCosts(prototype), requirements)
    rng = np.random.default_rng(seed)
    family = proportional(encoding, costs, NETWORKS, rng)
    shared = ElasticWeights(prototype)
    trainer = ElasticTrainer(
        shared,
        task,
        TeacherCache(module, seed=seed),
        StepSchedule(0.2),
        total_epochs=1.5 * SHARED_EPOCHS,
        batch_size=64,
        seed=seed,
    )
    known = [prototype.canonical(each) for each in encoding.architectures(family)]
    trainer.train(known, SHARED_EPOCHS * trainer.steps_per_epoch, NullProgress().phase("train"))
    any_ = stratified(encoding, 100 * NETWORKS, rng)
    inside = any_[costs.margins(any_) >= 0][: NETWORKS // 2]
    chosen = [
        *known[: NETWORKS // 2],
        *(prototype.canonical(each) for each in encoding.architectures(inside)),
    ]
    calibration = list(task.batches("train", batch_size=128, seed=seed, shuffle=True, limit=1024))
    evaluator = Evaluator(prototype, shared, task, None, calibration)
    batch = next(task.batches("validation", batch_size=8, seed=seed, shuffle=True))
    prober = Prober(prototype, batch.inputs, seed=seed)
    table: Table = []
    for number, architecture in enumerate(chosen):
        responses: dict[str, float] = {}
        if number < PROBED:
            found = prober.probe(architecture, evaluator.carried(architecture))
            responses = {f"{each.vertex}.{each.stimulus}": each.output for each in found}
        quality = evaluator.evaluate(architecture, limit=2000).metrics["accuracy"].value
        table.append((architecture, quality, responses))
    return prototype, requirements, table


def shuffled(responses: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
    """The responses of one dimension given to another, all stimuli alike."""
    vertices = sorted({name.rpartition(".")[0] for name in responses})
    other = dict(zip(vertices, rng.permutation(vertices), strict=True))
    return {
        f"{other[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value
        for name, value in responses.items()
    }


def prediction(
    prototype: es.Prototype,
    requirements: es.Requirements,
    told: Table,
    unseen: Table,
    responses: Sequence[tuple[es.Architecture, Mapping[str, float]]],
) -> tuple[float, float]:
    """Rank correlation and relative error of what a pair predicts."""
    pair = es.GeneratorInquisitor(
        prototype.space, requirements, Quality("accuracy"), computed=ComputedCosts(prototype)
    )
    for architecture, quality, _ in told:
        pair.tell(architecture, {"accuracy": quality})
    for architecture, heard in responses:
        pair.tell(architecture, {}, heard)
    mean, _ = pair.predict([architecture for architecture, _, _ in unseen])["accuracy"]
    truth = np.array([quality for _, quality, _ in unseen])
    ranks = [np.argsort(np.argsort(values)) for values in (mean, truth)]
    error = float(np.sqrt(np.mean((mean - truth) ** 2)) / truth.std())
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]), error


def compared(seed: int, folder: Path) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """By number told and by kind of response, what every split gave."""
    path = folder / f"seed{seed}.json"
    if path.exists():
        kept: dict[str, dict[str, list[tuple[float, float]]]] = json.loads(path.read_text())
        return kept
    prototype, requirements, table = networks(seed, folder / f"seed{seed}")
    probed = [(architecture, heard) for architecture, _, heard in table if heard]
    results: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for count in TOLD:
        kinds = results.setdefault(str(count), {"none": [], "responses": [], "shuffled": []})
        for split in range(SPLITS):
            rng = np.random.default_rng([seed, split])
            order = rng.permutation(len(table))
            told, unseen = ([table[i] for i in part] for part in (order[:count], order[count:]))
            mixed = [(architecture, shuffled(heard, rng)) for architecture, heard in probed]
            for kind, heard in (("none", []), ("responses", probed), ("shuffled", mixed)):
                kinds[kind].append(prediction(prototype, requirements, told, unseen, heard))
    path.write_text(json.dumps(results))
    return results


def main() -> int:
    """Run the benchmark; exit 1 where responses do not help."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="keep what a seed gave here, and go on from it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        seeds = [compared(seed, folder) for seed in range(FIRST, FIRST + options.seeds)]
    helps = True
    print(f"{'told':>5} {'responses':>10} {'rank correlation':>17} {'error':>6}  error against none")
    for count in map(str, TOLD):
        plain = np.array([each for seed in seeds for each in seed[count]["none"]])
        for kind in ("none", "responses", "shuffled"):
            found = np.array([each for seed in seeds for each in seed[count][kind]])
            change = found[:, 1] - plain[:, 1]
            half = 1.96 * change.std(ddof=1) / np.sqrt(len(change))
            against = "" if kind == "none" else f"{change.mean():+.3f} +-{half:.3f}"
            print(f"{count:>5} {kind:>10} {found[:, 0].mean():>17.3f} {found[:, 1].mean():>6.3f}  {against}")
            helps &= kind != "responses" or change.mean() + half < 0
    return int(not helps)


if __name__ == "__main__":
    sys.exit(main())
