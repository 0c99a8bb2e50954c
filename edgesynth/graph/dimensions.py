"""Coupled dimensions: units that the same layers produce, so that one width governs them all.

A *unit* is a free class of atoms. Units produced by exactly the same layers form a *dimension*.
Within it, units that occur in exactly the same places form a *stratum* (a chunked tensor has one
per chunk). A width keeps every stratum in proportion: so no chunk ever runs empty, and what a
network costs depends on its widths alone, not on which units were chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgesynth.errors import InputError
from edgesynth.graph.atoms import Indices, Reason
from edgesynth.graph.labels import Labels
from edgesynth.graph.trace import Trace

__all__ = ["CoupledDimension", "Dimensions", "ParameterAxis", "find_dimensions", "freeze_layers"]


_Number = TypeVar("_Number", np.int64, np.uint64)


@dataclass(frozen=True)
class ParameterAxis:
    """One axis of one parameter or buffer that changes with a dimension."""

    state: str
    axis: int


@dataclass(frozen=True)
class CoupledDimension:
    """Channels that must be kept or dropped together, counted in units.

    Attributes:
        name: Qualified name of the first layer that produces it.
        units: How many units there are.
        strata: Stratum of every unit, shape ``[units]``; each needs at least one kept unit.
        minimum: The least number of units a width may keep.
        step: Widths are multiples of this many units.
        layers: Layers that produce or consume it, in execution order.
        axes: Axes of parameters and buffers that change with it.
        channels_per_unit: Channels one unit holds in its first producer.
    """

    name: str
    units: int
    strata: tuple[int, ...]
    minimum: int
    step: int
    layers: tuple[str, ...]
    axes: tuple[ParameterAxis, ...]
    channels_per_unit: int

    def interleave(self, order: Sequence[int]) -> list[int]:
        """Reorder units, best first, so that every prefix holds the strata in proportion.

        Args:
            order: A permutation of the units, most important first.

        Returns:
            The permutation whose first ``w`` entries are what a width ``w`` keeps. How many of them
            fall in each stratum depends on ``w`` only.
        """
        waiting: dict[int, list[int]] = {}
        for unit in order:
            waiting.setdefault(self.strata[unit], []).append(unit)
        # Unit i of a stratum of size n is due at (i + 1/2) / n; one of each stratum comes first.
        due = sorted(
            (
                (i > 0, (i + 0.5) / len(units), stratum, i)
                for stratum, units in waiting.items()
                for i in range(len(units))
            )
        )
        return [waiting[stratum][i] for _, _, stratum, i in due]


@dataclass(frozen=True)
class Dimensions:
    """The free dimensions of a network, and where every atom belongs.

    Attributes:
        all: Dimensions in order of their first layer.
        dimension_of: Position in ``all`` by atom, -1 for atoms that are fixed.
        unit_of: Unit within its dimension by atom.
    """

    all: tuple[CoupledDimension, ...]
    dimension_of: Indices
    unit_of: Indices

    def kept(self, labels: Indices, keep: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Which entries of a labelled axis remain, given a mask over units per dimension name."""
        mask = np.ones(labels.shape, dtype=np.bool_)
        owner = self.dimension_of[labels]
        for d in np.unique(owner).tolist():
            if d >= 0:
                mine = owner == d
                mask[mine] = keep[self.all[d].name][self.unit_of[labels[mine]]]
        return mask


def freeze_layers(labels: Labels, patterns: Sequence[str]) -> None:
    """Fix what the layers produce whose names match the glob patterns.

    Raises:
        InputError: A pattern matches no layer.
    """
    for pattern in patterns:
        names = [name for name in labels.produced if fnmatchcase(name, pattern)]
        if not names:
            raise InputError(
                f"freeze pattern {pattern!r} matches no layer; layers are {', '.join(labels.produced)}"
            )
        for name in names:
            for atoms in labels.produced[name]:
                labels.atoms.fix(atoms, Reason(f"frozen by request ({pattern})", node=name))


def find_dimensions(trace: Trace, labels: Labels, align: int) -> Dimensions:
    """Group the free classes of atoms into dimensions.

    Widths step by ``max(1, min(align, units // 8))`` units from ``max(1, units // 8)``, or from the
    number of strata if there are more: an eighth of the channels everywhere leaves about 1/64 of the MACs.

    Args:
        trace: The traced network.
        labels: What propagation found.
        align: Largest step; channel counts a device likes are multiples of it.
    """
    atoms = np.arange(len(labels.atoms), dtype=np.int64)
    roots = labels.atoms.find(atoms)
    free = labels.atoms.free(atoms)
    producers = _occurrences(len(atoms), roots, [a for axes in labels.produced.values() for a in axes])
    everywhere = [a for values in labels.values.values() for value in values for a in value.labels.values()]
    places = _occurrences(len(atoms), roots, everywhere)
    dimension_of = np.full(len(atoms), -1, dtype=np.int64)
    unit_of = np.full(len(atoms), -1, dtype=np.int64)
    found: list[tuple[str, Indices, int]] = []
    taken: set[str] = set()
    for producer, axes in labels.produced.items():
        for axis in axes:
            heads = roots[axis]
            unclaimed = free[axis] & (dimension_of[heads] < 0)
            for signature in _in_order(producers[heads[unclaimed]]):
                members = _in_order(heads[unclaimed & (producers[heads] == signature)])
                if len(members) > 1:
                    dimension_of[members], unit_of[members] = len(found), np.arange(len(members))
                    channels = int(np.isin(heads, members).sum())
                    found.append((_unique(producer, taken), members, channels // len(members)))
    dimension_of, unit_of = dimension_of[roots], unit_of[roots]
    layers, states = _whereabouts(trace, labels, dimension_of, len(found))
    spaced = []
    for d, (name, members, per_unit) in enumerate(found):
        strata, units = _strata(places[members]), len(members)
        minimum, step = max(1, units // 8, max(strata) + 1), max(1, min(align, units // 8))
        spaced.append(
            CoupledDimension(name, units, strata, minimum, step, tuple(layers[d]), tuple(states[d]), per_unit)
        )
    return Dimensions(
        tuple(spaced),
        dimension_of,
        unit_of,
    )


def _whereabouts(
    trace: Trace, labels: Labels, dimension_of: Indices, count: int
) -> tuple[list[list[str]], list[list[ParameterAxis]]]:
    """Layers and parameter axes of every dimension."""
    layers: list[dict[str, None]] = [{} for _ in range(count)]
    states: list[set[ParameterAxis]] = [set() for _ in range(count)]

    def present(atoms: Indices) -> list[int]:
        return [d for d in np.unique(dimension_of[atoms]).tolist() if d >= 0]

    for layer in dict.fromkeys((*labels.produced, *labels.consumed)):
        for axis in (*labels.produced.get(layer, ()), *labels.consumed.get(layer, ())):
            for d in present(axis):
                layers[d][layer] = None
    for node in trace.state:
        for value in labels.values[node]:
            for axis, atoms in value.labels.items():
                for d in present(atoms):
                    states[d].add(ParameterAxis(value.state, axis))
    return [list(found) for found in layers], [sorted(found, key=_by_name) for found in states]


def _by_name(axis: ParameterAxis) -> tuple[str, int]:
    return axis.state, axis.axis


def _occurrences(count: int, roots: Indices, axes: list[Indices]) -> NDArray[np.uint64]:
    """A number per class that two classes share iff they occur equally often on every axis.

    A random linear hash of the occurrence counts; 64 bits make a collision practically impossible.
    """
    total = np.zeros(count, dtype=np.uint64)
    rng = np.random.default_rng(0)
    for axis in axes:
        weight = rng.integers(1, 2**63, dtype=np.uint64)
        classes, times = np.unique(roots[axis], return_counts=True)
        total[classes] += times.astype(np.uint64) * weight
    return total


def _in_order(values: NDArray[_Number]) -> NDArray[_Number]:
    """Distinct values in order of first occurrence."""
    distinct, first = np.unique(values, return_index=True)
    ordered: NDArray[_Number] = distinct[np.argsort(first)]
    return ordered


def _unique(name: str, taken: set[str]) -> str:
    candidate, i = name, 2
    while candidate in taken:
        candidate, i = f"{name}#{i}", i + 1
    taken.add(candidate)
    return candidate


def _strata(places: NDArray[np.uint64]) -> tuple[int, ...]:
    """Number the distinct places in order of their first unit."""
    _, first, inverse = np.unique(places, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return tuple(rank[inverse].tolist())
