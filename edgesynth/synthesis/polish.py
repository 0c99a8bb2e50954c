"""How a network is trained alone before it is handed over, and what of its weights it takes along."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from edgesynth.synthesis.elastic import mostly_normalised
from edgesynth.tasks import TrainingPlan

__all__ = ["Polish", "renew_"]

_AVERAGED: Final = 0.2
"""How far back an average of weights reaches, as a share of a polish: so long ago, they count a third."""
_LAST_RATE: Final = 0.3
"""Share of its learning rate at which it ends: weights that are averaged go on moving."""
_LEAST_STEPS: Final = 50
"""Fewer are too few to average over."""
_LONG: Final = 30.0
"""Passes after which a network has long learnt anew what new weights in between cost it at first."""
_FEW: Final = 3_000
"""Training samples below which it pays: over some 800 pictures it does, over 10,000 it does not."""
_KEPT: Final = 0.5
"""Share of its weights that it takes along into so long a training."""


@dataclass(frozen=True)
class Polish:
    """A training of one network alone, distilled from the prototype.

    Unless it is very short, its weights are an average that reaches back over about a fifth of its steps,
    which generalises better where data are few (P. Izmailov et al., "Averaging weights leads to wider
    optima and better generalization", UAI 2018; J. Cha et al., "SWAD", NeurIPS 2021, for data of another
    kind than those trained on). A long one on few samples begins half way between the weights that were cut
    and new ones, see :func:`renew_`.

    Attributes:
        epochs: Passes over the training data; 0 leaves the network as it was cut.
        learning_rate: The first rate of a half cosine, which ends at 30 % of it where weights are averaged;
            less than a new network needs.
        batch_size: Samples a step.
    """

    epochs: float = 0.0
    learning_rate: float = 0.05
    batch_size: int = 128

    def kept(self, samples: int) -> float:
        """Share of the weights that were cut with which it begins, on so many samples; the rest is new."""
        return _KEPT if self.epochs >= _LONG and samples < _FEW else 1.0

    def plan(self, samples: int, seed: int) -> TrainingPlan:
        """The training, on so many samples.

        Raises:
            InputError: No training could use these values.
        """
        plan = TrainingPlan(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            warmup=0.0,
            seed=seed,
        )
        steps = plan.steps(samples)
        if steps < _LEAST_STEPS:
            return plan
        return replace(plan, ema=1.0 - 1.0 / (_AVERAGED * steps), final_rate=_LAST_RATE)


def renew_(module: nn.Module, kept: float, seed: int) -> None:
    """Mix new weights into those of a network, in place: ``kept * old + (1 - kept) * new``.

    What was learnt early, on other networks, is a hindrance to a network that is trained long on few data;
    it generalises better after its weights were shrunk and perturbed (J. Ash, R. Adams, "On warm-starting
    neural network training", NeurIPS 2020). New kernels are of the size that layers begin with, and kernels
    grow while they learn, so the longer weights were trained, the less of what they say is lost.

    Kernels of convolutions and matrices of linear layers are mixed, and nothing of a network with few
    normalisation layers, for what these say depends on its size.

    Args:
        module: Any network.
        kept: Share of its own weights, 0 to 1.
        seed: Decides the new ones; the global random state is left as it was.
    """
    if kept == 1.0 or not mostly_normalised(module):
        return
    mixed: dict[int, Tensor] = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for part in module.modules():
            if isinstance(part, _ConvNd | nn.Linear) and id(part.weight) not in mixed:
                new = copy.deepcopy(part).cpu()
                new.reset_parameters()
                mixed[id(part.weight)] = part.weight
                part.weight.lerp_(new.weight.to(part.weight), 1.0 - kept)
