"""Runs with realistic records, in every state a run can be in."""

from __future__ import annotations

import io
import math
import random
from dataclasses import replace
from pathlib import Path

from PIL import Image

from edgesynth.metrics import Metric, Provenance, wilson_interval
from edgesynth.runs import CycleRecord, LayerRecord, NetworkRecord, Run
from edgesynth.runs.details import Confusion, CurvePoints, Details, write_details
from edgesynth.runs.pictures import Picture, PictureRow, PictureSet, write_pictures
from edgesynth.space import Architecture, Space, Switch, Width

BOARD = "jetson-tx2, simulated, MAXN 1.30 GHz"
SPACE = Space(
    [
        *(Width(f"stage{s}.stream", 4, 16 * 2 ** (s - 1), step=4) for s in (1, 2, 3)),
        *(Width(f"stage{s}.{b}.inner", 4, 16 * 2 ** (s - 1), step=4) for s in (1, 2, 3) for b in range(3)),
        *(Switch(f"stage{s}.{b}") for s in (1, 2, 3) for b in (1, 2)),
    ]
)
VERTICES = [name for name in SPACE.names if name.endswith(("stream", "inner"))]
REQUIREMENTS = {
    "accuracy": [">= 0.89"],
    "macs": ["<= 4e+06"],
    "latency_ms": ["<= 1.5"],
    "inferences_per_joule": [">= 90"],
}
MANIFEST = {
    "job": {
        "prototype": {"name": "resnet20", "epochs": 12},
        "task": {"data": "fashion-mnist", "train_size": 5000, "test_size": 1000},
        "requirements": {
            "accuracy": ">= 0.89",
            "macs": "<= 4M",
            "latency_ms": "<= 1.5",
            "inferences_per_joule": ">= 90",
        },
        "device": {"name": "jetson-tx2", "link": "simulated"},
        "synthesis": {"cycles": 8, "epochs": 20.0, "seed": 0},
    },
    "space": SPACE.to_json(),
    "requirements": REQUIREMENTS,
    "settings": {"cycles": 8, "seed": 0, "performance": "netscore"},
    "versions": {"edgesynth": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
    "data": {
        "name": "Fashion-MNIST",
        "origin": "real",
        "source": "Zalando Research",
        "licence": "MIT",
        "sizes": {"train": 54_000, "validation": 6_000, "test": 10_000},
        "division": "validation is the last tenth of the training set",
    },
}


def layers(architecture: Architecture) -> tuple[LayerRecord, ...]:
    """The convolutions of a ResNet-20 whose widths are those of the architecture."""
    out = [_conv("conv1", 1, int(architecture["stage1.stream"]), 28)]
    before = int(architecture["stage1.stream"])
    for stage in (1, 2, 3):
        size = 28 // 2 ** (stage - 1)
        stream = int(architecture[f"stage{stage}.stream"])
        for block in range(3):
            if block and not architecture[f"stage{stage}.{block}"]:
                continue
            inner = int(architecture[f"stage{stage}.{block}.inner"])
            out.append(_conv(f"stage{stage}.{block}.conv1", before if block == 0 else stream, inner, size))
            out.append(_conv(f"stage{stage}.{block}.conv2", inner, stream, size))
        before = stream
    out.append(
        LayerRecord("head", "linear", before * 10, before * 10 + 10, before * 40, before * 4 + 40, (10,))
    )
    return tuple(out)


def _conv(name: str, inputs: int, outputs: int, size: int) -> LayerRecord:
    weights = 9 * inputs * outputs
    traffic = 4 * size * size * (inputs + outputs)
    return LayerRecord(
        name, "conv2d", weights * size**2, weights, 4 * weights, traffic, (outputs, size, size)
    )


def network(role: str, architecture: Architecture, accuracy: float, **changes) -> NetworkRecord:
    rng = random.Random(SPACE.key(architecture))
    cost = layers(architecture)
    macs, parameters = sum(layer.macs for layer in cost), sum(layer.parameters for layer in cost)
    latency = 0.42 + 1.9 * (macs / 40e6) ** 0.7
    rate = 1000 / (latency * (2.1 + 3.2 * math.sqrt(macs / 40e6)))
    metrics = {
        **quality(accuracy, 6000, "Fashion-MNIST validation", macs, parameters),
        "macs": Metric("macs", macs, Provenance.COMPUTED, source="graph"),
        "parameters": Metric("parameters", parameters, Provenance.COMPUTED, source="graph"),
        "latency_ms": simulated("latency_ms", latency, 0.012, rng),
        "inferences_per_joule": simulated("inferences_per_joule", rate, 0.02, rng),
    }
    fields = {"key": SPACE.key(architecture), "verdicts": verdicts(metrics), "layers": cost, **changes}
    if role != "candidate":
        fields["test_metrics"] = quality(accuracy - 0.004, 10_000, "Fashion-MNIST test", macs, parameters)
    return NetworkRecord(role=role, architecture=architecture, metrics=metrics, **fields)


def quality(accuracy: float, samples: int, source: str, macs: int, parameters: int) -> dict[str, Metric]:
    netscore = 20 * math.log10((100 * accuracy) ** 2 / math.sqrt(parameters / 1e6 * macs / 1e9))
    interval = wilson_interval(accuracy * samples, samples)
    return {
        "accuracy": Metric("accuracy", accuracy, Provenance.MEASURED, samples, interval, source),
        "netscore": Metric("netscore", netscore, Provenance.COMPUTED, source=source),
    }


def simulated(name: str, value: float, spread: float, rng: random.Random) -> Metric:
    value *= 1 + rng.gauss(0, spread / 2)
    return Metric(name, value, Provenance.SIMULATED, 200, (value * (1 - spread), value * (1 + spread)), BOARD)


def verdicts(metrics: dict[str, Metric]) -> dict[str, str]:
    out = {}
    for name, bounds in REQUIREMENTS.items():
        sense, bound = bounds[0].split()
        metric = metrics[name]
        low, high = metric.interval or (metric.value, metric.value)
        holds = [(end >= float(bound)) == (sense == ">=") for end in (low, high)]
        word = "satisfied (simulated)" if metric.provenance is Provenance.SIMULATED else "satisfied"
        out[f"{name} {bounds[0]}"] = word if all(holds) else "inconclusive" if any(holds) else "violated"
    return out


def accuracy_of(architecture: Architecture, rng: random.Random, progress: float = 1.0) -> float:
    macs = sum(layer.macs for layer in layers(architecture))
    return (
        0.932
        - 0.028 * (1 - math.log10(macs) / math.log10(31e6)) / 0.14 * (1.6 - 0.6 * progress)
        + rng.gauss(0, 0.003)
    )


def shrink(rng: random.Random, share: float) -> Architecture:
    out: Architecture = {}
    for dimension in SPACE:
        if isinstance(dimension, Switch):
            out[dimension.name] = rng.random() < 0.5 + share / 2
        else:
            wanted = dimension.maximum * min(1.0, max(0.1, rng.gauss(share, 0.12)))
            out[dimension.name] = min(dimension.values, key=lambda value: abs(int(value) - wanted))
    return out


def build(
    path: Path,
    *,
    cycles: int = 8,
    generated: int = 5,
    prototype: bool = True,
    trouble: bool = True,
    manifest=MANIFEST,
) -> Path:
    """Write a run and return its folder; fewer cycles or networks make it a partial one."""
    rng = random.Random(0)
    with Run.create(path, manifest) as run:
        if prototype:
            whole = network("prototype", SPACE.largest(), 0.932, key="prototype")
            run.record_network(whole)
        for number in range(cycles):
            share = 0.75 - 0.45 * (number + 1) / cycles
            seen = [shrink(rng, share) for _ in range(9)]
            found = [
                network("candidate", a, accuracy_of(a, rng, number / cycles), cycle=number) for a in seen
            ]
            for record in found:
                run.record_network(record)
            run.record_cycle(_cycle(number, found, cycles, rng))
        if trouble:
            _record_trouble(run, rng)
        for seed in range(1000, 1000 + generated):
            architecture = shrink(rng, 0.31)
            accuracy = max(0.912, accuracy_of(architecture, rng)) + rng.gauss(0, 0.002)
            key = SPACE.key(architecture)
            files = {
                "recipe": f"networks/{seed}-{key}/recipe.json",
                "onnx": f"networks/{seed}-{key}/network.onnx",
            }
            run.record_network(network("generated", architecture, accuracy, seed=seed, files=files))
        run.event("learning ended")
        if generated:
            run.set_status("finished")
    return path


def _record_trouble(run: Run, rng: random.Random) -> None:
    failed = network("candidate", shrink(rng, 0.9), 0.9, cycle=0)
    run.record_network(
        replace(
            failed,
            metrics={},
            verdicts={},
            status="failed",
            reason="engine build ran out of memory: 7.8 GB asked",
        )
    )
    unsteady = network("candidate", shrink(rng, 0.5), 0.91, cycle=1)
    run.record_network(
        replace(unsteady, status="inconclusive", reason="clock changed from 1.30 to 0.85 GHz during the run")
    )


def _cycle(number: int, found: list[NetworkRecord], cycles: int, rng: random.Random) -> CycleRecord:
    def mean(name: str) -> float:
        return sum(record.metrics[name].value for record in found) / len(found)

    done = (number + 1) / cycles
    return CycleRecord(
        number,
        quality=mean("accuracy"),
        macs=mean("macs"),
        parameters=mean("parameters"),
        netscore=mean("netscore"),
        performance=mean("netscore"),
        feasible_fraction=round(8 * min(1.0, done**1.5 + 0.05)) / 8,
        distinct_fraction=1.0 if number != 5 else 0.875,
        mean_distance=0.34 - 0.12 * done + rng.gauss(0, 0.01),
        latency_ms=mean("latency_ms"),
        inferences_per_joule=mean("inferences_per_joule"),
        binding="macs <= 4e+06" if done < 0.7 else "accuracy >= 0.89",
        better=None if number == 0 else 0.31 if number == 3 else 0.78,
        stands=number != 3,
        efficiency={
            name: math.exp(math.sin(5 * i + number) * (1.2 - done)) for i, name in enumerate(VERTICES)
        },
        seconds={
            "generate": 0.2,
            "train": 14 + rng.random(),
            "probe": 2.1,
            "profile": 0.9,
            "learn": 1.4 + done,
        },
        epochs=20 * done,
    )


CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


LEGEND = ("", "#56b4e9", "#009e73")


def add_answers(
    path: Path,
    *,
    alike: bool,
    classes: tuple[str, ...] = CLASSES,
    curves: bool = True,
    confusions: bool = True,
    metric: str = "",
) -> Path:
    """Give a run pictures and details, as a synthesis writes them at its end.

    Args:
        path: The run.
        alike: Whether every answer leaves the picture as it is, as classes do.
        classes: Names.
        curves: Whether answers have confidences.
        confusions: Whether answers are classes of something that can be counted.
        metric: Of the details; that of the run when not given.
    """
    rng = random.Random(1)
    with Run.open(path, write=True) as run:
        records = [*run.networks("prototype"), *run.networks("generated")]
        for record in records:
            name = "prototype" if record.role == "prototype" else f"{record.seed}-{record.key}"
            right = 95 if record.role == "prototype" else 88
            details = _details(record, right, classes, curves, rng)
            if not confusions:
                details = replace(details, confusion=None)
            if metric:
                details = replace(details, metric=replace(details.metric, name=metric))
            file = write_details(run.path_for("network", name), details)
            files = {**record.files, "details": str(file.relative_to(path))}
            run.record_network(replace(record, files=files))
        labels = ("prototype", *(f"seed {record.seed}" for record in records[1:6]))
    images, rows = {}, []
    for sample in range(12):
        pictures = []
        for index, label in enumerate(("truth", *labels)):
            data = _png(sample, 0 if alike else index)
            file = f"{sample}-{0 if alike else index}.png"
            images[file] = data
            mark = "" if label == "truth" else f" {rng.random():.0%} {'✓' if index % 2 else '✗'}"
            pictures.append(Picture(file, f"{classes[sample % len(classes)]}{mark}"))
        why = ("the networks differ most from the prototype", "great loss", "spread evenly over the rest")
        rows.append(PictureRow(sample, why[sample // 4], pictures[0], tuple(pictures[1:])))
    legend = () if alike else tuple(zip(classes, LEGEND, strict=False))
    reading = "" if alike else "Hatched: the network is wrong there."
    rule = "Of 240 test samples: 12."
    found = PictureSet("Fashion-MNIST test", rule, labels, tuple(rows), 28, 28, legend, reading)
    write_pictures(path, found, images)
    return path


def _details(
    record: NetworkRecord, right: int, classes: tuple[str, ...], curves: bool, rng: random.Random
) -> Details:
    count = len(classes)
    counts = [[rng.randrange(3) for _ in range(count)] for _ in range(count)]
    for index, row in enumerate(counts):
        row[index] = right + rng.randrange(5)
    totals = [sum(row) for row in counts]
    wrong = [(counts[i][j], i, j) for i in range(count) for j in range(count) if i != j and counts[i][j]]
    pairs = tuple((classes[i], classes[j], number) for number, i, j in sorted(wrong, reverse=True)[:50])
    per_class = {name: counts[i][i] / totals[i] for i, name in enumerate(classes)}
    steps = [step / 20 for step in range(21)]
    return Details(
        metric=record.test_metrics["accuracy"],
        others=(Metric("pixel_accuracy", right / 100, Provenance.MEASURED, 100, (0.8, 0.97), "test"),),
        per_class=per_class,
        confusion=Confusion(classes, tuple(map(tuple, counts)), pairs, tuple(totals)),
        curves={
            name: CurvePoints(tuple(steps), tuple(1 - 0.4 * step**4 * per_class[name] for step in steps))
            for name in classes
        }
        if curves
        else {},
    )


def _png(sample: int, shade: int) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("RGB", (28, 28), (20 * sample, 30 * shade, 120))
    image.putpixel((sample, shade), (255, 255, 255))
    image.save(buffer, "PNG")
    return buffer.getvalue()
