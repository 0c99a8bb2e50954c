"""Cut smaller networks out of shared weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from edgesynth.errors import ArchitectureError
from edgesynth.graph.agreement import agree
from edgesynth.graph.blocks import ResidualBlock
from edgesynth.graph.couplings import Couplings
from edgesynth.graph.dimensions import Dimensions
from edgesynth.graph.modules import copied
from edgesynth.graph.rebuild import Remainder, compiled, draft
from edgesynth.graph.resize import resized
from edgesynth.graph.rewrites import Kept
from edgesynth.graph.trace import Trace, operator_name

__all__ = ["SlicePlan", "plan_slice"]


class SlicePlan:
    """One sub-network of a prototype: its empty module, and where its weights are found.

    A training step over shared weights is::

        tensors = plan.gather(dict(shared.named_parameters()) | dict(shared.named_buffers()))
        outputs = torch.func.functional_call(plan.module_for(), tensors, (inputs,))

    Gradients reach the shared parameters. Buffers are gathered as copies, so running statistics that
    a step updates stay in the gathered tensors until :meth:`scatter_` writes them back.

    Attributes:
        keep: Kept unit indices per dimension, ascending.
        state_names: Names of the parameters and buffers the sub-network has.
        rebuilt: Whether the module is rebuilt from the trace, not the user's own class.
    """

    def __init__(
        self,
        module: nn.Module,
        keep: Mapping[str, list[int]],
        indices: Mapping[str, tuple[tuple[int, Tensor], ...]],
        rebuilt: bool,
    ) -> None:
        self._module = module
        self._indices = dict(indices)
        self._placed: dict[torch.device, dict[str, tuple[tuple[int, Tensor], ...]]] = {}
        self.keep = dict(keep)
        self.state_names = tuple(indices)
        self.rebuilt = rebuilt

    def module_for(self) -> nn.Module:
        """The sub-network's module, made once; its parameters are placeholders without memory."""
        return self._module

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Select the sub-network's part of every tensor, differentiably.

        Args:
            tensors: Full-size parameters and buffers by name; others are ignored.

        Returns:
            Sliced tensors by name; a tensor that loses nothing is passed on without a copy.
        """
        gathered: dict[str, Tensor] = {}
        done: dict[int, Tensor] = {}
        for name in self.state_names:
            full = tensors.get(name)
            if full is None:
                continue
            sliced = done.get(id(full))
            if sliced is None:
                sliced = full
                for axis, index in self._on(full.device)[name]:
                    sliced = sliced.index_select(axis, index)
                # Tied names stay tied: functional_call refuses two tensors for one.
                done[id(full)] = sliced
            gathered[name] = sliced
        return gathered

    @torch.no_grad()
    def scatter_(self, shared: Mapping[str, Tensor], sliced: Mapping[str, Tensor]) -> None:
        """Write the sub-network's tensors back into the full-size ones, in place.

        Args:
            shared: Full-size parameters and buffers by name.
            sliced: The sub-network's, by the same names; names the other side lacks are ignored.
        """
        for name, axes in self._indices.items():
            if name not in shared or name not in sliced:
                continue
            target, source = shared[name], sliced[name].to(shared[name].device)
            if not axes:
                target.copy_(source)
                continue
            chosen = dict(axes)
            index = [
                chosen[a].to(target.device) if a in chosen else torch.arange(size, device=target.device)
                for a, size in enumerate(target.shape)
            ]
            target[torch.meshgrid(*index, indexing="ij")] = source

    def _on(self, device: torch.device) -> dict[str, tuple[tuple[int, Tensor], ...]]:
        """The indices on a device, moved there once."""
        if device not in self._placed:
            self._placed[device] = {
                name: tuple((axis, index.to(device)) for axis, index in axes)
                for name, axes in self._indices.items()
            }
        return self._placed[device]

    @torch.no_grad()
    def extract(self, shared: nn.Module) -> nn.Module:
        """A module of its own, with copies of the sub-network's weights."""
        gathered = self.gather(dict(shared.named_parameters()) | dict(shared.named_buffers()))
        # deepcopy takes what the memo holds for a tensor instead of copying the placeholder.
        memo: dict[int, object] = {}
        for name, parameter in self._module.named_parameters():
            memo[id(parameter)] = nn.Parameter(gathered[name].detach().clone(), parameter.requires_grad)
        for name, buffer in self._module.named_buffers():
            if name in gathered:
                memo[id(buffer)] = gathered[name].detach().clone()
        if isinstance(self._module, fx.GraphModule):
            memo[id(self._module.graph)] = self._module.graph
        twin = copied(self._module, memo)
        for name, module in twin.named_modules():
            module.training = _mode(shared, name)
        return twin


def _mode(module: nn.Module, name: str) -> bool:
    for part in name.split(".") if name else []:
        child = getattr(module, part, None)
        if not isinstance(child, nn.Module):
            return module.training
        module = child
    return module.training


def plan_slice(
    couplings: Couplings,
    keep: Mapping[str, Sequence[int]],
    removed: Sequence[ResidualBlock],
    example: tuple[Tensor, ...],
) -> SlicePlan:
    """Plan one sub-network.

    Args:
        couplings: The traced network.
        keep: Kept unit indices for every dimension.
        removed: Blocks to leave out.
        example: Input to compare the resized module with the rebuilt one on.

    Raises:
        ArchitectureError: An index is out of range or repeated, or a stratum would run empty.
    """
    module, trace, dimensions = couplings.module, couplings.trace, couplings.dimensions
    masks = _masks(dimensions, keep)
    kept = Kept(trace, couplings.labels, lambda atoms: dimensions.kept(atoms, masks))
    indices = _indices(trace, kept)
    skeleton = resized(module, _placeholders(module, indices), _attributes(couplings, kept))
    remainder = Remainder.of(trace, removed)
    reference = draft(couplings, kept, skeleton, remainder)
    kept_units = {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}
    named = _named(module, {name: axes for name, axes in indices.items() if name in remainder.state})
    own = SlicePlan(skeleton, kept_units, named, rebuilt=False)

    def weights() -> Mapping[str, Tensor]:
        return own.gather(dict([*module.named_parameters(), *module.named_buffers()]))

    if not removed and agree(skeleton, reference, weights, example):
        return own
    rebuilt = compiled(reference, skeleton, remainder, type(module).__name__)
    return SlicePlan(rebuilt, kept_units, named, rebuilt=True)


def _masks(dimensions: Dimensions, keep: Mapping[str, Sequence[int]]) -> dict[str, NDArray[np.bool_]]:
    masks: dict[str, NDArray[np.bool_]] = {}
    for dimension in dimensions.all:
        chosen = np.asarray(keep[dimension.name], dtype=np.int64)
        if chosen.size != np.unique(chosen).size or ((chosen < 0) | (chosen >= dimension.units)).any():
            raise ArchitectureError(
                f"dimension {dimension.name!r} has units 0..{dimension.units - 1}, each kept at most once; "
                f"got {chosen.tolist()}"
            )
        mask = np.zeros(dimension.units, dtype=np.bool_)
        mask[chosen] = True
        strata = np.array(dimension.strata)
        empty = sorted(set(dimension.strata) - set(strata[mask].tolist()))
        if empty:
            example = np.flatnonzero(strata == empty[0]).tolist()
            raise ArchitectureError(
                f"dimension {dimension.name!r} must keep at least one of units {example}: "
                "one part of the network reads only those"
            )
        masks[dimension.name] = mask
    return masks


def _indices(trace: Trace, kept: Kept) -> dict[str, tuple[tuple[int, Tensor], ...]]:
    indices: dict[str, tuple[tuple[int, Tensor], ...]] = {}
    for node, name in trace.state.items():
        axes = []
        for value in kept.labels.values[node]:
            for axis, atoms in value.labels.items():
                mask = kept.mask(atoms)
                if not mask.all():
                    axes.append((len(mask) / mask.sum(), axis, torch.from_numpy(np.flatnonzero(mask))))
        # The axis that loses the largest share first: the next selection then copies less.
        indices[name] = tuple((axis, index) for _, axis, index in sorted(axes, key=lambda a: -a[0]))
    return indices


def _named(
    module: nn.Module, indices: Mapping[str, tuple[tuple[int, Tensor], ...]]
) -> dict[str, tuple[tuple[int, Tensor], ...]]:
    """Indices under every name a tensor goes by."""
    first: dict[int, str] = {}
    named: dict[str, tuple[tuple[int, Tensor], ...]] = {}
    for kind in (module.named_parameters, module.named_buffers):
        for name, tensor in kind(remove_duplicate=False):
            canonical = first.setdefault(id(tensor), name)
            if canonical in indices:
                named[name] = indices[canonical]
    return named


@torch.no_grad()
def _placeholders(
    module: nn.Module, indices: Mapping[str, tuple[tuple[int, Tensor], ...]]
) -> dict[str, Tensor]:
    """Tensors of the new shapes: parameters without memory, buffers with their kept entries."""
    made: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        shape = list(parameter.shape)
        for axis, index in indices.get(name, ()):
            shape[axis] = len(index)
        made[name] = torch.empty(shape, dtype=parameter.dtype, device="meta")
    for name, buffer in module.named_buffers():
        for axis, index in indices.get(name, ()):
            made[name] = made.get(name, buffer).index_select(axis, index.to(buffer.device))
    return made


def _attributes(couplings: Couplings, kept: Kept) -> dict[str, dict[str, object]]:
    """Attributes of layers that count channels or groups, where they change."""
    attributes: dict[str, dict[str, object]] = {}
    for node, name in couplings.layers.counting.items():
        changes: dict[str, object] = {}
        operator, groups = operator_name(node), kept.groups(node)
        if operator == "aten.group_norm":
            changes["num_channels"] = kept.size(kept.value(node), 1)
            if groups is not None:
                changes["num_groups"] = groups
        elif operator in ("aten.layer_norm", "aten.rms_norm"):
            value = kept.value(node)
            trailing = len(node.args[1])  # type: ignore[arg-type]
            changes["normalized_shape"] = tuple(kept.size(value, a) for a in range(-trailing, 0))
        elif operator in ("aten.batch_norm", "aten.instance_norm"):
            changes["num_features"] = kept.size(kept.value(node), 1)
        elif groups is not None:
            changes["groups"] = groups
        if changes:
            attributes[name] = changes
    return attributes
