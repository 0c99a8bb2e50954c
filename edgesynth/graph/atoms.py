"""Atoms: the smallest things a network can lose, and which of them must go together.

Every index of every axis of every parameter starts as an atom of its own. Operators tie atoms
(the two operands of a residual add) or fix them (a network output). What remains are classes of
atoms, a disjoint-set forest [Tarjan, J. ACM 22(2), 1975]; a class that is not fixed is one *unit*
that can be kept or dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIXED", "Atoms", "Indices", "Reason"]

Indices: TypeAlias = NDArray[np.int64]

FIXED: Final = 0
"""The atom of every index that can never be dropped, e.g. a channel of the input image."""


@dataclass(frozen=True)
class Reason:
    """Why atoms are fixed.

    Attributes:
        text: What happened, in words.
        operator: The ATen operator at fault, e.g. ``aten.cumsum``.
        node: The name of its node in the trace.
        line: Where the user's code says so, ``file:line: source``; empty if unknown.
        module: The module it happens in, name and class; empty in the network itself.
    """

    text: str
    operator: str = ""
    node: str = ""
    line: str = ""
    module: str = ""


class Atoms:
    """A disjoint-set forest of atoms in which whole classes can be fixed, with the reason why."""

    def __init__(self) -> None:
        self._parent: Indices = np.zeros(1024, dtype=np.int64)
        self._count = 1
        self._reasons: dict[int, Reason] = {FIXED: Reason("fixed axis")}

    def new(self, count: int) -> Indices:
        """Make ``count`` fresh atoms, each a class of its own."""
        start, self._count = self._count, self._count + count
        if self._count > len(self._parent):
            grown = np.zeros(2 * self._count, dtype=np.int64)
            grown[:start] = self._parent[:start]
            self._parent = grown
        fresh = np.arange(start, self._count, dtype=np.int64)
        self._parent[start : self._count] = fresh
        return fresh

    def __len__(self) -> int:
        """How many atoms there are, the fixed one included."""
        return self._count

    def find(self, atoms: Indices) -> Indices:
        """The representative of each atom's class, in the shape of ``atoms``."""
        roots = self._parent[atoms]
        while True:
            above = self._parent[roots]
            if np.array_equal(above, roots):
                break
            roots = above
        self._parent[atoms] = roots
        return roots

    def unite(self, left: Indices, right: Indices, reason: Reason) -> None:
        """Tie two equally shaped arrays of atoms, index by index.

        Args:
            left: Atoms.
            right: Atoms of the same shape.
            reason: Given to a class that becomes fixed because the other side is.
        """
        a, b = self.find(left.ravel()), self.find(right.ravel())
        differ = np.flatnonzero(a != b)
        if not differ.size:
            return
        keep, gone = np.minimum(a, b)[differ], np.maximum(a, b)[differ]
        simple = len(np.unique(gone)) == len(gone) and keep.min() > FIXED and not np.isin(keep, gone).any()
        if simple and not np.isin(gone, self._fixed()).any():
            # Every class on one side is merged once, and none of them holds a reason: no order matters.
            self._parent[gone] = keep
            return
        for first, second in sorted({*zip(keep.tolist(), gone.tolist(), strict=True)}):
            self._merge(first, second, reason)

    def fix(self, atoms: Indices, reason: Reason) -> None:
        """Forbid the classes of these atoms to be dropped; the first reason given is kept."""
        for root in np.unique(self.find(atoms.ravel())).tolist():
            self._reasons.setdefault(root, reason)

    def reason(self, atom: int) -> Reason | None:
        """Why the class of ``atom`` is fixed; None if it is free."""
        return self._reasons.get(int(self.find(np.array([atom]))[0]))

    def free(self, atoms: Indices) -> NDArray[np.bool_]:
        """Which atoms belong to classes that may be dropped."""
        return ~np.isin(self.find(atoms), self._fixed())

    def _fixed(self) -> Indices:
        return np.fromiter(self._reasons, dtype=np.int64, count=len(self._reasons))

    def _merge(self, first: int, second: int, reason: Reason) -> None:
        a, b = self._root(first), self._root(second)
        if a == b:
            return
        keep, gone = min(a, b), max(a, b)
        if keep == FIXED:
            # The fixed atom stays alone: classes would lose the reason that is their own.
            self._reasons.setdefault(gone, reason)
            return
        self._parent[gone] = keep
        if gone in self._reasons:
            self._reasons.setdefault(keep, self._reasons.pop(gone))

    def _root(self, atom: int) -> int:
        parent = self._parent
        while parent[atom] != atom:
            atom = int(parent[atom])
        return atom
