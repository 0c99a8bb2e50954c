"""A precision that computes something else than the network: a reason to take the next higher one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesynth.deploy.verify import VerifyReport

__all__ = ["Inexact", "find_inexact"]


@dataclass(frozen=True)
class Inexact:
    """Values that a lower precision does not hold.

    Attributes:
        precision: Which one.
        failures: What differs, one line each.
        where: The first layer that goes wrong; empty where it is not known.
    """

    precision: str
    failures: tuple[str, ...]
    where: str = ""

    @property
    def says(self) -> str:
        """The reason in a sentence."""
        more = f"; and {len(self.failures) - 1} more" if len(self.failures) > 1 else ""
        return f"{self.failures[0]}{more}" + (f"; {self.where} goes wrong first" if self.where else "")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "failures": list(self.failures), "says": self.says}


def find_inexact(precision: str, reports: Sequence[VerifyReport]) -> Inexact | None:
    """What speaks against a precision, where it is values alone: too far off, NaN, or out of its range.

    Args:
        precision: Which one.
        reports: All verifications that were made of it.

    Returns:
        ``None`` where all agree, or one differs in more than its values, or did not run.
    """
    failing = [report for report in reports if report.failures]
    if not failing or not all(map(_by_values, failing)):
        return None
    first = next((report.divergence for report in failing if report.divergence is not None), None)
    return Inexact(
        precision,
        tuple(dict.fromkeys(line for report in failing for line in report.failures)),
        "" if first is None else f"{first.node} ({first.operator})",
    )


def _by_values(report: VerifyReport) -> bool:
    """Whether it is the values that differ: an overflow is told beside the outputs, and so is all else."""
    overflow = report.divergence is not None and math.isinf(report.divergence.error)
    return bool(report.outputs) and len(report.problems) <= overflow
