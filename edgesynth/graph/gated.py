"""Run the full network with a gate on every unit: the instrument for probing, and the reference for slicing.

A gate scales what the consumers of a channel read, so it equals scaling their input weights.
A gate of zero removes the unit; a gate of one leaves the network as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from edgesynth.errors import InputError
from edgesynth.graph.atoms import Indices
from edgesynth.graph.blocks import ResidualBlock
from edgesynth.graph.couplings import Couplings
from edgesynth.graph.labels import bind
from edgesynth.graph.modules import attach
from edgesynth.graph.norms import masked_group_norm, masked_layer_norm
from edgesynth.graph.trace import Argument, operator_name

__all__ = ["GatedNetwork", "MaskedNetwork"]

_MOVES = frozenset(
    f"aten.{name}"
    for name in [
        "view",
        "reshape",
        "_unsafe_view",
        "flatten",
        "unflatten",
        "transpose",
        "permute",
        "t",
        "contiguous",
        "unsqueeze",
        "squeeze",
    ]
)


@dataclass(frozen=True)
class _Site:
    """Where the signal of a contraction is gated: its operand, or a value that is only moved to it."""

    node: fx.Node
    axis: int
    source: Tensor
    path: tuple[fx.Node, ...]
    batch_axis: int | None
    units: Mapping[int, tuple[Tensor, Tensor]]


class GatedNetwork(nn.Module):
    """The full network, in inference mode, with gates; reads the prototype's weights where they are.

    ``forward(inputs, gates, watch, swaps)`` takes the network's input (a tuple for several), gates by
    name, names of dimensions to watch, and which samples exchange their signals:

    - ``gates[dimension]``: shape ``[units]``, or ``[batch, units]`` for gates per sample;
    - ``gates[block]``: a scalar, shape ``[1]``, or ``[batch]``; scales the branch;
    - missing gates are one. The result is differentiable in every gate;
    - ``swaps[dimension]`` and ``swaps[block]``: indices ``[batch]``; a sample's consumers read the signal
      of that other sample there, before the gate.

    It returns the outputs, or with ``watch`` the pair of outputs and a dict from dimension to what
    the consumers read of it: mean absolute signal, shape ``[batch, units]``.
    """

    def __init__(self, couplings: Couplings) -> None:
        super().__init__()
        module, dimensions = couplings.module, couplings.dimensions
        # The prototype's own tensors under their own names, so functional_call can replace them.
        tensors = (*module.named_parameters(), *module.named_buffers())
        persistent = set(module.state_dict())
        for name, tensor in tensors:
            attach(self, name, tensor, persistent=name in persistent)
        self._trace, self._labels, self._dimensions = couplings.trace, couplings.labels, dimensions
        self._blocks = {block.add: block for block in couplings.blocks}
        self._offsets = np.cumsum([1, *(d.units for d in dimensions.all)])
        self._sites: dict[fx.Node, dict[fx.Node, list[_Site]]] = {}
        for read in couplings.labels.reads:
            site = self._site(read.operand, read.axis, read.labels)
            if site is not None:
                self._sites.setdefault(read.node, {}).setdefault(read.operand, []).append(site)

    def forward(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        gates: Mapping[str, Tensor] | None = None,
        watch: Collection[str] = (),
        swaps: Mapping[str, Tensor] | None = None,
    ) -> Argument:
        """Run the network; see the class.

        Raises:
            InputError: A gate, a swap or a watched name is unknown, or has the wrong shape.
        """
        values = inputs if isinstance(inputs, tuple) else (inputs,)
        swaps = swaps or {}
        gate, block_gates = self._check(gates or {}, [*watch], [*swaps], values[0])
        seen: dict[str, list[Tensor]] = {name: [] for name in watch}
        tensors = dict([*self.named_parameters(), *self.named_buffers()])
        env: dict[fx.Node, Argument] = dict(zip(self._trace.inputs, values, strict=True))
        for node in self._trace.graph.nodes:
            if node in self._trace.state:
                env[node] = tensors[self._trace.state[node]]
            elif node in self._trace.constants:
                env[node] = self._trace.constants[node].to(values[0].device)
            elif node.op == "get_attr":
                env[node] = getattr(self._trace.program.graph_module, str(node.target))
            elif node.op == "call_function":
                local = {
                    operand: self._gated(operand, sites, env, gate, seen, swaps)
                    for operand, sites in self._sites.get(node, {}).items()
                }
                block = self._blocks.get(node)
                if block is not None and block.name in swaps:
                    axis = self._batch_axis(block.branch, f"block {block.name!r}")
                    local[block.branch] = env[block.branch].index_select(axis, swaps[block.name])
                if block is not None and block.name in block_gates:
                    branch = local[block.branch] if block.branch in local else env[block.branch]
                    local[block.branch] = self._scaled(branch, block, block_gates[block.name])
                env[node] = self._run(node, {**env, **local} if local else env)
        outputs = [env[n] if isinstance(n, fx.Node) else n for n in self._trace.results]
        result = pytree.tree_unflatten(outputs, self._trace.program.call_spec.out_spec)
        if not watch:
            return result
        return result, {name: torch.stack(signals).mean(0) for name, signals in seen.items() if signals}

    def _run(self, node: fx.Node, env: Mapping[fx.Node, Argument]) -> Argument:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: env[n])
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _gated(
        self,
        operand: fx.Node,
        sites: list[_Site],
        env: Mapping[fx.Node, Argument],
        gate: Tensor | None,
        seen: dict[str, list[Tensor]],
        swaps: Mapping[str, Tensor],
    ) -> Tensor:
        signal: Tensor = env[operand]
        for site in sites:
            per_sample = gate is not None and gate.ndim == 2
            start: Tensor = env[site.node] if site.path else signal
            for d, (entries, _) in site.units.items():
                if self._dimensions.all[d].name in swaps:
                    start = self._swapped(site, start, entries, swaps[self._dimensions.all[d].name])
            if gate is not None:
                start = start * self._factor(site, start, gate, per_sample)
            self._observe(site, start, seen)
            local = {site.node: start}
            for node in site.path:
                local[node] = self._run(node, {**env, **local})
            signal = local[site.path[-1]] if site.path else start
        return signal

    def _factor(self, site: _Site, signal: Tensor, gate: Tensor, per_sample: bool) -> Tensor:
        factor = gate.index_select(-1, site.source.to(gate.device))
        shape = [1] * signal.ndim
        shape[site.axis] = factor.shape[-1]
        if per_sample:
            if site.batch_axis is None:
                raise InputError(
                    f"gates per sample cannot reach {site.node.name}: it has no batch axis; "
                    "give gates of shape [units]"
                )
            shape[site.batch_axis] = factor.shape[0]
            if site.batch_axis > site.axis:
                factor = factor.t()
        return factor.reshape(shape)

    def _swapped(self, site: _Site, signal: Tensor, entries: Tensor, other: Tensor) -> Tensor:
        """The signal ``[batch, ...]`` with some entries of its axis read from other samples."""
        axis = self._batch_axis(site.node, site.node.name)
        taken = torch.zeros(signal.shape[site.axis], dtype=torch.bool, device=signal.device)
        taken[entries.to(signal.device)] = True
        shape = [1] * signal.ndim
        shape[site.axis] = -1
        return torch.where(taken.view(shape), signal.index_select(axis, other), signal)

    def _batch_axis(self, node: fx.Node, what: str) -> int:
        axis = self._trace.batch_axis[node]
        if axis is None:
            raise InputError(f"{what} has no batch axis, so samples cannot be told apart there")
        return axis

    def _observe(self, site: _Site, signal: Tensor, seen: dict[str, list[Tensor]]) -> None:
        if not seen or site.batch_axis is None:
            return
        others = [a for a in range(signal.ndim) if a not in (site.axis, site.batch_axis)]
        strength = signal.abs().mean(dim=others) if others else signal.abs()
        strength = strength if site.batch_axis < site.axis else strength.t()
        for d, (entries, units) in site.units.items():
            dimension = self._dimensions.all[d]
            if dimension.name in seen:
                total = strength.new_zeros(strength.shape[0], dimension.units)
                total = total.index_add(
                    1, units.to(strength.device), strength[:, entries.to(strength.device)]
                )
                count = torch.bincount(units, minlength=dimension.units).to(total).clamp_min(1)
                seen[dimension.name].append(total / count)

    def _scaled(self, branch: Tensor, block: ResidualBlock, gate: Tensor) -> Tensor:
        if gate.numel() == 1:
            return branch * gate.reshape(())
        shape = [1] * branch.ndim
        shape[self._batch_axis(block.branch, f"block {block.name!r}")] = gate.numel()
        return branch * gate.reshape(shape)

    def _check(
        self, gates: Mapping[str, Tensor], watch: Sequence[str], swapped: Sequence[str], x: Tensor
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """All unit gates as one tensor ``[1 + units]`` or ``[batch, 1 + units]``; block gates by name."""
        sizes = {d.name: d.units for d in self._dimensions.all}
        names = {block.name for block in self._blocks.values()}
        unknown = sorted(({*gates, *swapped} - set(sizes) - names) | (set(watch) - set(sizes)))
        if unknown:
            raise InputError(
                f"unknown gates, swaps or watched names {unknown}; choose from {[*sizes, *sorted(names)]}"
            )
        for name, gate in gates.items():
            if name in sizes:
                legal = gate.shape in ((sizes[name],), (x.shape[0], sizes[name]))
                wanted = f"[{sizes[name]}] or [{x.shape[0]}, {sizes[name]}]"
            else:
                legal, wanted = gate.shape in ((), (1,), (x.shape[0],)), f"[], [1] or [{x.shape[0]}]"
            if not legal:
                raise InputError(f"gate {name!r} has shape {list(gate.shape)}; give {wanted}")
        block_gates = {name: gate for name, gate in gates.items() if name in names}
        unit_gates = {name: gate for name, gate in gates.items() if name in sizes}
        if not unit_gates:
            return None, block_gates
        some = next(iter(unit_gates.values()))
        rows = (x.shape[0],) if any(gate.ndim == 2 for gate in unit_gates.values()) else ()
        parts = [some.new_ones(*rows, 1)]
        for name, size in sizes.items():
            given = unit_gates.get(name)
            parts.append(some.new_ones(*rows, size) if given is None else given.expand(*rows, size))
        return torch.cat(parts, dim=-1), block_gates

    def _site(self, node: fx.Node, axis: int, atoms: Indices) -> _Site | None:
        owners = self._dimensions.dimension_of[atoms]
        if (owners < 0).all():
            return None
        path: list[fx.Node] = []
        site, site_axis, site_atoms = node, axis, atoms
        while self._trace.batch_axis[site] is None and operator_name(site) in _MOVES:
            source = site.args[0]
            assert isinstance(source, fx.Node)
            mine = set(np.unique(self._dimensions.dimension_of[site_atoms]).tolist()) - {-1}
            labels = self._labels.values[source][0].labels
            matching = [
                axis
                for axis, own in labels.items()
                if mine & set(np.unique(self._dimensions.dimension_of[own]).tolist())
            ]
            if len(matching) != 1:
                break
            path.append(site)
            site, site_axis, site_atoms = source, matching[0], labels[matching[0]]
        if self._trace.batch_axis[site] is None:
            path, site, site_axis, site_atoms = [], node, axis, atoms
        owners = self._dimensions.dimension_of[site_atoms]
        unit = self._dimensions.unit_of[site_atoms]
        # Position 0 of the gate tensor is the gate of everything fixed: always one.
        source_index = np.where(owners < 0, 0, self._offsets[np.maximum(owners, 0)] + unit)
        units = {
            int(d): (torch.from_numpy(np.flatnonzero(owners == d)), torch.from_numpy(unit[owners == d]))
            for d in np.unique(owners)
            if d >= 0
        }
        return _Site(
            site,
            site_axis,
            torch.from_numpy(source_index),
            tuple(reversed(path)),
            self._trace.batch_axis[site],
            units,
        )


class MaskedNetwork(GatedNetwork):
    """The full network with dropped channels zeroed where they are read, and removed blocks silenced.

    Normalisation over channels uses the statistics of the kept ones. Nothing is resized and no
    constant is changed, which makes it the reference for slices.
    """

    def __init__(
        self,
        couplings: Couplings,
        keep: Mapping[str, Sequence[int]],
        removed: Sequence[ResidualBlock],
    ) -> None:
        super().__init__(couplings)
        self._gates: dict[str, Tensor] = {}
        self._keep: dict[str, np.ndarray[Any, np.dtype[np.bool_]]] = {}
        for dimension in couplings.dimensions.all:
            gate = torch.zeros(dimension.units)
            gate[list(keep[dimension.name])] = 1.0
            self._gates[dimension.name] = gate
            self._keep[dimension.name] = gate.numpy() > 0
        self._gates.update({block.name: torch.zeros(()) for block in removed})

    def forward(self, *inputs: Tensor) -> Argument:  # type: ignore[override]
        """Run the masked network on the inputs of the original."""
        device = inputs[0].device
        return super().forward(inputs, {name: gate.to(device) for name, gate in self._gates.items()})

    def _run(self, node: fx.Node, env: Mapping[fx.Node, Argument]) -> Argument:
        operator = operator_name(node)
        if operator not in ("aten.layer_norm", "aten.rms_norm", "aten.group_norm"):
            return super()._run(node, env)
        arguments = {k: env[v] if isinstance(v, fx.Node) else v for k, v in bind(node).items()}
        value = self._labels.values[node][0]
        axes = (
            [1]
            if operator == "aten.group_norm"
            else range(len(value.shape) - len(arguments["normalized_shape"]), len(value.shape))
        )
        mask = torch.ones(())
        for axis in axes:
            if axis in value.labels:
                kept = torch.from_numpy(self._dimensions.kept(value.labels[axis], self._keep))
                shape = [1] * len(value.shape)
                shape[axis] = len(kept)
                mask = mask * kept.reshape(shape)
        if bool(mask.all()):
            return super()._run(node, env)
        x, mask = arguments["input"], mask.to(arguments["input"])
        affine = {"weight": arguments["weight"], "bias": arguments.get("bias"), "eps": arguments["eps"]}
        if operator == "aten.group_norm":
            return masked_group_norm(x, mask, arguments["num_groups"], **affine)
        return masked_layer_norm(x, mask, len(axes), **affine, centred=operator == "aten.layer_norm")
