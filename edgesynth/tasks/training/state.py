"""Where a training stands between two epochs, so that it can go on from there as if it had not stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from edgesynth.errors import InputError
from edgesynth.tasks.training.plan import EpochRecord, TrainingPlan

__all__ = ["TrainingState", "random_state", "restore_random_state", "restore_tensors", "tensors_of"]


@dataclass(frozen=True)
class TrainingState:
    """Everything that the epochs to come depend on, beside network, task and plan themselves.

    The position in the schedule, and the order and the variation of the samples, follow from how many epochs
    there were: none of them remembers anything else.

    Attributes:
        plan: That is being followed.
        size: Samples of the training split.
        epochs: One record per pass so far.
        samples: Training samples read so far.
        updates: Steps that the average of the weights has seen; 0 without one.
        tensors: Weights, optimiser, average and random state by name, on the CPU.
    """

    plan: TrainingPlan
    size: int
    epochs: tuple[EpochRecord, ...]
    samples: int
    updates: int
    tensors: Mapping[str, Tensor]

    def check(self, plan: TrainingPlan, size: int) -> None:
        """Refuse to go on with a plan, or with data, that the training did not begin with.

        Raises:
            InputError: It began with others.
        """
        now = asdict(plan)
        differing = [name for name, value in asdict(self.plan).items() if value != now[name]]
        if size != self.size:
            differing.append(f"{self.size} training samples, not {size}")
        if differing:
            raise InputError(
                f"the unfinished training began otherwise (different: {', '.join(differing)}); go on as it "
                "began, or begin anew"
            )

    def to_json(self) -> str:
        """All but the tensors, as text."""
        plain = asdict(self)
        del plain["tensors"]
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str, tensors: Mapping[str, Tensor]) -> TrainingState:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            plain = json.loads(text)
            plan = TrainingPlan(**plain["plan"])
            epochs = tuple(EpochRecord(**record) for record in plain["epochs"])
            return cls(plan, plain["size"], epochs, plain["samples"], plain["updates"], tensors)
        except (KeyError, TypeError, InputError) as error:
            raise ValueError(f"this is no state of a training: {error}") from error


def tensors_of(module: nn.Module, optimizer: Optimizer, average: list[Tensor]) -> dict[str, Tensor]:
    """Copies of all that training changes, on the CPU, each in memory of its own."""
    live = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in _weights(module)}
    for index, held in optimizer.state_dict()["state"].items():
        for key, value in held.items():
            if isinstance(value, Tensor):
                live[f"optimizer/{index}/{key}"] = value.detach().to("cpu", copy=True).contiguous()
    for index, mean in enumerate(average):
        live[f"average/{index}"] = mean.detach().to("cpu", copy=True).contiguous()
    return live


@torch.no_grad()
def restore_tensors(
    tensors: Mapping[str, Tensor], module: nn.Module, optimizer: Optimizer, average: list[Tensor]
) -> None:
    """Put back what :func:`tensors_of` gave.

    Raises:
        InputError: It is of another network.
    """
    live = [*_weights(module), *((f"average/{index}", mean) for index, mean in enumerate(average))]
    for name, tensor in live:
        kept = tensors.get(name)
        if kept is None or kept.shape != tensor.shape or kept.dtype != tensor.dtype:
            raise InputError(
                f"the unfinished training is of another network ({name.partition('/')[2]!r} differs); go on "
                "with the network it began with, or begin anew"
            )
        tensor.copy_(kept)
    state = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    held: dict[int, dict[str, Tensor]] = {}
    for name, kept in tensors.items():
        kind, _, place = name.partition("/")
        if kind == "optimizer":
            index, _, key = place.partition("/")
            parameter = parameters[int(index)]
            # Laid out in memory as the parameter is, as the optimiser itself does.
            same = kept.shape == parameter.shape
            held.setdefault(int(index), {})[key] = torch.empty_like(parameter).copy_(kept) if same else kept
    optimizer.load_state_dict({**state, "state": held})


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Of torch, by name: what dropout draws next."""
    found = {"random/cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["random/cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore_random_state(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Put back what :func:`random_state` gave."""
    torch.set_rng_state(tensors["random/cpu"])
    if device.type == "cuda" and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"], device)


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers, those that files of weights leave out as well."""
    for name, parameter in module.named_parameters():
        yield f"weights/{name}", parameter
    for name, buffer in module.named_buffers():
        yield f"weights/{name}", buffer
