"""Which power counts: the total of a module from its rails, and whether to believe it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgesynth.devices.profile import Rails, Sensor
from edgesynth.profiler.energy import holds_still

__all__ = ["distrust", "rule_for", "step_mw", "still_step_mw", "total_mw"]


def rule_for(readings: Mapping[str, float], rails: Rails) -> Rails:
    """The rule that fits what a board prints: the fallback is the total where the total cannot be had.

    Decide this once for a whole recording and not line by line: a line may be cut short, and the two totals
    need not be the same quantity.

    Args:
        readings: Every rail that the board printed.
        rails: The rule of this module.
    """
    if not rails.fallback or all(name in readings for name in rails.total):
        return rails
    parts = tuple(name for name in rails.parts if name not in rails.fallback)
    return replace(rails, total=rails.fallback, parts=parts, fallback=())


def total_mw(readings: Mapping[str, float], rails: Rails) -> float | None:
    """Power of the whole module, or ``None`` when a rail of the total is missing.

    Args:
        readings: Present power per rail, mW.
        rails: The rule of this module.
    """
    if not all(name in readings for name in rails.total):
        return None
    return float(sum(readings[name] for name in rails.total))


def step_mw(rails: Rails, sensor: Sensor) -> float:
    """The step that rounds the total as much as its rails are rounded, mW.

    Every rail of a sum is rounded by itself, and the variances of that add up.
    """
    return math.hypot(*(sensor.step_mw[name] for name in rails.total))


def still_step_mw(readings: Sequence[Mapping[str, float]], rails: Rails, sensor: Sensor) -> float:
    """The step that rounds the total as much as those of its rails do that hold still, mW.

    The rounding of a rail averages out where it wanders over more than half a step. One that does not is off
    by the same all the time, however much the others wander.

    Args:
        readings: Power per rail of every sample of a window, mW.
        rails: The rule of this module.
        sensor: Its sensor.
    """
    seen = {name: [reading[name] for reading in readings if name in reading] for name in rails.total}
    return math.hypot(
        *(sensor.step_mw[name] for name in seen if holds_still(seen[name], sensor.step_mw[name]))
    )


def distrust(means: Mapping[str, float], rails: Rails, sensor: Sensor) -> str:
    """Why these mean readings cannot be the module's, or nothing.

    Rails that the module does not have, in place of those it has, mean another module. A part that exceeds
    the total means that a label is wrong (some carrier boards have such) or that a sensor failed; one step of
    rounding is allowed.

    Args:
        means: Mean power per rail, mW.
        rails: The rule of this module.
        sensor: Its sensor.
    """
    strange = [name for name in means if name not in rails.names]
    absent = [name for name in rails.names if name not in means]
    if strange and absent:
        return (
            f"the board prints the power rails {', '.join(strange)} and lacks {', '.join(absent)}: it is not "
            "the module of this profile, or another release names them so; choose its profile or write one"
        )
    total = total_mw(means, rails)
    if total is None:
        missing = ", ".join(name for name in rails.total if name not in means)
        return f"no power rail {missing}; read it with root rights, or from sysfs"
    for name in rails.parts:
        if name in means and means[name] > total + sensor.step_mw[name]:
            return (
                f"rail {name} shows {means[name]:.0f} mW, more than the total's {total:.0f} mW: "
                "the rails of this board are labelled wrongly or a sensor failed"
            )
    return ""
