"""Probing: stimuli at vertices of a network, internal ones included, and what they cause.

The inquisitor injects a stimulus ``x`` at chosen vertices and observes the reactionary response
``y`` at others (method, "What is published", 4). A vertex here is a coupled dimension of the
prototype, or a removable block; a stimulus multiplies its signal by a gate, or takes another sample's.
Both may differ per sample, so one forward pass carries many stimuli side by side.

Two uses:
  * :func:`channel_impact` asks every unit of every dimension at once what its loss would cost, and
    so decides which channels a width keeps.
  * :class:`Prober` perturbs whole vertices of one generated network and reads the change at the
    output and downstream; the responses teach the inquisitor where a network is sensitive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from edgesynth.graph import Prototype
from edgesynth.space import Architecture
from edgesynth.tasks import Batch, Task
from edgesynth.tasks.trees import leaves

__all__ = ["PROBING", "STIMULI", "Prober", "Response", "affordable", "channel_impact", "rank_channels"]

STIMULI = ("drop", "scale", "noise", "swap")
"""Stimuli a prober injects: zero half the units, halve the signal, multiply by 1 + 0.5 N(0, 1), or take the
signal of another sample."""

PROBING: Final = 0.2
"""MACs that probing may take, over those of training: less than a tenth of a cycle's time."""

_FEWEST_SAMPLES, _MOST_SAMPLES = 2, 8

_RANKED_AT_ONCE = 1 << 20  # input values; ranking keeps all their activations for the backward pass

AT_ONCE = 1 << 22
"""Input values of one forward pass while probing; what does not fit goes into the next."""


def channel_impact(prototype: Prototype, task: Task, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """How much the loss depends on every unit: the Fisher information of its gate.

    With a gate ``g_c = 1`` on unit ``c``, the impact is ``E[(dL_i / dg_c)^2]`` over samples ``i``:
    the second-order Taylor estimate of the loss increase when the unit is dropped, with the Hessian
    replaced by the empirical Fisher (Theis et al., arXiv 1801.05787, eq. 7). One forward and one
    backward pass per batch give it for all units of all dimensions, because gates are per sample.

    Returns:
        Per dimension a tensor of shape ``(units,)``, and per block one of shape ``(1,)``.
    """
    gated = prototype.gated().eval()
    names = {dimension.name: dimension.units for dimension in prototype.dimensions}
    sums = {name: torch.zeros(units) for name, units in names.items()}
    sums |= {block.name: torch.zeros(1) for block in prototype.blocks}
    samples = 0
    for batch in batches:
        count = len(batch.inputs)
        gates = {name: torch.ones(count, units, requires_grad=True) for name, units in names.items()}
        gates |= {block.name: torch.ones(count, requires_grad=True) for block in prototype.blocks}
        outputs = gated(batch.inputs, gates)
        # The mean loss hides a factor 1/batch in every per-sample gradient; undo it.
        loss = task.loss(outputs, batch.targets) * count
        slopes = torch.autograd.grad(loss, list(gates.values()), allow_unused=True)
        for name, slope in zip(gates, slopes, strict=True):
            if slope is not None:
                sums[name] += slope.square().sum(0).reshape(sums[name].shape)
        samples += count
    return {name: total / max(1, samples) for name, total in sums.items()}


def rank_channels(prototype: Prototype, task: Task, seed: int) -> None:
    """Order every dimension's units by their impact on the prototype's loss on training data.

    Args:
        prototype: Its ranking is set.
        task: Gives samples and the loss.
        seed: Decides which samples.
    """
    size = max(1, min(128, _RANKED_AT_ONCE // prototype.example_input[0][0].numel()))
    impact = channel_impact(
        prototype, task, task.batches("train", batch_size=size, seed=seed, shuffle=True, limit=1024)
    )
    for dimension in prototype.dimensions:
        order = torch.argsort(impact[dimension.name], descending=True, stable=True)
        prototype.set_ranking(dimension.name, order)


def affordable(prototype: Prototype, networks: int, budget_macs: float) -> tuple[int, int]:
    """How many networks can be probed, and on how many samples each, within a budget.

    Args:
        prototype: The network whose slices are probed; every stimulus runs all of it on every sample.
        networks: How many are wanted. Fewer come out only where two samples for each are too many.
        budget_macs: Multiply-accumulates that may be spent.
    """
    vertices = len(prototype.dimensions) + len(prototype.blocks)
    a_sample = max(1, vertices * len(STIMULI) * prototype.cost().macs)
    samples = int(budget_macs // (max(1, networks) * a_sample))
    if samples >= _FEWEST_SAMPLES:
        return networks, min(_MOST_SAMPLES, samples)
    return min(networks, int(budget_macs // (_FEWEST_SAMPLES * a_sample))), _FEWEST_SAMPLES


@dataclass(frozen=True)
class Response:
    """What a stimulus at one vertex caused.

    Attributes:
        vertex: The dimension or block that was stimulated.
        stimulus: One of :data:`STIMULI`.
        output: Mean over samples of ``|y' - y| / |y|``, the relative change of the network's output.
        downstream: The same of what the other vertices' readers hear (mean absolute signal per unit),
            averaged over those vertices; vertices upstream hear no change.
    """

    vertex: str
    stimulus: str
    output: float
    downstream: float = 0.0


class Prober:
    """Injects stimuli into generated networks and reads the responses.

    Args:
        prototype: The network whose slices are probed.
        inputs: Validation inputs, ``samples x ...``; a few are enough, and a swap needs two.
        seed: Decides which units a stimulus drops and the noise.
    """

    def __init__(self, prototype: Prototype, inputs: Tensor, seed: int = 0) -> None:
        self._prototype = prototype
        self._inputs = inputs
        self._gated = prototype.gated().eval()
        self._seed = seed

    def probe(self, architecture: Architecture, state: Mapping[str, Tensor]) -> list[Response]:
        """Stimulate every vertex with every stimulus; one that the architecture lacks answers 0.

        Args:
            architecture: The network to probe.
            state: Full-size tensors by state name, as the network would carry them.
        """
        base = self._base_gates(architecture)
        vertices = [name for name, gate in base.items() if float(gate.abs().sum()) > 0]
        plan = [(vertex, stimulus) for vertex in vertices for stimulus in STIMULI]
        inputs, share = self._inputs, len(self._inputs)
        generator = torch.Generator().manual_seed(self._seed)
        with torch.no_grad():
            undisturbed = {name: gate.expand(share, *gate.shape) for name, gate in base.items()}
            calm, heard = self._run(inputs, undisturbed, {}, state)
            found = [
                self._stir(base, part, inputs, generator, state, calm, heard)
                for part in _parts(plan, max(1, AT_ONCE // inputs.numel()))
            ]
        output, downstream = (torch.cat(columns) for columns in zip(*found, strict=True))
        answers = dict(zip(plan, zip(output.tolist(), downstream.tolist(), strict=True), strict=True))
        return [
            Response(vertex, stimulus, *answers.get((vertex, stimulus), (0.0, 0.0)))
            for vertex in base
            for stimulus in STIMULI
        ]

    def _stir(
        self,
        base: Mapping[str, Tensor],
        plan: list[tuple[str, str]],
        inputs: Tensor,
        generator: torch.Generator,
        state: Mapping[str, Tensor],
        calm: Tensor,
        heard: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Responses at the output and downstream to some stimuli, side by side: each ``[stimuli]``."""
        share = len(inputs)
        stirred, reheard = self._run(
            inputs.repeat(len(plan), *([1] * (inputs.ndim - 1))),
            _gates(base, plan, share, generator),
            _swaps(base, plan, share),
            state,
        )
        others = torch.stack([_relative_change(reheard[name], heard[name], len(plan)) for name in heard])
        elsewhere = torch.tensor([[float(name != vertex) for vertex, _ in plan] for name in heard])
        downstream = (others * elsewhere).sum(0) / elsewhere.sum(0).clamp_min(1)
        return _relative_change(stirred, calm, len(plan)), downstream

    def _run(
        self,
        inputs: Tensor,
        gates: Mapping[str, Tensor],
        swaps: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs ``[samples, values]``, and what every dimension's readers hear, ``[samples, units]``."""
        watch = [dimension.name for dimension in self._prototype.dimensions]
        outputs, heard = torch.func.functional_call(
            self._gated, dict(state), (inputs, dict(gates), watch, dict(swaps))
        )
        return torch.cat([part.flatten(1) for part in leaves(outputs)], 1), heard

    def _base_gates(self, architecture: Architecture) -> dict[str, Tensor]:
        """Gates that make the full network behave as the slice."""
        keep = self._prototype.plan(architecture).keep
        gates: dict[str, Tensor] = {}
        for dimension in self._prototype.dimensions:
            gate = torch.zeros(dimension.units)
            gate[torch.as_tensor(keep[dimension.name], dtype=torch.long)] = 1.0
            gates[dimension.name] = gate
        for block in self._prototype.blocks:
            gates[block.name] = torch.tensor(float(bool(architecture[block.name])))
        return gates


def _parts(plan: list[tuple[str, str]], size: int) -> list[list[tuple[str, str]]]:
    return [plan[first : first + size] for first in range(0, len(plan), size)]


def _gates(
    base: Mapping[str, Tensor], plan: list[tuple[str, str]], share: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Per-sample gates, ``(stimuli * share) x units``: each stretch of samples has one stimulus."""
    gates = {name: gate.expand(len(plan) * share, *gate.shape).clone() for name, gate in base.items()}
    for turn, (vertex, stimulus) in enumerate(plan):
        gate = base[vertex]
        if stimulus == "drop":
            factor = (torch.rand(gate.shape, generator=generator) < 0.5).float()
        elif stimulus == "scale":
            factor = torch.full(gate.shape, 0.5)
        elif stimulus == "noise":
            factor = 1 + 0.5 * torch.randn(gate.shape, generator=generator)
        else:
            continue
        gates[vertex][turn * share : (turn + 1) * share] = gate * factor
    return gates


def _swaps(vertices: Iterable[str], plan: list[tuple[str, str]], share: int) -> dict[str, Tensor]:
    """From which sample each one takes its signal, by vertex, ``[stimuli * share]``."""
    itself = torch.arange(len(plan) * share)
    swaps = {vertex: itself.clone() for vertex in vertices if (vertex, "swap") in plan}
    for turn, (vertex, stimulus) in enumerate(plan):
        if stimulus == "swap":
            rows = slice(turn * share, (turn + 1) * share)
            swaps[vertex][rows] = itself[rows].roll(1)
    return swaps


def _relative_change(stirred: Tensor, calm: Tensor, stimuli: int) -> Tensor:
    """Mean over samples of ``|y' - y| / |y|`` per stimulus: ``[stimuli]``."""
    change = (stirred.reshape(stimuli, *calm.shape) - calm).flatten(2).norm(dim=2)
    relative: Tensor = (change / calm.flatten(1).norm(dim=1).clamp_min(1e-6)).mean(1)
    return relative
