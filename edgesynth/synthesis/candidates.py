"""Where candidates come from: space-filling starts, and moves into computed bounds and up to them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgesynth.errors import InputError
from edgesynth.metrics import metric_kind
from edgesynth.space import Architecture, Choice, Space, Switch, Width
from edgesynth.synthesis.checks import finite
from edgesynth.synthesis.encoding import Array, Encoding, Indices, first_rows, keys
from edgesynth.synthesis.layers import LayerFeatures, LayerSizes
from edgesynth.synthesis.requirements import Requirement, Requirements
from edgesynth.synthesis.warp import Warp

__all__ = [
    "BatchedCosts",
    "Computed",
    "Costs",
    "fill",
    "left",
    "opening",
    "proportional",
    "repair",
    "spread_out",
    "stratified",
    "unique",
    "without",
]

_HALVINGS: Final = 8
_POOL: Final = 512
_SCALE_SAMPLES: Final = 256

_REMEMBERED: Final = 2**15
"""Architectures whose metrics are remembered, those asked about last."""

_COUNTABLE: Final = 2**15
"""Architectures of a space that is gone through one by one."""

_DRAWS: Final = 64
"""How often a larger one is drawn from for what is left of it."""


@runtime_checkable
class BatchedCosts(Protocol):
    """Exact, free metrics that can be had of many architectures in one call."""

    def __call__(self, architecture: Architecture, /) -> Mapping[str, float]:
        """Metrics of one architecture."""
        ...

    def totals(self, choices: Indices, /) -> Mapping[str, NDArray[np.generic]]:
        """Metrics of value indices ``[n, D]`` of the space, each ``[n]``."""
        ...


@runtime_checkable
class LayeredCosts(BatchedCosts, Protocol):
    """Such metrics, and the layers that they are of."""

    def layer_sizes(self, choices: Indices, /) -> LayerSizes:
        """The layers of value indices ``[n, D]`` of the space."""
        ...


Computed: TypeAlias = Callable[[Architecture], Mapping[str, float]] | BatchedCosts
"""Exact, free metrics of an architecture; asked for thousands of imagined ones."""


class Costs:
    """The exact, free metrics of architectures, remembered, and the bounds on them.

    Attributes:
        function: As it was given.
        names: The metrics, in the order the function gives them.
        scales: By name, the scale on which the metric is about normally distributed over the space.

    Args:
        encoding: The space's encoding.
        function: Exact metrics of one architecture; ``None`` when nothing is free. One that also has
            :attr:`BatchedCosts.totals` is asked for many at once.
        requirements: Every bound; those on other metrics are left alone.

    Raises:
        InputError: The function gives something else than the same finite metrics, by name and not negative,
            of the smallest and of the largest network.
        RequirementError: A metric has an unknown name, or a bound cannot be met.
    """

    def __init__(self, encoding: Encoding, function: Computed | None, requirements: Requirements) -> None:
        self._encoding = encoding
        self.function = function
        self._memory: OrderedDict[bytes, NDArray[np.float64]] = OrderedDict()
        self._sample = stratified(encoding, _SCALE_SAMPLES, np.random.default_rng(0))
        self.names: tuple[str, ...] = ()
        self.scales: dict[str, Warp] = {}
        if function is not None:
            smallest = _checked(function, encoding.space.smallest())
            largest = _checked(function, encoding.space.largest())
            if smallest.keys() != largest.keys():
                raise InputError(
                    f"the computed metrics are {sorted(smallest)} of the smallest network and "
                    f"{sorted(largest)} of the largest; give the same of every architecture"
                )
            self.names = tuple(smallest)
            for item in requirements:
                if item.metric in self.names:
                    item.satisfiable_by(self._closest(item))
            self.scales = {
                name: Warp.fit(values, fraction=False) for name, values in self(self._sample).items()
            }
        self._bounds = [item for item in requirements if item.metric in self.names]

    @property
    def layers(self) -> LayerFeatures | None:
        """Features of the layers, where the function knows layers."""
        if not isinstance(self.function, LayeredCosts):
            return None
        even = np.random.default_rng(0).integers(self._encoding.counts, size=self._sample.shape)
        return LayerFeatures(self.function.layer_sizes, even)

    @property
    def bounded(self) -> bool:
        """Whether any computed metric has a bound."""
        return bool(self._bounds)

    def __call__(self, indices: Indices) -> dict[str, NDArray[np.float64]]:
        """Exact metrics of value indices ``[n, D]``, each ``[n]``; empty when nothing is free."""
        if self.function is None:
            return {}
        if isinstance(self.function, BatchedCosts):
            totals = self.function.totals(indices)
            return {name: np.asarray(totals[name], dtype=np.float64) for name in self.names}
        table = np.empty((len(indices), len(self.names)))
        memory = self._memory
        for row, key in enumerate(keys(indices)):
            known = memory.get(key)
            if known is None:
                got = self.function(self._encoding.space.decode(indices[row]))
                known = memory[key] = np.array([float(got[name]) for name in self.names])
                if len(memory) > _REMEMBERED:
                    memory.popitem(last=False)
            else:
                memory.move_to_end(key)
            table[row] = known
        return {name: table[:, i] for i, name in enumerate(self.names)}

    def _closest(self, item: Requirement) -> float:
        """A value that meets a bound, or the closest that climbing, one dimension at a time, comes to.

        It begins at the best of the smallest and the largest network and a sample of the space.
        """
        space = self._encoding.space
        ends = [space.encode(end) for end in (space.smallest(), space.largest())]
        pool, sign = np.concatenate([ends, self._sample]), 1.0 if item.sense == ">=" else -1.0
        closest = -np.inf
        while len(pool):
            values = sign * self(pool)[item.metric]
            best = int(np.where(np.isfinite(values), values, -np.inf).argmax())
            if values[best] <= closest:
                break
            closest, at = float(values[best]), pool[[best]]
            if item.margin(sign * closest) >= 0:
                break
            pool = self._encoding.neighbours(at)
        return sign * closest

    def features(self, values: Mapping[str, NDArray[np.float64]], count: int) -> Array:
        """What a call gave of ``n`` architectures, on the scales of the metrics: ``[n, M]``."""
        columns = [self.scales[name].forward(values[name]) for name in self.names]
        return np.stack(columns, axis=1) if columns else np.zeros((count, 0))

    def margins(self, indices: Indices, requirements: Requirements | None = None) -> NDArray[np.float64]:
        """The smallest relative margin over the computed bounds, ``[n]``; 0 without bounds."""
        bounds = self._bounds
        if requirements is not None:
            bounds = [item for item in requirements if item.metric in self.names]
        if not bounds or not len(indices):
            return np.zeros(len(indices))
        values = self(indices)
        table = [[item.margin(value) for value in values[item.metric]] for item in bounds]
        smallest: NDArray[np.float64] = np.array(table).min(axis=0)
        return smallest


def _checked(function: Computed, architecture: Architecture) -> dict[str, float]:
    """Metrics of one architecture, refused where they are none."""
    if not callable(function):
        raise InputError(f"computed is a function of an architecture, got {function!r}")
    got = function(architecture)
    if not isinstance(got, Mapping):
        raise InputError(
            f"the computed metrics of {architecture} are {got!r}; give values by metric name, such as "
            '{"macs": 1e6}'
        )
    for name in got:
        metric_kind(str(name))
    return {name: finite(f"the computed {name} of {architecture}", value, 0.0) for name, value in got.items()}


def left(encoding: Encoding, taken: Indices, count: int, rng: np.random.Generator) -> Indices:
    """Architectures that are not taken: all of a small space, else at least ``count`` unless they are rare.

    Args:
        encoding: The space's encoding.
        taken: Value indices ``[E, D]``.
        count: How many are wanted.
        rng: Draws from a space too large to be gone through.

    Returns:
        Value indices ``[n, D]``, all different.
    """
    counts = encoding.counts
    if encoding.space.size <= _COUNTABLE:
        return without(np.stack(np.unravel_index(np.arange(counts.prod()), tuple(counts)), axis=1), taken)
    found = taken[:0]
    for _ in range(_DRAWS):
        drawn = rng.integers(counts, size=(max(_POOL, count), len(counts)))
        found = unique(np.concatenate([found, without(drawn, taken)]))
        if len(found) >= count:
            break
    return found


def unique(indices: Indices) -> Indices:
    """Distinct rows, in order of first appearance."""
    return indices[sorted(first_rows(indices).values())]


def without(pool: Indices, taken: Indices) -> Indices:
    """The rows of the pool ``[C, D]`` that are not taken."""
    known = set(keys(taken))
    return pool[[key not in known for key in keys(pool)]] if len(pool) else pool


def stratified(encoding: Encoding, count: int, rng: np.random.Generator) -> Indices:
    """Draw ``[count, D]`` architectures of every size, not only of the middling one.

    Independent uniform draws of many widths all cost about the same; here each draw has its own level,
    around which the ordered dimensions scatter, so that small and large networks are seen as well.
    """
    level = rng.random((count, 1))
    place = np.clip(level + rng.normal(0.0, 0.25, (count, len(encoding.counts))), 0.0, 1.0 - 1e-9)
    uniform = rng.random(place.shape)
    free = np.array([isinstance(dimension, Choice) for dimension in encoding.space])
    place = np.where(free | (rng.random(place.shape) < 0.1), uniform, place)
    drawn: Indices = (place * encoding.counts).astype(np.int64)
    return drawn


def proportional(encoding: Encoding, costs: Costs, count: int, rng: np.random.Generator) -> Indices:
    """Scale the prototype into the computed bounds, keeping its proportions roughly: ``[count, D]``.

    Each draw leaves out some blocks, varies every width by about a sixth, and is then made as wide as
    the bounds allow (bisection on one factor). Without computed bounds the factor is drawn.
    """
    space = encoding.space
    drawn = np.empty((count, len(space)), dtype=np.int64)
    for row in range(count):
        depth = rng.uniform(0.6, 1.0)
        uneven = np.exp(rng.normal(0.0, 0.16, len(space)))
        rest = np.array([rng.integers(len(dimension.values)) for dimension in space])
        present = rng.random(len(space)) < depth

        def scaled(
            factor: float,
            uneven: NDArray[np.float64] = uneven,
            rest: NDArray[np.int64] = rest,
            present: NDArray[np.bool_] = present,
        ) -> Indices:
            return _scaled(space, factor * uneven, rest, present)

        low, high = 0.0, 1.0
        if not costs.bounded:
            low = rng.uniform(0.25, 1.0)
        elif costs.margins(scaled(1.0)[None])[0] >= 0:
            low = 1.0
        else:
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                inside = costs.margins(scaled(middle)[None])[0] >= 0
                low, high = (middle, high) if inside else (low, middle)
        drawn[row] = scaled(low)
    return drawn


def _scaled(
    space: Space, factors: NDArray[np.float64], rest: NDArray[np.int64], present: NDArray[np.bool_]
) -> Indices:
    """Widths nearest to a factor of the whole, blocks as ``present`` says, other choices as given."""
    chosen = rest.copy()
    for i, dimension in enumerate(space):
        if isinstance(dimension, Width):
            wanted = factors[i] * dimension.maximum
            chosen[i] = int(np.abs(np.array(dimension.values) - wanted).argmin())
        elif isinstance(dimension, Switch):
            chosen[i] = int(present[i])
    return chosen


def spread_out(encoding: Encoding, pool: Indices, taken: Indices, count: int, start: int = 0) -> Indices:
    """Choose ``count`` rows of the pool, each the farthest from those taken so far (maximin design)."""
    features = encoding.embed(pool)
    chosen: list[int] = []
    if len(taken):
        known = encoding.embed(taken)
        near = np.min(((features[:, None, :] - known[None, :, :]) ** 2).sum(2), axis=1)
    else:
        chosen.append(start)
        near = ((features - features[start]) ** 2).sum(1)
    while len(chosen) < min(count, len(pool)):
        near[chosen] = -1.0
        chosen.append(int(near.argmax()))
        near = np.minimum(near, ((features - features[chosen[-1]]) ** 2).sum(1))
    return pool[chosen[:count]]


def opening(
    encoding: Encoding,
    costs: Costs,
    taken: Indices,
    count: int,
    rng: np.random.Generator,
    requirements: Requirements | None = None,
) -> Indices:
    """A space-filling start inside the computed bounds, every other time near them: ``[count, D]``.

    Args:
        encoding: The space's encoding.
        costs: The computed bounds.
        taken: Value indices ``[E, D]`` to keep away from.
        count: How many; fewer come where the pool holds no more.
        rng: Draws the pool.
        requirements: The bounds to stay inside; by default the taught ones.
    """
    pool = without(unique(stratified(encoding, _POOL, rng)), taken)
    if costs.bounded:
        margins = costs.margins(pool, requirements)
        inside = np.flatnonzero(margins >= 0)
        if len(inside) < count:
            pool = pool[np.argsort(-margins)[: 4 * count]]
        elif (len(taken) // max(1, count)) % 2 == 0:
            pool = pool[inside[np.argsort(margins[inside])[: max(4 * count, len(inside) // 3)]]]
        else:
            pool = pool[inside]
    return spread_out(encoding, pool, taken, count)


def repair(
    encoding: Encoding, costs: Costs, choice: Indices, preferences: Array, requirements: Requirements
) -> Indices:
    """Move one architecture ``[D]`` into the computed bounds along the policy's own ranking.

    Every step makes the single change that gives up the least preference per margin won, until the
    bounds hold or no single change helps.
    """
    current = choice.copy()
    margin = float(costs.margins(current[None], requirements)[0])
    while margin < 0:
        moves = encoding.neighbours(current[None])
        margins = costs.margins(moves, requirements)
        gain = np.minimum(margins, 0.0) - margin
        dims = np.arange(len(current))
        given_up = (preferences[dims, current] - preferences[dims[None], moves]).sum(1)
        better = gain > 1e-12
        if not better.any():
            break
        price = np.where(better, (given_up - given_up.min() + 1e-3) / np.maximum(gain, 1e-12), np.inf)
        best = int(price.argmin())
        current, margin = moves[best], float(margins[best])
    return current


def fill(
    encoding: Encoding, costs: Costs, choice: Indices, preferences: Array, requirements: Requirements
) -> Indices:
    """Grow one architecture ``[D]`` until no single step stays inside the computed bounds.

    A step widens a width or takes a block in; each is the one that the policy's own ranking minds least.
    Only for a performance that a larger network cannot lower.
    """
    current = choice.copy()
    grows = np.array([isinstance(dimension, Width | Switch) for dimension in encoding.space])
    while True:
        places = np.flatnonzero(grows & (current + 1 < encoding.counts))
        moves = np.repeat(current[None], len(places), axis=0)
        moves[np.arange(len(places)), places] += 1
        minded = preferences[places, current[places]] - preferences[places, current[places] + 1]
        minded = np.where(costs.margins(moves, requirements) >= 0, minded, np.inf)
        if not np.isfinite(minded).any():
            return current
        current = moves[int(minded.argmin())]
