"""Shared elastic weights, the second part of theta_G: every generated network is a slice of them.

Training the networks that the generator emits trains the shared weights (method, "Generator" (b)),
so no training is thrown away and a fresh seed comes with weights that already work. The weights
start as the prototype's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from edgesynth.errors import TrainingError
from edgesynth.graph import Prototype
from edgesynth.progress import Phase
from edgesynth.space import Architecture
from edgesynth.tasks import (
    Batch,
    Outputs,
    Task,
    TeacherCache,
    as_channels_last,
    channels_last_kernels,
    has_images,
    taught_loss,
)

__all__ = ["ElasticTrainer", "ElasticWeights", "StepSchedule", "mostly_normalised", "suitable_rate"]

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)

AVERAGED_EPOCHS = 1.5
"""Over how many passes of the training data the average of the shared weights reaches."""

STEEPEST = 5.0
"""Largest norm of a step's gradient."""

LONGEST = 0.2
"""Largest norm times peak learning rate. Slices of a network that was never trained to be sliced begin with
large losses; a high rate would follow these so far that features die, which no later step brings back."""


class ElasticWeights:
    """The shared weights, and the networks sliced from them.

    Networks are cut from an exponential average of the weights over the last steps, which is worth
    about as much as weights whose learning rate has been annealed: so a network can be judged at any
    time, not only at the end of the schedule (Izmailov et al., arXiv 1803.05407).

    Args:
        prototype: Gives the graph to slice by and the initial values.
    """

    def __init__(self, prototype: Prototype) -> None:
        self.prototype = prototype
        learned = {name for name, _ in prototype.module.named_parameters(remove_duplicate=False)}
        # Names of one tied tensor stay names of one tensor, or they would drift apart.
        copies: dict[int, Tensor] = {}
        self._tensors: dict[str, Tensor] = {}
        for name, tensor in prototype.module.state_dict(keep_vars=True).items():
            if id(tensor) not in copies:
                learns = name in learned and tensor.is_floating_point()
                copies[id(tensor)] = tensor.detach().clone().requires_grad_(learns)
            self._tensors[name] = copies[id(tensor)]
        self._average = {name: tensor.detach().clone() for name, tensor in self.parameters()}
        self._updates = 0

    def parameters(self) -> list[tuple[str, Tensor]]:
        """The learned tensors at full size, by state name; tied ones once, by their first."""
        first = {id(tensor): name for name, tensor in reversed(self._tensors.items())}
        return [(n, t) for n, t in self._tensors.items() if t.requires_grad and first[id(t)] == n]

    def forward(self, architecture: Architecture, inputs: Tensor) -> Tensor:
        """Run one architecture in training mode; gradients reach the shared weights.

        Args:
            architecture: A choice per dimension.
            inputs: ``batch x ...`` as the task yields them.
        """
        plan = self.prototype.plan(architecture)
        skeleton = plan.module_for().train()
        gathered = plan.gather(self._tensors)
        images = has_images(skeleton)
        # Tied names stay tied, and running statistics of a step never reach the shared buffers.
        own = {id(tensor): _own(tensor, images) for tensor in gathered.values()}
        tensors = {name: own[id(tensor)] for name, tensor in gathered.items()}
        if not images:
            return functional_call(skeleton, tensors, (inputs,))  # type: ignore[no-any-return]
        with channels_last_kernels():
            return functional_call(skeleton, tensors, (as_channels_last(inputs),))  # type: ignore[no-any-return]

    def follow(self, horizon: float) -> None:
        """Let the average take one more step in.

        Args:
            horizon: Over how many steps the average reaches; fewer while there were fewer.
        """
        self._updates += 1
        share = 1.0 / min(horizon, 1.0 + self._updates / 2)
        names = list(self._average)
        torch._foreach_lerp_(
            [self._average[name] for name in names], [self._tensors[name].detach() for name in names], share
        )

    def extract(self, architecture: Architecture) -> nn.Module:
        """A module of its own for an architecture, with copies of its share of the average weights."""
        sliced = self.prototype.slice(architecture)
        sliced.load_state_dict(self.prototype.plan(architecture).gather(self.averages()))
        return sliced.eval()

    def averages(self) -> dict[str, Tensor]:
        """What networks are cut from, at full size, by state name; buffers are the prototype's."""
        averaged = {id(tensor): self._average[name] for name, tensor in self.parameters()}
        return {name: averaged.get(id(tensor), tensor.detach()) for name, tensor in self._tensors.items()}

    def state(self) -> dict[str, Tensor]:
        """Every tensor that :meth:`restore` needs."""
        state = {f"now.{name}": tensor.detach() for name, tensor in self._tensors.items()}
        state |= {f"average.{name}": tensor for name, tensor in self._average.items()}
        return state | {"updates": torch.tensor(self._updates)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take the values that :meth:`state` gave."""
        with torch.no_grad():
            for name, tensor in self._tensors.items():
                tensor.copy_(state[f"now.{name}"])
            for name, tensor in self._average.items():
                tensor.copy_(state[f"average.{name}"])
        self._updates = int(state["updates"])


@dataclass(frozen=True)
class StepSchedule:
    """A warm-up followed by a half cosine over the whole run, however many cycles it is cut into.

    Attributes:
        peak: The learning rate after warm-up.
        warmup: Share of the run spent warming up.
        floor: The last learning rate as a share of the peak.
    """

    peak: float
    warmup: float = 0.03
    floor: float = 0.002

    def rate(self, done: float) -> float:
        """The learning rate after a share ``done`` of the run, 0..1."""
        if done < self.warmup:
            return self.peak * max(done, 1e-3) / self.warmup
        along = (done - self.warmup) / max(1e-9, 1 - self.warmup)
        cosine = (1 + math.cos(math.pi * min(1.0, along))) / 2
        return self.peak * (self.floor + (1 - self.floor) * cosine)


def mostly_normalised(module: nn.Module) -> bool:
    """Whether there is a normalisation for every other layer at least: what weights say is not their size."""
    parts = list(module.modules())
    norms = sum(isinstance(part, _NORMS) for part in parts)
    layers = sum(any(p.ndim > 1 for p in part.parameters(recurse=False)) for part in parts)
    return 2 * norms >= layers


def suitable_rate(module: nn.Module) -> float:
    """A peak learning rate for the shared weights of a network.

    Normalisation after most layers makes training insensitive to the size of its weights, and a high
    rate then learns fastest; without it the same rate drives a network to chance.
    """
    return 0.2 if mostly_normalised(module) else 0.02


class ElasticTrainer:
    """Trains the shared weights on whatever architectures it is given.

    Attributes:
        step: Steps so far.
        steepest: Norm to which a longer gradient is cut.

    Args:
        weights: The shared weights.
        task: Gives batches and losses.
        teacher: The prototype's outputs to distil from.
        schedule: Learning rate over the whole run.
        total_epochs: Length of the whole run in passes over the training data.
        batch_size: Samples a step.
        weight_decay: On tensors of more than one axis only.
        seed: Decides batches, augmentation, and which architecture a step trains.
    """

    def __init__(
        self,
        weights: ElasticWeights,
        task: Task,
        teacher: TeacherCache,
        schedule: StepSchedule,
        *,
        total_epochs: float,
        batch_size: int = 128,
        weight_decay: float = 5e-4,
        seed: int = 0,
    ) -> None:
        self.weights = weights
        self.task = task
        self.teacher = teacher
        self.schedule = schedule
        self.batch_size = batch_size
        self.seed = seed
        self.steps_per_epoch = -(-task.size("train") // batch_size)
        self.total_steps = max(1, round(total_epochs * self.steps_per_epoch))
        self.step = 0
        self.steepest = min(STEEPEST, LONGEST / schedule.peak)
        decayed = [t for _, t in weights.parameters() if t.ndim > 1]
        plain = [t for _, t in weights.parameters() if t.ndim <= 1]
        self._optimizer = torch.optim.SGD(
            [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=schedule.peak,
            momentum=0.9,
            nesterov=True,
        )

    @property
    def epochs(self) -> float:
        """Passes over the training data so far."""
        return self.step / self.steps_per_epoch

    def train(self, architectures: Sequence[Architecture], until_step: int, phase: Phase) -> float:
        """Train until a step of the run, one architecture a step, and return the mean loss.

        Raises:
            TrainingError: The loss is not finite.
        """
        if not architectures:
            raise TrainingError("there is no architecture to train: ask for at least one")
        total, first = 0.0, self.step
        for batch, said in self._batches(until_step):
            turn = np.random.default_rng([self.seed, 7, self.step]).integers(len(architectures))
            rate = self.schedule.rate(self.step / self.total_steps)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            outputs = self.weights.forward(architectures[int(turn)], batch.inputs)
            loss = taught_loss(self.task, outputs, said, batch.targets)
            value = float(loss.detach())
            if not np.isfinite(value):
                raise TrainingError(
                    f"the loss became {value} at step {self.step} of {self.total_steps} "
                    f"(learning rate {rate:.3g}); lower [synthesis] learning_rate"
                )
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([t for _, t in self.weights.parameters()], self.steepest)
            self._optimizer.step()
            self.weights.follow(AVERAGED_EPOCHS * self.steps_per_epoch)
            self.step += 1
            total += value
            phase.advance(1, loss=value)
        return total / max(1, self.step - first)

    def _batches(self, until_step: int) -> Iterator[tuple[Batch, Outputs | None]]:
        """Batches from the current step on, starting inside an epoch if that is where we are."""
        while self.step < until_step:
            epoch, skip = divmod(self.step, self.steps_per_epoch)
            view = self.teacher.view(epoch)
            batches = self.task.batches(
                "train", batch_size=self.batch_size, seed=view, shuffle=True, augment=True
            )
            began = self.step
            for index, batch in enumerate(batches):
                if self.step >= until_step:
                    break
                if index >= skip:
                    yield batch, self.teacher.outputs((self.batch_size, view, index), batch.inputs)
            if self.step == began:
                raise TrainingError(
                    f"task {self.task.name!r} gave no batch {skip} of a pass over {self.task.size('train')} "
                    f"training samples; its batches() must yield all of them"
                )

    def state(self) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Tensors and numbers that :meth:`restore` needs to go on bit-identically."""
        momenta = {
            name: self._optimizer.state[tensor]["momentum_buffer"]
            for name, tensor in self.weights.parameters()
            if "momentum_buffer" in self._optimizer.state[tensor]
        }
        return momenta, {"step": self.step}

    def restore(self, momenta: Mapping[str, Tensor], numbers: Mapping[str, int]) -> None:
        """Go on from what :meth:`state` gave."""
        for name, tensor in self.weights.parameters():
            if name in momenta:
                self._optimizer.state[tensor]["momentum_buffer"] = momenta[name].clone()
        self.step = numbers["step"]


def _own(tensor: Tensor, images: bool) -> Tensor:
    """What one step computes with: buffers as copies, kernels as a CPU likes them."""
    tensor = tensor if tensor.requires_grad else tensor.clone()
    return as_channels_last(tensor) if images else tensor
