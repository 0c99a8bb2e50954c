"""Requirements that refer to the prototype: ``"macs" = "<= prototype / 10"``.

``prototype`` stands for the prototype's own value of the same metric. It may be divided, multiplied,
or have something added or taken away, once. Numbers take the suffixes of every other requirement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from edgesynth.errors import RequirementError
from edgesynth.metrics import SHARES, Metric, metric_kind

__all__ = ["check", "is_relative", "resolve"]

_SUFFIXES: Final = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "%": 1e-2}
_NUMBER: Final = r"[+-]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?:[ ]?[kKMG%])?"
_UNSIGNED: Final = _NUMBER.removeprefix("[+-]?")
_TERM: Final = (
    rf"(?:(?P<factor>{_UNSIGNED})\s*\*\s*)?prototype(?:\s*(?P<sign>[*/+-])\s*(?P<operand>{_UNSIGNED}))?"
)
_ANONYMOUS: Final = re.sub(r"\?P<\w+>", "?:", _TERM)
_CONDITION: Final = re.compile(
    rf"(?:>=|<=|≥|≤)\s*(?:{_ANONYMOUS})|(?:{_ANONYMOUS}|{_NUMBER})\s*\.\.\s*(?:{_ANONYMOUS}|{_NUMBER})"
)


def is_relative(condition: str) -> bool:
    """Whether a condition refers to the prototype."""
    return "prototype" in condition


def check(metric: str, condition: str) -> None:
    """Refuse a relative condition that could not be read later, before any work is done.

    Raises:
        RequirementError: The metric is unknown or the condition cannot be read.
    """
    metric_kind(metric)
    if not _CONDITION.fullmatch(condition.strip()):
        raise RequirementError(
            f"the requirement on {metric!r} cannot be read: {condition!r}; write "
            '"<= prototype / 10", ">= prototype - 0.02", ">= 1.5 * prototype" or "<= prototype"'
        )
    _substituted(metric, condition, 1.0)


def resolve(
    requirements: Mapping[str, str | Sequence[str]],
    prototype: Mapping[str, float | Metric],
    *,
    partial: bool = False,
) -> dict[str, list[str]]:
    """Put the prototype's values in, so that every bound is a number.

    Args:
        requirements: Conditions by metric, as in a job file.
        prototype: What is known of the prototype, by metric.
        partial: Leave out conditions whose metric is not known yet, instead of refusing them.

    Returns:
        Conditions by metric without any ``prototype``, as ``Requirements`` reads them.

    Raises:
        RequirementError: A condition refers to a metric the prototype has no value of, or cannot be read.
    """
    found: dict[str, list[str]] = {}
    for metric, given in requirements.items():
        for condition in [given] if isinstance(given, str) else given:
            text = condition
            if is_relative(condition):
                check(metric, condition)
                if metric not in prototype:
                    if partial:
                        continue
                    there = ", ".join(sorted(prototype)) or "nothing"
                    raise RequirementError(
                        f"{metric} {condition} refers to the prototype's {metric}, which was not obtained "
                        f"(known: {there}); write a number instead"
                    )
                known = prototype[metric]
                value = known.value if isinstance(known, Metric) else known
                text = _substituted(metric, condition, value, share=metric in SHARES)
            found.setdefault(metric, []).append(text)
    return found


def _substituted(metric: str, condition: str, value: float, *, share: bool = False) -> str:
    def number(match: re.Match[str]) -> str:
        result = value * (_read(match["factor"]) if match["factor"] else 1.0)
        if match["sign"]:
            operand = _read(match["operand"])
            if match["sign"] == "/" and operand == 0:
                raise RequirementError(f"the requirement on {metric!r} divides by zero: {condition!r}")
            result = {
                "*": lambda: result * operand,
                "/": lambda: result / operand,
                "+": lambda: result + operand,
                "-": lambda: result - operand,
            }[match["sign"]]()
        if share and not 0 <= result <= 1:
            raise RequirementError(
                f"{match[0]!r} in the requirement {condition!r} on {metric!r} is {result:.6g}, as the "
                f"prototype has {value:.6g}; {metric} lies in 0 .. 1: write another bound"
            )
        # Twelve digits hide the noise of binary fractions and lose nothing that was measured.
        return format(result, ".12g")

    return re.sub(_TERM, number, condition)


def _read(text: str) -> float:
    suffix = text[-1] if text[-1] in _SUFFIXES else ""
    return float(text.removesuffix(suffix)) * _SUFFIXES[suffix]
