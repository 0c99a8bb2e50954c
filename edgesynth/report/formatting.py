"""Figures as people read them: ``2.94 M``, ``91.32 %``, ``1.43 ms``, ``10.3× fewer``."""

from __future__ import annotations

import math
from typing import Final

from edgesynth.metrics import METRICS, SHARES, Metric

__all__ = [
    "bound",
    "change",
    "compare",
    "count",
    "duration",
    "factor",
    "figure",
    "human",
    "improvement",
    "interval",
    "parse_requirement",
    "requirement",
    "shorter",
    "titled",
]

_SCORES: Final = ("netscore",)  # logarithmic: differences mean something, ratios do not
_SPACE: Final = "\N{NARROW NO-BREAK SPACE}"
_MINUS: Final = "\N{MINUS SIGN}"
_DASH: Final = "\N{EN DASH}"
_TIMES: Final = "\N{MULTIPLICATION SIGN}"
_WORDS: Final = {"latency": ("faster", "slower"), "lower": ("fewer", "more"), "higher": ("more", "fewer")}
_AMOUNTS: Final = frozenset({"bytes", "energy_mj", "power_mean_mw", "power_peak_mw", "memory_peak_bytes"})


def human(value: float, digits: int = 3) -> str:
    """A number to some significant digits with a decimal suffix: ``2.94 M``, ``278 k``, ``0.153``."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{_MINUS if value < 0 else ''}∞"
    if value == 0:
        return "0"
    # Rounding first decides the suffix, so that 999 999 reads 1.00 M and not 1000 k.
    value = float(f"{value:.{digits - 1}e}")
    for scale, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return _significant(value / scale, digits) + _SPACE + suffix
    return _significant(value, digits)


def count(value: int) -> str:
    """A whole number with its thousands apart: ``10 000``."""
    return f"{value:,}".replace(",", _SPACE)


def duration(seconds: float) -> str:
    """Wall time: ``0.8 s``, ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f}{_SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{_SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{_SPACE}min{_SPACE}{whole % 60:02d}{_SPACE}s"
    return f"{whole // 3600}{_SPACE}h{_SPACE}{whole % 3600 // 60:02d}{_SPACE}min"


def figure(name: str, value: float, *, unit: bool = True) -> str:
    """A value of a metric, with its unit unless a heading already says it.

    Args:
        name: A key of :data:`edgesynth.metrics.METRICS`.
        value: In the unit of that metric.
        unit: Whether to append the unit.
    """
    if not math.isfinite(value):
        return human(value)
    if name in SHARES:
        text, symbol = f"{100 * value:.2f}", "%"
    elif name in _SCORES:
        text, symbol = _signed(f"{value:.1f}"), ""
    elif METRICS[name].unit == "mW" and abs(value) >= 1000:
        text, symbol = _significant(value / 1000, 3), "W"
    else:
        text, symbol = human(value), METRICS[name].unit
    # Rates carry their unit in their name ("inferences per joule"); 1/J after the number adds noise.
    if not unit or not symbol or "/" in symbol:
        return text
    # A decimal suffix and a unit are written as one word: 2.94 MB.
    glue = "" if text[-1].isalpha() else _SPACE
    return f"{text}{glue}{symbol}"


def shorter(text: str) -> str:
    """The same number without trailing zeros, for round figures: ``4.00 M`` becomes ``4 M``."""
    number, space, rest = text.partition(_SPACE)
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number}{space}{rest}"


def interval(metric: Metric) -> str:
    """The 95 % interval in the same form as the value, ``90.8–91.9``; empty when there is none."""
    if metric.interval is None:
        return ""
    low, high = (figure(metric.name, end, unit=False) for end in metric.interval)
    return f"{low}{_DASH}{high}"


def improvement(metric: Metric, reference: Metric) -> float | None:
    """How many times better than the reference, above 1 when better; ``None`` where a ratio means nothing."""
    if metric.name in (*SHARES, *_SCORES) or not (metric.value > 0 and reference.value > 0):
        return None
    ratio = metric.value / reference.value
    return ratio if METRICS[metric.name].better == "higher" else 1 / ratio


def change(metric: Metric, reference: Metric) -> tuple[str, str]:
    """An amount and a word for the change against a reference.

    Returns:
        ``("10.3×", "fewer")``, ``("-0.42", "points")``, ``("+18.2", "")``, or two empty texts where
        nothing can be said.
    """
    if not (math.isfinite(metric.value) and math.isfinite(reference.value)):
        return "", ""
    if metric.name in SHARES:
        return _signed(f"{100 * (metric.value - reference.value):+.2f}"), "points"
    if metric.name in _SCORES:
        return _signed(f"{metric.value - reference.value:+.1f}"), ""
    ratio = improvement(metric, reference)
    if ratio is None:
        return "", ""
    better, worse = _words(metric.name)
    return factor(ratio), "" if math.isclose(ratio, 1, abs_tol=5e-3) else better if ratio > 1 else worse


def factor(ratio: float) -> str:
    """A ratio without its direction, ``10.3×`` for 10.3 as for 1 / 10.3."""
    size = max(ratio, 1 / ratio)
    return f"{size:.{0 if size >= 100 else 1 if size >= 1.95 else 2}f}{_TIMES}"


def compare(metric: Metric, reference: Metric) -> str:
    """The change against a reference in words: ``10.3× fewer``, ``−0.42 points``, ``+18.2``."""
    return " ".join(part for part in change(metric, reference) if part)


def parse_requirement(text: str) -> tuple[str, str, float] | None:
    """Metric, sense and bound of a requirement such as ``macs <= 4e+06``; ``None`` for other texts."""
    name, sense, bound = (*text.split(maxsplit=2), "", "", "")[:3]
    if name not in METRICS or sense not in {">=", "<="}:
        return None
    try:
        return name, sense, float(bound)
    except ValueError:
        return None


def bound(text: str) -> str:
    """The bound of a requirement for people: ``macs <= 4e+06`` becomes ``≤ 4 M``."""
    parsed = parse_requirement(text)
    if parsed is None:
        return text
    name, sense, value = parsed
    return f"{'≥' if sense == '>=' else '≤'}{_SPACE}{shorter(figure(name, value))}"


def requirement(text: str) -> str:
    """A requirement for people: ``macs <= 4e+06`` becomes ``MACs ≤ 4 M``."""
    parsed = parse_requirement(text)
    return f"{METRICS[parsed[0]].label} {bound(text)}" if parsed else text


def _words(name: str) -> tuple[str, str]:
    if name.startswith("latency"):
        return _WORDS["latency"]
    if name in _AMOUNTS:
        return "less", "more"
    if name == "information_density":
        return "higher", "lower"
    return _WORDS[METRICS[name].better]


def _significant(value: float, digits: int) -> str:
    if abs(value) < 1e-4:
        return _signed(f"{value:.{digits}g}")
    return _signed(f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}")


def _signed(text: str) -> str:
    return text.replace("-", _MINUS)


def titled(label: str) -> str:
    """The label with a capital at its start, unless it is an abbreviation such as mAP or mIoU."""
    return label if label[1:2].isupper() else label[:1].upper() + label[1:]
