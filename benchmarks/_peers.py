"""The peers of ``compression.py``: ways to make a smaller network from a prototype, and what trains it.

Uniform width and L1 magnitude keep the same share of every coupled channel group, spent to the last channel
that fits; L1 is the filters' own norm (H. Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017).
The group-norm and Taylor pruners are Torch-Pruning's (G. Fang et al., "DepGraph", CVPR 2023; P. Molchanov et
al., CVPR 2019), global, in 400 small steps until the bound is met, as its ``reproduce/main.py`` does.
FastNAS is the vision pruner of NVIDIA Model Optimizer, with steps of 4 channels instead of 32, because the
whole stem of a ResNet-20 has 16, and with a score on 500 validation images, because its 20 tries per layer
are counted like everything else.
"""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from _budget import Meter, Spending, forward_macs, step_macs
from torch import Tensor, nn

from edgesynth.errors import EdgesynthError, MissingDependencyError
from edgesynth.graph import Prototype
from edgesynth.space import Architecture
from edgesynth.tasks import Task, TeacherCache, TrainingPlan, fit
from edgesynth.zoo.initialisation import initialise_

BATCH_SIZE = 64
"""As in a synthesis: at equal compute, smaller batches are more steps."""
PRUNING_STEPS = 400
REFRESHED = 10
"""Pruning steps between two estimates of the gradients that Taylor importance reads."""
TAYLOR_SAMPLES = 256
FASTNAS_STEP = 4
FASTNAS_SAMPLES = 500
FASTNAS_BATCH = 8
"""Samples in each of the 50 batches with which FastNAS estimates batch-norm statistics of every try."""


@dataclass(frozen=True)
class Case:
    """What every method is given.

    Attributes:
        module: The trained prototype; no method changes it.
        task: Data in three splits.
        example: One sample with its batch axis of 1.
        bound: The most multiply-accumulates the result may have.
        seed: Decides order, augmentation and fresh weights.
    """

    module: nn.Module
    task: Task
    example: Tensor
    bound: float
    seed: int


@dataclass(frozen=True)
class Trained:
    """What a method handed over.

    Attributes:
        module: The network.
        epochs: How long it was trained, in passes over the training data.
    """

    module: nn.Module
    epochs: float


@dataclass(frozen=True)
class Peer:
    """A way to make a smaller network, which is then trained with all that is left of the budget.

    Attributes:
        title: What the table calls it.
        compress: Makes the network; it may be untrained.
        distilled: Whether the prototype teaches it.
    """

    title: str
    compress: Callable[[Case], nn.Module]
    distilled: bool = True

    @property
    def stages(self) -> dict[str, tuple[float, ...]]:
        """What is chosen on validation data, one after the other; the first values are where it starts."""
        rates = {"learning_rate": (0.1, 0.05, 0.2)}
        return rates | ({"views": (6, 0)} if self.distilled else {})

    def run(self, case: Case, recipe: dict[str, float], budget: float, meter: Meter) -> Trained:
        """Compress and train, watched by the meter.

        Args:
            case: What to start from.
            recipe: One value for each of :attr:`stages`.
            budget: Multiply-accumulates in all.
            meter: Says what was spent so far.

        Raises:
            EdgesynthError: The network is over the bound, or nothing is left to train it.
        """
        module = self.compress(case)
        with meter.paused():
            macs = forward_macs(module, case.example)
            spending = Spending(
                step_macs(module, case.task),
                macs,
                forward_macs(case.module, case.example) if self.distilled else 0.0,
                int(recipe.get("views", 0)),
            )
        if macs > case.bound:
            raise EdgesynthError(f"{self.title} stopped at {macs:,} MACs, above {case.bound:,.0f}")
        samples = case.task.size("train")
        steps = spending.steps(budget - meter.macs, samples, BATCH_SIZE)
        if steps == 0:
            raise EdgesynthError(f"{self.title} spent its budget before any training")
        plan = TrainingPlan(
            epochs=steps / -(-samples // BATCH_SIZE),
            batch_size=BATCH_SIZE,
            learning_rate=recipe["learning_rate"],
            seed=case.seed,
        )
        teacher: nn.Module | TeacherCache | None = case.module if self.distilled else None
        if self.distilled and spending.views:
            teacher = TeacherCache(case.module, seed=case.seed, views=spending.views)
        fit(module, case.task, plan, teacher=teacher)
        return Trained(module, plan.epochs)


def proportional(prototype: Prototype, bound: float) -> Architecture:
    """The largest network with the same share of every dimension, all blocks kept.

    What rounding down leaves is spent on one more step here and there, the largest remainders first.

    Args:
        prototype: Prices architectures.
        bound: The most multiply-accumulates.
    """
    whole = prototype.largest()
    ladders = {
        d.name: [int(value) for value in axis.values]
        for d, axis in zip(prototype.dimensions, prototype.space, strict=False)
    }

    def at(share: float) -> Architecture:
        chosen = dict(whole)
        for name, ladder in ladders.items():
            wanted = share * ladder[-1]
            chosen[name] = max([value for value in ladder if value <= wanted + 1e-9], default=ladder[0])
        return chosen

    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if prototype.cost(at(middle)).macs <= bound else (low, middle)
    chosen = at(low)
    remainders = {name: low * ladder[-1] - int(chosen[name]) for name, ladder in ladders.items()}
    for name in sorted(remainders, key=lambda each: -remainders[each] / ladders[each][-1]):
        larger = [value for value in ladders[name] if value > int(chosen[name])]
        if larger and prototype.cost({**chosen, name: larger[0]}).macs <= bound:
            chosen[name] = larger[0]
    return chosen


def scaled(case: Case) -> nn.Module:
    """The prototype with every layer narrower, and fresh weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case.seed)
        prototype = Prototype(copy.deepcopy(case.module), case.example, align=1)
        module = prototype.slice(proportional(prototype, case.bound))
        for part in module.modules():
            if isinstance(reset := getattr(part, "reset_parameters", None), Callable):
                reset()
        initialise_(module)
    return module


def smallest_filters_dropped(case: Case) -> nn.Module:
    """The same widths, filled with the prototype's filters of largest L1 norm."""
    prototype = Prototype(copy.deepcopy(case.module), case.example, align=1)
    tensors = dict(prototype.module.named_parameters())
    for dimension in prototype.dimensions:
        norms = torch.zeros(dimension.units)
        for axis in dimension.axes:
            weight = tensors.get(axis.state)
            if axis.axis == 0 and weight is not None and weight.ndim > 1 and len(weight) == dimension.units:
                norms += weight.detach().abs().flatten(1).sum(1)
        prototype.set_ranking(dimension.name, torch.argsort(norms, descending=True, stable=True))
    return prototype.slice(proportional(prototype, case.bound))


def _torch_pruning(importance: Callable[[Any], Any], *, gradients: bool) -> Callable[[Case], nn.Module]:
    """A global pruner of Torch-Pruning, one small step after the other until the bound is met."""

    def compress(case: Case) -> nn.Module:
        try:
            import torch_pruning
        except ImportError as error:
            raise MissingDependencyError("it needs: pip install 'edgesynth[bench]'") from error
        module = copy.deepcopy(case.module).eval()
        pruner = torch_pruning.pruner.BasePruner(
            module,
            case.example,
            importance=importance(torch_pruning.importance),
            global_pruning=True,
            pruning_ratio=1.0,
            iterative_steps=PRUNING_STEPS,
            ignored_layers=[_classifier(module, len(case.task.classes))],
        )
        for step in range(PRUNING_STEPS):
            if forward_macs(module, case.example) <= case.bound:
                break
            if gradients and step % REFRESHED == 0:
                _accumulate(module, case, step)
            pruner.step()
        module.zero_grad(set_to_none=True)
        return module

    return compress


def _accumulate(module: nn.Module, case: Case, step: int) -> None:
    """Leave the gradients of the loss on a few training images in the parameters."""
    module.zero_grad(set_to_none=True)
    batches = case.task.batches(
        "train", batch_size=BATCH_SIZE, seed=1000 * case.seed + step, shuffle=True, limit=TAYLOR_SAMPLES
    )
    for batch in batches:
        case.task.loss(module(batch.inputs), batch.targets).backward()


def _classifier(module: nn.Module, classes: int) -> nn.Module:
    return [m for m in module.modules() if isinstance(m, nn.Linear) and m.out_features == classes][-1]


def fastnas(case: Case) -> nn.Module:
    """FastNAS down to the bound; a tighter one is asked for until what comes out is inside."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The package that counts is imported late by the search, so it is looked for here.
            import modelopt.torch.prune as mtp
            import torchprofile  # noqa: F401
    except Exception as error:  # An import of a half-fitting torchvision fails with whatever it likes.
        raise MissingDependencyError(
            f"it needs: pip install 'edgesynth[bench]' ({type(error).__name__}: {error})"
        ) from error

    def score(network: nn.Module) -> float:
        # Finer than accuracy, which is flat where one layer is narrowed.
        return -case.task.score(network, "validation", limit=FASTNAS_SAMPLES).loss

    channels = {"channels_ratio": _RATIOS, "kernel_size": (), "channel_divisor": FASTNAS_STEP}
    features = {"features_ratio": _RATIOS, "feature_divisor": FASTNAS_STEP}
    mode = [("fastnas", {"nn.Conv2d": {"*": channels}, "nn.BatchNorm2d": {"*": features}})]
    calibration = list(
        islice(case.task.batches("train", batch_size=FASTNAS_BATCH, seed=case.seed, shuffle=True), 50)
    )
    with tempfile.TemporaryDirectory() as folder, _silent():
        asked = case.bound
        for _ in range(60):
            module, _ = mtp.prune(
                copy.deepcopy(case.module),
                mode=mode,
                # It counts two operations for a multiply-accumulate.
                constraints={"flops": 2 * asked},
                dummy_input=case.example,
                config={
                    "data_loader": calibration,
                    "collect_func": lambda batch: batch.inputs,
                    "score_func": score,
                    # What it learned about the layers serves every bound.
                    "checkpoint": str(Path(folder) / "search.pth"),
                },
            )
            if forward_macs(module, case.example) <= case.bound:
                return module
            asked *= 0.97
    raise EdgesynthError(f"FastNAS found no network of at most {case.bound:,.0f} MACs")


_RATIOS = tuple(0.05 * i for i in range(1, 21))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep a peer's own progress and warnings out of the table."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


PEERS: dict[str, Peer] = {
    "width": Peer("uniform width, from scratch", scaled, distilled=False),
    "width-distilled": Peer("uniform width, distilled", scaled),
    "l1": Peer("L1 magnitude, per layer", smallest_filters_dropped),
    "group-norm": Peer(
        "Torch-Pruning, group norm",
        _torch_pruning(lambda found: found.GroupMagnitudeImportance(p=2), gradients=False),
    ),
    "taylor": Peer(
        "Torch-Pruning, Taylor",
        _torch_pruning(lambda found: found.GroupTaylorImportance(), gradients=True),
    ),
    "fastnas": Peer("NVIDIA FastNAS", fastnas),
}
"""Every peer by the name that ``--methods`` takes."""
