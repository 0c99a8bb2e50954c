"""Whether a lower precision keeps the task's score: accepted, rejected, or not decidable with these samples.

The same samples went through both precisions, so the comparison is paired. A precision is accepted when the
whole 95 % interval of what the score loses lies within the bound, and rejected when the whole interval lies
beyond. In between the samples are too few to tell: the higher precision stays, unless somebody asked for this
one by name, whom only a score beyond the bound stops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from numpy.typing import NDArray

from edgesynth.metrics import SHARES

if TYPE_CHECKING:
    from edgesynth.tasks import Score
    from edgesynth.tasks.comparison import PairedDifference

__all__ = ["HIGHEST", "Acceptance", "accept", "scored_by", "worse_for_certain"]

HIGHEST: Final = "fp32"
"""The precision that there is no higher one to."""
_MOST: Final = 1e6
"""Samples beyond which nobody is asked for more."""
_STEP: Final = 1.05

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Acceptance:
    """What became of the task's score in a lower precision.

    Attributes:
        precision: Which one.
        metric: What was scored; empty where the caller's own score has no name.
        value: The score in this precision.
        reference: The score in FP32, on the same samples.
        bound: How much of it may be lost.
        samples: How many were compared; 0 where the score does not tell.
        interval: The 95 % interval of ``value - reference``; ``None`` where the score does not tell what
            each sample came to.
        better: Samples that are right in this precision alone; ``None`` where the metric is no share of them.
        worse: Samples that are right in FP32 alone.
        enough: About how many samples would decide, if they are like these; ``None`` where it cannot be told.
        advice: What to do for more samples; to give more by default.
        strict: Whether it must be shown to keep the score, because nobody asked for it by name.
    """

    precision: str
    metric: str
    value: float
    reference: float
    bound: float
    samples: int = 0
    interval: tuple[float, float] | None = None
    better: int | None = None
    worse: int | None = None
    enough: int | None = None
    advice: str = ""
    strict: bool = False

    @property
    def verdict(self) -> Literal["accepted", "rejected", "undecided"]:
        """``accepted``, ``rejected``, or ``undecided`` with these samples."""
        low, high = self.interval or (-math.inf, self.value - self.reference)
        if low >= -self.bound:
            return "accepted"
        return "rejected" if high < -self.bound else "undecided"

    @property
    def refused(self) -> bool:
        """Whether the precision must not be used. Nothing has to be shown of the highest one."""
        if self.verdict == "undecided" and not (self.strict and self.precision != HIGHEST):
            return self.value < self.reference - self.bound
        return self.verdict != "accepted"

    @property
    def warns(self) -> bool:
        """Whether it is used though not shown to keep the score, and there is a higher one."""
        return self.verdict == "undecided" and not self.refused and self.precision != HIGHEST

    @property
    def says(self) -> str:
        """The verdict in a sentence, with its figures and what to do."""
        verdict, fell = self.verdict, f"from {self._text(self.reference)} to {self._text(self.value)}"
        if verdict == "accepted":
            return f"{self.precision} keeps the task's score: {self._figures}"
        if verdict == "rejected" or (self.refused and self.precision == HIGHEST):
            stay = "" if self.precision == HIGHEST else f"; stay with {HIGHEST}"
            figures = "" if self.interval is None else f": {self._figures}"
            return f"the task's score fell {fell}{figures}{stay}"
        if self.precision == HIGHEST:
            return f"{self._figures}; too few samples to tell more, and nothing hangs on it in {HIGHEST}"
        unknown = f"whether {self.precision} keeps the task's score cannot be decided"
        return f"{unknown}: {self._figures}; {self._more}"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "verdict": self.verdict, "refused": self.refused, "says": self.says}

    @property
    def _figures(self) -> str:
        scale, unit = (100, " points") if self.metric in SHARES else (1, "")
        change, bound = f"{scale * (self.value - self.reference):+.3g}", f"{scale * self.bound:.3g}"
        if self.interval is None:
            return f"it changed by {change}{unit}, and does not tell what each sample came to"
        low, high = (f"{scale * end:+.3g}" for end in self.interval)
        changed = f"it changed by {change}{unit} on {self.samples} samples"
        if self.worse is not None:
            changed += (
                f" ({self.better} right in {self.precision} alone, {self.worse} in the reference alone)"
            )
        return f"{changed}, 95 % interval {low} to {high}, and may lose {bound}"

    @property
    def _more(self) -> str:
        stays = f"{HIGHEST} stays" if self.refused else f"{self.precision} is used because it was asked for"
        if self.interval is None:
            return f"{stays}; give labels or a task with --data, whose score tells it"
        if self.enough is None:
            return f"{stays}; {self.advice or 'more samples may decide it: give them with --data'}"
        give = self.advice or f"give them with --data and --samples {self.enough}"
        return f"{stays}; about {self.enough} samples would decide it: {give}"

    def _text(self, value: float) -> str:
        return f"{100 * value:.4g} %" if self.metric in SHARES else f"{value:.4g}"


def scored_by(metric: Callable[[Outputs], float], outputs: Outputs) -> Score | None:
    """What each sample came to, where the metric can tell: one with a method ``scored``."""
    scored = getattr(metric, "scored", None)
    return None if scored is None else scored(outputs)


def accept(
    metric: Callable[[Outputs], float],
    expected: Outputs,
    found: Outputs,
    *,
    precision: str,
    bound: float,
    advice: str = "",
    strict: bool = False,
) -> Acceptance:
    """Compare the scores of two precisions on the same samples.

    Args:
        metric: Scores outputs, higher is better.
        expected: The outputs in FP32.
        found: Those in the lower precision.
        precision: Which one that is.
        bound: How much of the score may be lost.
        advice: What to do for more samples.
        strict: Whether the lower precision must be shown to keep the score.

    Raises:
        InputError: The outputs do not have the shape that the metric needs.
    """
    name = str(getattr(metric, "name", ""))
    before, after = scored_by(metric, expected), scored_by(metric, found)
    if before is None or after is None:
        values = metric(found), metric(expected)
        return Acceptance(precision, name, *values, bound, advice=advice, strict=strict)
    from edgesynth.tasks.comparison import paired_difference

    known = paired_difference(after, before)
    return Acceptance(
        precision,
        name,
        after.metric.value,
        before.metric.value,
        bound,
        known.samples,
        known.interval,
        known.better,
        known.worse,
        _enough(known, bound),
        advice,
        strict,
    )


def worse_for_certain(one: Score, other: Score) -> bool:
    """Whether the first score lies below the second by more than the samples' noise."""
    from edgesynth.tasks.comparison import paired_difference

    interval = paired_difference(one, other).interval
    return one.metric.value < other.metric.value if interval is None else interval[1] < 0


def _enough(known: PairedDifference, bound: float) -> int | None:
    """About how many samples like these would decide."""
    if known.extrapolated is None:
        return None
    many = float(known.samples)
    while many <= _MOST:
        low, high = known.extrapolated(many)
        if low >= -bound or high < -bound:
            digits = int(10 ** max(0, math.floor(math.log10(many)) - 1))
            return max(known.samples, math.ceil(many / digits) * digits)
        many *= _STEP
    return None
