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

import torch
from torch import Tensor

from edgesynth.graph import Prototype
from edgesynth.space import Architecture
from edgesynth.tasks import Batch, Task

__all__ = ["STIMULI", "Prober", "Response", "channel_impact"]

STIMULI = ("drop", "scale", "noise", "swap")
"""Stimuli a prober injects: zero half the units, halve the signal, multiply by 1 + 0.5 N(0, 1), or take the
signal of another sample."""


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
        inputs: Validation inputs, ``samples x ...``; a few dozen are enough.
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
        inputs = self._inputs[: max(2, len(self._inputs) // 8)]
        share = len(inputs)
        with torch.no_grad():
            calm, heard = self._run(
                inputs, {n: g.expand(share, *g.shape) for n, g in base.items()}, {}, state
            )
            stirred, reheard = self._run(
                inputs.repeat(len(plan), *([1] * (inputs.ndim - 1))),
                self._gates(base, plan, share),
                _swaps(vertices, plan, share),
                state,
            )
        output = _relative_change(stirred, calm, len(plan))
        others = torch.stack([_relative_change(reheard[name], heard[name], len(plan)) for name in heard])
        elsewhere = torch.tensor([[float(name != vertex) for vertex, _ in plan] for name in heard])
        downstream = (others * elsewhere).sum(0) / elsewhere.sum(0).clamp_min(1)
        answers = dict(zip(plan, zip(output.tolist(), downstream.tolist(), strict=True), strict=True))
        return [
            Response(vertex, stimulus, *answers.get((vertex, stimulus), (0.0, 0.0)))
            for vertex in base
            for stimulus in STIMULI
        ]

    def _run(
        self,
        inputs: Tensor,
        gates: Mapping[str, Tensor],
        swaps: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The output, and what the readers of every dimension hear, ``[samples, units]``."""
        watch = [dimension.name for dimension in self._prototype.dimensions]
        got: tuple[Tensor, dict[str, Tensor]] = torch.func.functional_call(
            self._gated, dict(state), (inputs, dict(gates), watch, dict(swaps))
        )
        return got

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

    def _gates(
        self, base: Mapping[str, Tensor], plan: list[tuple[str, str]], share: int
    ) -> dict[str, Tensor]:
        """Per-sample gates, ``(stimuli * share) x units``: each stretch of samples has one stimulus."""
        generator = torch.Generator().manual_seed(self._seed)
        gates = {name: gate.expand(len(plan) * share, *gate.shape).clone() for name, gate in base.items()}
        for turn, (vertex, stimulus) in enumerate(plan):
            rows = slice(turn * share, (turn + 1) * share)
            gate = base[vertex]
            if stimulus == "drop":
                factor = (torch.rand(gate.shape, generator=generator) < 0.5).float()
            elif stimulus == "scale":
                factor = torch.full(gate.shape, 0.5)
            elif stimulus == "noise":
                factor = 1 + 0.5 * torch.randn(gate.shape, generator=generator)
            else:
                continue
            gates[vertex][rows] = gate * factor
        return gates


def _swaps(vertices: list[str], plan: list[tuple[str, str]], share: int) -> dict[str, Tensor]:
    """From which sample each one takes its signal, by vertex, ``[stimuli * share]``."""
    itself = torch.arange(len(plan) * share)
    swaps = {vertex: itself.clone() for vertex in vertices}
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
