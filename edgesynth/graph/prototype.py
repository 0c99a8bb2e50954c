"""The prototype: one network as a graph, with everything that can be done to it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesynth.errors import ArchitectureError, InputError
from edgesynth.graph.blocks import ResidualBlock
from edgesynth.graph.cost import BYTES_PER_SCALAR, Cost, CostModel
from edgesynth.graph.couplings import couple
from edgesynth.graph.dimensions import CoupledDimension
from edgesynth.graph.gated import GatedNetwork, MaskedNetwork
from edgesynth.graph.inspection import InspectionReport, inspect
from edgesynth.graph.surgery import SlicePlan, plan_slice
from edgesynth.graph.trace import as_inputs, trace
from edgesynth.space import Architecture, Space, Switch, Value, Width

__all__ = ["Prototype"]

_PLANS = 16


class Prototype:
    """A traced network whose channels and blocks can be chosen.

    Args:
        module: Any ``nn.Module`` that ``torch.export`` can follow; it is never changed.
        example_input: A tensor, or a tuple of tensors for several inputs; axis 0 is the batch.
        freeze: Glob patterns of layers whose output channels must not change, e.g. ``["head.*"]``.
        align: Largest step between widths; channel counts a device likes are multiples of it.
        name: For reports; the class name of the module by default.

    Raises:
        InputError: The module cannot run on the example input, nothing in it can change, or a
            freeze pattern matches no layer.
        TraceError: The module cannot be traced.
    """

    def __init__(
        self,
        module: nn.Module,
        example_input: Tensor | tuple[Tensor, ...],
        *,
        freeze: Sequence[str] = (),
        align: int = 8,
        name: str | None = None,
    ) -> None:
        if align < 1:
            raise InputError(f"align must be at least 1, got {align}")
        self.name = name or type(module).__name__
        self.module = module
        self.example_input: tuple[Tensor, ...] = as_inputs(example_input)
        self.freeze, self.align = tuple(freeze), align
        self._couplings = couple(module, trace(module, self.example_input), freeze, align)
        self.dimensions: tuple[CoupledDimension, ...] = self._couplings.dimensions.all
        self.blocks: tuple[ResidualBlock, ...] = self._couplings.blocks
        self._cost_model = CostModel(self._couplings)
        if not self.dimensions and not self.blocks:
            reasons = {f"{row.layer}: {row.reason}" for row in self.report.frozen}
            raise InputError(f"nothing in {self.name} can change; " + "; ".join(sorted(reasons)))
        self._by_name = {dimension.name: dimension for dimension in self.dimensions}
        self.space = Space(
            [
                *(Width(d.name, d.minimum, d.units, d.step) for d in self.dimensions),
                *(Switch(block.name) for block in self.blocks),
            ]
        )
        self._inside = self._removable()
        self.ranking: dict[str, Tensor] = {}
        for dimension, score in zip(self.dimensions, self._magnitudes(), strict=True):
            self.set_ranking(dimension.name, np.argsort(-score, kind="stable").tolist())
        self._kept_cache: dict[tuple[str, int], NDArray[np.int64]] = {}
        self._plans: OrderedDict[object, SlicePlan] = OrderedDict()

    def __repr__(self) -> str:
        return f"Prototype({self.name}, {len(self.dimensions)} dimensions, {len(self.blocks)} blocks)"

    @property
    def report(self) -> InspectionReport:
        """What may change, what is frozen and why."""
        return inspect(self.name, self._couplings, self._cost_model.price_all())

    @property
    def structure_hash(self) -> str:
        """SHA-256 of parameter shapes and dimensions: two builds of one model agree on it."""
        lines = [f"{name} {tuple(tensor.shape)}" for name, tensor in self.module.state_dict().items()]
        lines += [f"{d.name} {d.units} {d.strata} {d.axes}" for d in self.dimensions]
        lines += [f"{block.name} {block.layers}" for block in self.blocks]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def largest(self) -> Architecture:
        """The prototype itself: every unit and every block."""
        return self.space.largest()

    def smallest(self) -> Architecture:
        """The least of everything."""
        return self.space.smallest()

    def set_ranking(self, dimension: str, order: Sequence[int] | Tensor) -> None:
        """Decide which units a width keeps.

        Args:
            dimension: Name of the dimension.
            order: Every unit index once, most important first. Strata are interleaved in proportion
                before it is stored in :attr:`ranking`; width ``w`` keeps ``ranking[:w]``.

        Raises:
            ArchitectureError: The dimension is unknown, or ``order`` is no permutation of its units.
        """
        if dimension not in self._by_name:
            raise ArchitectureError(f"unknown dimension {dimension!r}; choose from {list(self._by_name)}")
        indices = [int(unit) for unit in order]
        units = self._by_name[dimension].units
        if sorted(indices) != list(range(units)):
            raise ArchitectureError(
                f"the ranking of {dimension!r} must name each of units 0..{units - 1} once, got {indices}"
            )
        self.ranking[dimension] = torch.tensor(self._by_name[dimension].interleave(indices))

    def keep_sets(
        self,
        architecture: Mapping[str, Value] | None = None,
        keep: Mapping[str, Sequence[int]] | None = None,
    ) -> dict[str, list[int]]:
        """Kept unit indices per dimension, ascending.

        Args:
            architecture: A choice per dimension; None is the prototype itself.
            keep: Explicit unit indices for some dimensions; they override widths and ranking.

        Raises:
            ArchitectureError: The architecture does not fit the space, or ``keep`` names no dimension of it.
        """
        chosen = dict(architecture) if architecture is not None else self.largest()
        self.space.encode(chosen)
        explicit = keep or {}
        unknown = sorted(set(explicit) - set(self._by_name))
        if unknown:
            raise ArchitectureError(
                f"keep names unknown dimensions {unknown}; choose from {list(self._by_name)}"
            )
        sets: dict[str, list[int]] = {}
        for name in self._by_name:
            if name in explicit:
                sets[name] = sorted(int(unit) for unit in explicit[name])
            else:
                sets[name] = sorted(self.ranking[name][: int(chosen[name])].tolist())
        return sets

    def canonical(self, architecture: Mapping[str, Value]) -> Architecture:
        """The one architecture that stands for all that give the same network.

        A width inside a removed block makes no difference; it is set to its least value.

        Args:
            architecture: A choice per dimension.

        Raises:
            ArchitectureError: The architecture does not fit the space.
        """
        unheard = self.unheard(self.space.encode(architecture)[None])[0]
        least = {d.name: d.minimum for d, silent in zip(self.dimensions, unheard, strict=False) if silent}
        return {**architecture, **least}

    def unheard(self, choices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which widths are inside removed blocks, and so make no difference, of many architectures at once.

        Args:
            choices: Value indices of the space, shape ``[n, dimensions + blocks]``.

        Returns:
            Of the same shape; :meth:`canonical` sets these to their least.
        """
        absent = choices[:, len(self.dimensions) :] == 0
        found = np.zeros(choices.shape, dtype=np.bool_)
        for index, around in self._inside:
            found[:, index] = np.all([absent[:, blocks].any(1) for blocks in around], axis=0)
        return found

    def cost(
        self,
        architecture: Mapping[str, Value] | None = None,
        keep: Mapping[str, Sequence[int]] | None = None,
    ) -> Cost:
        """MACs, parameters, bytes and activation traffic for one sample; no module is built.

        Args:
            architecture: A choice per dimension; None is the prototype itself.
            keep: Explicit unit indices for some dimensions.

        Raises:
            ArchitectureError: The architecture does not fit the space.
        """
        chosen = dict(architecture) if architecture is not None else self.largest()
        if keep:
            sets = self.keep_sets(chosen, keep)
            kept = [_per_stratum(dimension, sets[dimension.name]) for dimension in self.dimensions]
        else:
            self.space.encode(chosen)
            kept = [self._kept(dimension, int(chosen[dimension.name])) for dimension in self.dimensions]
        present = np.array([bool(chosen[block.name]) for block in self.blocks], dtype=np.bool_)
        return self._cost_model.price(np.concatenate([np.zeros(0, dtype=np.int64), *kept]), present)

    def totals(self, choices: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """MACs, parameters and bytes of many architectures at once, the same as :meth:`cost` sums up to.

        Args:
            choices: Value indices of the space, shape ``[n, dimensions + blocks]``.

        Returns:
            ``macs``, ``parameters`` and ``bytes``, each of shape ``[n]``.
        """
        macs, parameters = self._cost_model.totals(*self._kept_of(choices))
        return {"macs": macs, "parameters": parameters, "bytes": parameters * BYTES_PER_SCALAR}

    def layer_sizes(self, choices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Sizes of the layers that multiply, of many architectures at once.

        Args:
            choices: Value indices of the space, shape ``[n, dimensions + blocks]``.

        Returns:
            Output channels, input channels of one group, and how often such a pair is multiplied, shape
            ``[n, L, 3]``; which layers are there, shape ``[n, L]``.
        """
        return self._cost_model.layer_sizes(*self._kept_of(choices))

    def _removable(self) -> list[tuple[int, list[list[int]]]]:
        """Dimensions of which every layer can be removed: their numbers, and the blocks around each layer."""
        found = []
        for index, dimension in enumerate(self.dimensions):
            around = [
                [number for number, block in enumerate(self.blocks) if layer in block.layers]
                for layer in dimension.layers
            ]
            if around and all(around):
                found.append((index, around))
        return found

    def _kept_of(self, choices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Kept units per stratum ``[n, strata]``, and which blocks are present ``[n, blocks]``."""
        kept = [
            np.stack([self._kept(dimension, int(width)) for width in axis.values])[choices[:, i]]
            for i, (dimension, axis) in enumerate(zip(self.dimensions, self.space, strict=False))
        ]
        none = np.zeros((len(choices), 0), dtype=np.int64)
        return np.concatenate([none, *kept], axis=1), choices[:, len(self.dimensions) :] > 0

    def _kept(self, dimension: CoupledDimension, width: int) -> NDArray[np.int64]:
        # A ranking shares every width out among the strata in the same way, whatever its order.
        key = (dimension.name, width)
        if key not in self._kept_cache:
            self._kept_cache[key] = _per_stratum(dimension, self.ranking[dimension.name][:width].tolist())
        return self._kept_cache[key]

    def plan(
        self,
        architecture: Mapping[str, Value] | None = None,
        keep: Mapping[str, Sequence[int]] | None = None,
    ) -> SlicePlan:
        """How to cut one sub-network out of shared weights; recent plans are remembered.

        Args:
            architecture: A choice per dimension; None is the prototype itself.
            keep: Explicit unit indices for some dimensions.

        Raises:
            ArchitectureError: The architecture does not fit the space, or ``keep`` is impossible.
        """
        chosen = dict(architecture) if architecture is not None else self.largest()
        sets = self.keep_sets(chosen, keep)
        removed = [block for block in self.blocks if not chosen[block.name]]
        key = (tuple(map(tuple, sets.values())), tuple(block.name for block in removed))
        if key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        plan = plan_slice(self._couplings, sets, removed, self.example_input)
        self._plans[key] = plan
        if len(self._plans) > _PLANS:
            self._plans.popitem(last=False)
        return plan

    def slice(
        self,
        architecture: Mapping[str, Value] | None = None,
        keep: Mapping[str, Sequence[int]] | None = None,
    ) -> nn.Module:
        """A real, smaller module with its own copies of the kept weights.

        It is the user's own class wherever its ``forward`` takes the smaller layers, else a graph
        module with the same parameter names.

        Args:
            architecture: A choice per dimension; None is the prototype itself.
            keep: Explicit unit indices for some dimensions.

        Raises:
            ArchitectureError: The architecture does not fit the space, or ``keep`` is impossible.
        """
        return self.plan(architecture, keep).extract(self.module)

    def mask(
        self,
        architecture: Mapping[str, Value] | None = None,
        keep: Mapping[str, Sequence[int]] | None = None,
    ) -> MaskedNetwork:
        """The full network with dropped channels zeroed: the reference that slices are tested against.

        Args:
            architecture: A choice per dimension; None is the prototype itself.
            keep: Explicit unit indices for some dimensions.
        """
        chosen = dict(architecture) if architecture is not None else self.largest()
        sets = self.keep_sets(chosen, keep)
        removed = [block for block in self.blocks if not chosen[block.name]]
        return MaskedNetwork(self._couplings, sets, removed)

    def gated(self) -> GatedNetwork:
        """The full network with a gate on every unit and every block."""
        return GatedNetwork(self._couplings)

    def _magnitudes(self) -> list[NDArray[np.float64]]:
        """Score of every unit: L2 norms of the weights that make and read it, layers on equal terms."""
        dimensions = self._couplings.dimensions
        scores = [np.zeros(dimension.units) for dimension in self.dimensions]
        tensors = dict(self.module.named_parameters())
        for node, name in self._couplings.trace.state.items():
            if name not in tensors or tensors[name].ndim < 2:
                continue
            squares = tensors[name].detach().float().square()
            for value in self._couplings.labels.values[node]:
                for axis, atoms in value.labels.items():
                    owner, unit = dimensions.dimension_of[atoms], dimensions.unit_of[atoms]
                    present = [d for d in np.unique(owner).tolist() if d >= 0]
                    if not present:
                        continue
                    others = [a for a in range(squares.ndim) if a != axis]
                    norm = squares.sum(others).sqrt().cpu().numpy()
                    for d in present:
                        mine = owner == d
                        np.add.at(scores[d], unit[mine], norm[mine] / (norm[mine].mean() + 1e-12))
        return scores


def _per_stratum(dimension: CoupledDimension, units: Sequence[int]) -> NDArray[np.int64]:
    return np.bincount(np.array(dimension.strata)[list(units)], minlength=max(dimension.strata) + 1)
