"""A space of architectures: named dimensions, and one choice for each of them.

An *architecture* is a plain ``dict`` from dimension name to choice: an ``int`` for a
:class:`Width`, a ``bool`` for a :class:`Switch`, a ``str`` for a :class:`Choice`. Plain dicts
travel through JSON, SQLite and other people's code without ceremony.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgesynth.errors import ArchitectureError

__all__ = ["Architecture", "Choice", "Dimension", "Space", "Switch", "Value", "Width"]

Value: TypeAlias = int | bool | str
Architecture: TypeAlias = dict[str, Value]

_MOST_VALUES: Final = 4096
"""Of one width: everything that is learned has tables over the values of the longest dimension."""


@dataclass(frozen=True)
class Width:
    """How many units of a coupled channel group are kept.

    Attributes:
        name: Unique within its space.
        minimum: The smallest count, at least 1.
        maximum: The largest count; always a legal choice, even off the step grid.
        step: Choices are the multiples of ``step`` between the bounds, and the bounds themselves. The range
            holds at most 4096 steps.
    """

    name: str
    minimum: int
    maximum: int
    step: int = 1

    def __post_init__(self) -> None:
        """Refuse ranges that hold no choice, or too many of them."""
        _refuse_unnamed("width", self.name)
        for key in ("minimum", "maximum", "step"):
            given = getattr(self, key)
            try:
                object.__setattr__(self, key, operator.index(given))
            except TypeError:
                raise ArchitectureError(
                    f"{key} of width {self.name!r} must be a whole number, got {given!r}; give an int"
                ) from None
        if not 1 <= self.minimum <= self.maximum or self.step < 1:
            raise ArchitectureError(
                f"width {self.name!r} needs 1 <= minimum <= maximum and step >= 1, "
                f"got minimum={self.minimum}, maximum={self.maximum}, step={self.step}"
            )
        count = (self.maximum - self.minimum) // self.step + 1
        if count > _MOST_VALUES:
            raise ArchitectureError(
                f"width {self.name!r} has {count} values from {self.minimum} to {self.maximum}, more than "
                f"the {_MOST_VALUES} that can be learned; give a step of at least "
                f"{-(-count // _MOST_VALUES) * self.step}"
            )

    @property
    def values(self) -> tuple[int, ...]:
        """Every legal count, ascending: multiples of the step between the bounds, and both bounds."""
        first = -(-self.minimum // self.step) * self.step
        grid = {self.minimum, self.maximum, *range(first, self.maximum + 1, self.step)}
        return tuple(sorted(grid))


@dataclass(frozen=True)
class Switch:
    """Whether a removable block is present."""

    name: str

    def __post_init__(self) -> None:
        """Refuse what is no name."""
        _refuse_unnamed("switch", self.name)

    @property
    def values(self) -> tuple[bool, ...]:
        """Absent first, so that the first value is always the smallest."""
        return (False, True)


@dataclass(frozen=True)
class Choice:
    """Which of several operators fills a slot; the options have no order."""

    name: str
    options: tuple[str, ...]

    def __init__(self, name: str, options: Iterable[str]) -> None:
        """Name the slot and list its options; at least one, all different."""
        _refuse_unnamed("choice", name)
        if isinstance(options, str) or not isinstance(options, Iterable):
            raise ArchitectureError(
                f"choice {name!r} needs a list of options, got {options!r}; write e.g. ['conv3x3', 'conv5x5']"
            )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", tuple(options))
        if not self.options or len(set(self.options)) != len(self.options):
            raise ArchitectureError(f"choice {name!r} needs distinct options, got {self.options}")

    @property
    def values(self) -> tuple[str, ...]:
        """The options as given."""
        return self.options


Dimension: TypeAlias = Width | Switch | Choice


def _refuse_unnamed(kind: str, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise ArchitectureError(f"a {kind} needs a name, got {name!r}; give a text that is not empty")


class Space:
    """An ordered set of dimensions.

    Args:
        dimensions: At least one; names must be unique.

    Raises:
        ArchitectureError: There is no dimension, or something that is none, or two share a name.
    """

    def __init__(self, dimensions: Iterable[Dimension]) -> None:
        if not isinstance(dimensions, Iterable):
            raise ArchitectureError(f"a space needs a list of dimensions, got {dimensions!r}")
        self.dimensions: tuple[Dimension, ...] = tuple(dimensions)
        for dimension in self.dimensions:
            if not isinstance(dimension, Width | Switch | Choice):
                raise ArchitectureError(
                    f"a dimension is a Width, a Switch or a Choice, got {dimension!r}; write e.g. "
                    "Switch('block')"
                )
        names = [dimension.name for dimension in self.dimensions]
        if not names:
            raise ArchitectureError("a space needs at least one dimension, got none")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ArchitectureError(f"dimension names must be unique, repeated: {twice}")
        self._values = [dimension.values for dimension in self.dimensions]
        self._index = [{value: i for i, value in enumerate(vals)} for vals in self._values]

    def __len__(self) -> int:
        return len(self.dimensions)

    def __iter__(self) -> Iterator[Dimension]:
        return iter(self.dimensions)

    def __repr__(self) -> str:
        return f"Space({len(self)} dimensions, {self.size:.3g} architectures)"

    @property
    def names(self) -> tuple[str, ...]:
        """Dimension names in order."""
        return tuple(dimension.name for dimension in self.dimensions)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """How many choices each dimension has, in order."""
        return tuple(len(values) for values in self._values)

    @property
    def size(self) -> float:
        """How many architectures the space holds (a float: it overflows no integer column)."""
        return float(np.prod([float(n) for n in self.cardinalities]))

    def smallest(self) -> Architecture:
        """First value everywhere: least width, blocks absent, first option."""
        return self.decode(np.zeros(len(self), dtype=np.int64))

    def largest(self) -> Architecture:
        """Last value everywhere: full width, blocks present, last option."""
        return self.decode(np.array(self.cardinalities, dtype=np.int64) - 1)

    def sample(self, seed: int) -> Architecture:
        """Draw uniformly over every dimension; the same seed gives the same architecture."""
        rng = np.random.default_rng(seed)
        return self.decode(rng.integers(0, np.array(self.cardinalities)))

    def encode(self, architecture: Mapping[str, Value]) -> NDArray[np.int64]:
        """Turn an architecture into value indices of shape ``(len(space),)``.

        Raises:
            ArchitectureError: A dimension is missing or unknown, or a choice is not legal.
        """
        if not isinstance(architecture, Mapping):
            raise ArchitectureError(
                f"an architecture is a mapping from dimension to choice, got {architecture!r}"
            )
        unknown = sorted(map(str, set(architecture) - set(self.names)))
        missing = [name for name in self.names if name not in architecture]
        if unknown or missing:
            raise ArchitectureError(
                f"architecture does not fit the space: unknown dimensions {unknown}, missing {missing}"
            )
        indices = np.empty(len(self), dtype=np.int64)
        for i, dimension in enumerate(self.dimensions):
            value = architecture[dimension.name]
            legal = isinstance(value, Hashable) and value in self._index[i]
            # True == 1 in Python, and a switch must not be read as a width.
            if not legal or isinstance(value, bool | np.bool_) != isinstance(dimension, Switch):
                raise ArchitectureError(
                    f"dimension {dimension.name!r} cannot be {value!r}; choose from {list(self._values[i])}"
                )
            indices[i] = self._index[i][value]
        return indices

    def decode(self, indices: NDArray[np.int64]) -> Architecture:
        """Turn value indices of shape ``(len(space),)`` back into an architecture."""
        return {
            dimension.name: values[int(i)]
            for dimension, values, i in zip(self.dimensions, self._values, indices, strict=True)
        }

    def distance(self, a: Mapping[str, Value], b: Mapping[str, Value]) -> float:
        """Mean over dimensions of the normalised difference, in 0..1.

        Ordered dimensions count the share of their range between the two choices; unordered
        ones count 0 or 1.
        """
        left, right = self.encode(a), self.encode(b)
        total = 0.0
        for i, dimension in enumerate(self.dimensions):
            if isinstance(dimension, Choice):
                total += float(left[i] != right[i])
            else:
                total += abs(int(left[i]) - int(right[i])) / max(1, len(self._values[i]) - 1)
        return total / len(self)

    def key(self, architecture: Mapping[str, Value]) -> str:
        """A short stable identity: 12 hex digits of the SHA-256 of the canonical JSON."""
        self.encode(architecture)
        canonical = json.dumps({n: architecture[n] for n in sorted(architecture)}, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def to_json(self) -> list[dict[str, Any]]:
        """The JSON form that run folders keep."""
        out: list[dict[str, Any]] = []
        for dimension in self.dimensions:
            if isinstance(dimension, Width):
                out.append(
                    {
                        "kind": "width",
                        "name": dimension.name,
                        "minimum": dimension.minimum,
                        "maximum": dimension.maximum,
                        "step": dimension.step,
                    }
                )
            elif isinstance(dimension, Switch):
                out.append({"kind": "switch", "name": dimension.name})
            else:
                out.append({"kind": "choice", "name": dimension.name, "options": list(dimension.options)})
        return out

    @classmethod
    def from_json(cls, data: Iterable[Mapping[str, Any]]) -> Space:
        """Read what :meth:`to_json` wrote."""
        makers = {"width": Width, "switch": Switch, "choice": Choice}
        return cls(
            makers[item["kind"]](**{key: value for key, value in item.items() if key != "kind"})
            for item in data
        )
