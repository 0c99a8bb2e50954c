"""What a device tells of itself in a ``start``, as far as anybody computes with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["known_facts"]

_LARGEST: Final = 1e12

Check = Callable[[object], bool]


def known_facts(event: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of an event, without those that are not of the kind that whoever reads them expects.

    Args:
        event: As it was told, with its ``event``.
    """
    return {key: value for key, value in event.items() if key != "event" and _KINDS.get(key, _any)(value)}


def _any(value: object) -> bool:
    del value
    return True


def _truth(value: object) -> bool:
    return isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _or_none(kind: Check) -> Check:
    return lambda value: value is None or kind(value)


def _names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _shares(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(_number, value.values()))


def _clocks(value: object) -> bool:
    return isinstance(value, str) or _shares(value)


def _tensors(*keys: str) -> Check:
    return lambda value: (
        isinstance(value, list)
        and all(isinstance(each, Mapping) and all(key in each for key in keys) for each in value)
    )


_KINDS: Final[Mapping[str, Check]] = {
    "assumed": _names,
    "blocks": _count,
    "blocks_at_speed": _count,
    "clocks_mhz": _clocks,
    "cooling_active": _names,
    "cuda_graph": _truth,
    "digits": _count,
    "dla_core": _or_none(_count),
    "dla_fallback": _names,
    "dla_fallback_count": _or_none(_count),
    "dla_full": _truth,
    "dla_layers": _or_none(_count),
    "latency_as_timed_ms": _or_none(_number),
    "inputs": _tensors("name", "type", "shape"),
    "load_throttled": _shares,
    "load_waited_share": _or_none(_number),
    "memory_available_mb": _or_none(_number),
    "outputs": _tensors("name", "path", "type", "call_shape"),
    "sampler_cpu_share": _or_none(_number),
    "settled": _or_none(_truth),
    "speed_ms": _number,
    "throttled": _names,
    "waited_share": _or_none(_number),
    "warm_up_s": _number,
    "warm_up_trend": _number,
}
"""What is computed with, and whether it can be; the rest is shown as it was told."""
