"""One output against the reference's: how far it may be off in a precision, and whether it is.

A value that is not finite is never within the tolerance. Class indices are counted, not subtracted; of other
whole numbers nobody says whether they are indices, so either will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.divergence import pairs, relative_error
from edgesynth.deploy.runners import Arrays
from edgesynth.metrics import wilson_interval

__all__ = ["TOLERANCES", "OutputCheck", "Tolerance", "agree", "check_output"]


@dataclass(frozen=True)
class Tolerance:
    """How far an output may be from the reference.

    Attributes:
        worst: Largest difference of one value, relative to the largest magnitude of the output.
        rms: Root mean square difference, relative to that of the output.
        others: Of class indices, the share that may be others; ties, for which the reference has no one
            class, are not counted.
    """

    worst: float
    rms: float
    others: float


TOLERANCES: Final[Mapping[str, Tolerance]] = MappingProxyType(
    {
        # Rounding of sums in another order.
        "fp32": Tolerance(worst=1e-4, rms=1e-4, others=0.0),
        # Eleven bits of mantissa, and some dozens of layers.
        "fp16": Tolerance(worst=2e-2, rms=1e-2, others=0.02),
        # Steps of 1/127 of each range: single values may be far off, most must not.
        "int8": Tolerance(worst=0.5, rms=0.15, others=0.15),
    }
)
"""Tolerance by precision."""


@dataclass(frozen=True)
class OutputCheck:
    """One output against the reference's.

    Attributes:
        name: The graph output.
        max_abs: Largest absolute difference.
        scale: Largest magnitude of the reference's output.
        rms: Root mean square difference, relative.
        bad_sample: The first sample with a NaN or Inf that the reference does not have; ``None`` without one.
        problem: Why it does not agree; ``""`` when it does.
        others: Of class indices, the share that are others than the reference's; ``None`` for numbers. What
            they differ by means nothing, and ``max_abs``, ``scale`` and ``rms`` are 0.
        batch: Samples per call of an engine that it is wrong in; ``None`` where it is in the largest ones.
    """

    name: str
    max_abs: float
    scale: float
    rms: float
    bad_sample: int | None = None
    problem: str = ""
    others: float | None = None
    batch: int | None = None

    @property
    def says(self) -> str:
        """How far it is from the reference."""
        if self.others is not None:
            return f"{self.others:.2%} of the classes are others, ties left out"
        return f"off by {self.max_abs:.3g} where values reach {self.scale:.3g}"


def agree(expected: Arrays, found: Arrays, precision: str) -> bool:
    """Whether every output is within the tolerance of a precision.

    Args:
        expected: The reference's outputs by name.
        found: Those under suspicion.
        precision: Whose tolerance applies.
    """
    return set(expected) == set(found) and not any(
        check_output(name, want, found[name], TOLERANCES[precision]).problem
        for name, want in expected.items()
    )


def check_output(name: str, want: NDArray[Any], have: NDArray[Any], limits: Tolerance) -> OutputCheck:
    """Compare one output with the reference's.

    Args:
        name: The graph output.
        want: The reference's; a masked array holds class indices.
        have: The one under suspicion.
        limits: How far it may be off.
    """
    if want.shape != have.shape:
        shapes = ("x".join(map(str, value.shape)) or "of a scalar" for value in (have, want))
        return OutputCheck(name, float("inf"), 0.0, float("inf"), problem="shape {}, not {}".format(*shapes))
    if isinstance(want, np.ma.MaskedArray):
        return _check_classes(name, want, have, limits)
    wrong, scale, worst = ~np.isfinite(have) & np.isfinite(want), 0.0, 0.0
    for one, two in pairs(want, have):
        known = np.isfinite(one)
        scale = max(scale, float(np.max(np.abs(one), initial=0.0, where=known)))
        with np.errstate(invalid="ignore"):  # of what is infinite in both, which is left out
            off = np.abs(one - two)
        worst = max(worst, float(np.max(off, initial=0.0, where=known & np.isfinite(two))))
    if np.size(want) and not np.isfinite(want).any():
        problem = "no value of the reference is finite, so there is nothing to compare with"
        return OutputCheck(name, float("inf"), 0.0, float("inf"), problem=problem)
    if wrong.any():
        sample = int(np.argwhere(wrong)[0][0]) if wrong.ndim else 0
        kinds = "NaN" if np.isnan(have[wrong]).any() else "Inf"
        return OutputCheck(
            name,
            float("inf"),
            scale,
            float("inf"),
            sample,
            f"{int(wrong.sum())} values are {kinds}, first in sample {sample}",
        )
    rms = relative_error(want, have)
    problem = ""
    # An output of zeros has no scale of its own.
    if worst > limits.worst * (scale or 1.0):
        problem = f"off by {worst:.3g} where values reach {scale:.3g}; {limits.worst:g} of that may be"
    elif rms == float("inf"):
        problem = "what is NaN or Inf in the reference is something else here"
    elif rms > limits.rms:
        problem = f"root mean square error {rms:.3g}, at most {limits.rms:g}"
    if problem and want.dtype.kind in "iub":
        return _check_classes(name, np.ma.masked_array(want), have, limits)
    return OutputCheck(name, worst, scale, rms, problem=problem)


def _check_classes(
    name: str, want: np.ma.MaskedArray[Any, Any], have: NDArray[Any], limits: Tolerance
) -> OutputCheck:
    """Class indices: how many are others, since what they differ by means nothing."""
    settled = ~np.ma.getmaskarray(want)
    others = settled & (np.asarray(want) != have)
    count, wrong = max(1, int(settled.sum())), int(others.sum())
    check = OutputCheck(name, 0.0, 0.0, 0.0, others=wrong / count)
    # Of few samples a single one is a large share: the bound must be exceeded for certain.
    if wrong and wilson_interval(wrong, count)[0] > limits.others:
        first = int(np.argwhere(others)[0][0])
        most = "none" if not limits.others else f"{limits.others:.0%} of them"
        said = f"{wrong} of {count} classes are others, first in sample {first}; {most} may be"
        return replace(check, problem=said)
    return check
