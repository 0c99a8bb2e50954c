"""The scales that regressions work on: monotone maps from metrics to what a Gaussian fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from edgesynth.synthesis.encoding import Array

__all__ = ["Warp"]

_LEAST_SUM: Final = 0.05
"""The least that a sum over parts is believed to be, of the least one seen."""
_LEAST_RATE: Final = 1e-9
_ROUNDING: Final = 1e-9
"""What varies by less than this, over its mean, does so by rounding."""
_OF_PARTS: Final = ("sum", "rate")


@dataclass(frozen=True)
class Warp:
    """A monotone map from a metric to a scale on which a Gaussian fits it.

    Attributes:
        kind: ``log`` for positive scales, ``logit`` for fractions, ``sum`` for what is above zero and a sum
            over parts (latency, energy), ``rate`` for one over such a sum, ``raw`` else.
        shift: Subtracted after the map.
        scale: Divided by after the shift.
        floor: The least value that the logarithm sees, or that a sum may have.
    """

    kind: Literal["log", "logit", "sum", "rate", "raw"]
    shift: float = 0.0
    scale: float = 1.0
    floor: float = 1e-9

    @classmethod
    def fit(cls, values: Array, *, fraction: bool) -> Warp:
        """Choose the map by the values' range, and standardise by their mean and deviation."""
        kind: Literal["log", "logit", "raw"] = "raw"
        floor = 1e-9
        if fraction and values.min() >= 0 and values.max() <= 1:
            kind = "logit"
        elif not fraction and values.min() >= 0 and values.max() > 0:
            kind, floor = "log", max(1e-3 * float(np.median(values[values > 0])), 1e-300)
        return cls(kind, floor=floor)._standard(values)

    @classmethod
    def of_parts(cls, values: Array, kind: Literal["sum", "rate"]) -> Warp:
        """Keep what parts add up to as it is, and standardise it; :meth:`fit` where it is not above zero."""
        if values.min() <= 0:
            return cls.fit(values, fraction=False)
        least = values.min() if kind == "sum" else 1.0 / values.max()
        return cls(kind, floor=_LEAST_SUM * float(least))._standard(values)

    def _standard(self, values: Array) -> Warp:
        mapped = self.forward(values)
        shift, scale = float(mapped.mean()), float(mapped.std())
        # Of sums, unlike logarithms, the unit is anybody's: where nothing varies, they may by their own size.
        own = abs(shift) if self.kind in _OF_PARTS else 1.0
        return replace(self, shift=shift, scale=scale if scale > _ROUNDING * abs(shift) else own)

    def forward(self, values: Array) -> Array:
        """Metric to model scale."""
        if self.kind == "log":
            values = np.log(np.maximum(values + self.floor, self.floor))
        elif self.kind == "logit":
            values = np.clip(values, 1e-3, 1 - 1e-4)
            values = np.log(values / (1.0 - values))
        elif self.kind == "rate":
            # One over them falls where they rise.
            values = -1.0 / np.maximum(values, _LEAST_RATE)
        return (values - self.shift) / self.scale

    def inverse(self, values: Array) -> Array:
        """Model scale to metric."""
        values = values * self.scale + self.shift
        if self.kind == "raw":
            return values
        if self.kind == "sum":
            return np.maximum(values, self.floor)
        if self.kind == "rate":
            return 1.0 / np.maximum(-values, self.floor)
        # Clipping keeps wild extrapolations finite.
        if self.kind == "log":
            return np.exp(np.clip(values, -200.0, 200.0)) - self.floor
        return 1.0 / (1.0 + np.exp(np.clip(-values, -200.0, 200.0)))

    def width(self, mean: Array, std: Array) -> Array:
        """Half of what lies within a deviation of a mean, both on the model scale, as a metric."""
        if self.kind in _OF_PARTS:
            # Where a mean is less than a sum may be, the interval is about what is told instead of it.
            mean = self.forward(self.inverse(mean))
        width: Array = (self.inverse(mean + std) - self.inverse(mean - std)) / 2
        return width

    def to_json(self) -> list[Any]:
        """The JSON form."""
        return [self.kind, self.shift, self.scale, self.floor]
