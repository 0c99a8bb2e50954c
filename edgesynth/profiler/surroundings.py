"""Whether a device was in the state that its figures assume: mode, nothing else running, memory, cooling.

What is found here is in doubt for every figure of a measurement, not for power alone; a latency that has not
settled is for its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from edgesynth.agent.tegrastats import Record
from edgesynth.devices.profile import Mode
from edgesynth.devices.speed import FEWEST_BLOCKS
from edgesynth.profiler.statistics import drift

__all__ = [
    "JETSON_CLOCKS",
    "LOCK_CLOCKS",
    "clock_doubt",
    "device_doubt",
    "mode_doubt",
    "rest_doubt",
    "settle_doubt",
    "shortage_doubt",
    "speed_doubt",
    "throttle_doubt",
]

CLOCK_SHARE: Final = 0.97
"""Below this share of the clock of its mode the GPU counts as throttled, and so far may clocks drift."""
THROTTLED_SHARE: Final = 0.05
"""Share of the samples of a window that may be throttled."""
BUSY_CORES: Final = 1.0
"""Cores' worth of work that a resting board may do: a desktop takes up to 0.9."""
BUSY_GPU_PERCENT: Final = 10.0
"""Share of the time that the GPU of a resting board may be busy."""
LEAST_MEMORY_MB: Final = 100.0
"""With less memory to spare a board reclaims and swaps."""
SWAPPED_MB: Final = 16.0
"""What may be swapped out in a window."""
JETSON_CLOCKS: Final = "jetson_clocks"
"""What holds the clocks of a board."""
LOCK_CLOCKS: Final = "nvidia-smi --lock-gpu-clocks=MHZ as root"
"""What holds the clock of a graphics card."""
_REMEDY: Final = "end other programs, or use a smaller batch"
_FEWEST: Final = 5
_FANS: Final = ("fan", "pwm")


def device_doubt(conditions: Mapping[str, Any], mode: Mode) -> str:
    """What a device that shows no power says of itself: too little memory, or that it throttles; in words.

    Args:
        conditions: What its bench program told.
        mode: Its power mode.
    """
    return (
        shortage_doubt(conditions.get("memory_available_mb"), ())
        or throttle_doubt(conditions)
        or clock_doubt((), mode, conditions.get("cooling_active", ()))
    )


def mode_doubt(conditions: Mapping[str, Any], wanted: str) -> str:
    """That a board was not in its power mode, or cannot tell, in words; nothing when it was.

    Args:
        conditions: What its agent told; a device that has no modes tells none.
        wanted: The mode that figures are labelled with.
    """
    unknown = conditions.get("mode_unknown")
    if unknown:
        return f"the board cannot tell its power mode ({unknown}), so figures could be of any"
    found = [conditions.get("mode", wanted), conditions.get("mode_after", wanted)]
    other = next((mode for mode in found if mode != wanted), wanted)
    if other == wanted:
        return ""
    when = "" if found[0] == other else " at the end"
    return f"the device was in power mode {other}{when}, not {wanted}; set the mode and repeat"


def speed_doubt(conditions: Mapping[str, Any], *, first: bool) -> str:
    """That the machine hardly ever had one speed, in words; nothing where nobody looked.

    Args:
        conditions: What the bench program told; see :mod:`edgesynth.devices.speed`.
        first: Whether the speed was free to choose, and is not that of an earlier measurement.
    """
    blocks, kept = conditions.get("blocks", 0), conditions.get("blocks_at_speed", 0)
    if kept >= min(FEWEST_BLOCKS, blocks):
        return ""
    which = "one and the same speed" if first else "the speed of the first measurement"
    return (
        f"the machine had {which} in only {kept} of {blocks} blocks of calls (a reference load that took "
        f"{conditions.get('speed_ms', 0.0):.4f} ms); measure on a machine that nothing else uses, or longer"
    )


def settle_doubt(conditions: Mapping[str, Any]) -> str:
    """That the latency still changed when the warm-up was over, in words; nothing where nobody looked.

    Args:
        conditions: What the bench program told; see :mod:`edgesynth.agent.settling`.
    """
    if conditions.get("settled", True) is not False:
        return ""
    trend = conditions.get("warm_up_trend", 0.0)
    return (
        f"the latency had not settled after {conditions.get('warm_up_s', 0.0):.1f} s: it was still "
        f"{'rising' if trend > 0 else 'falling'} by {abs(trend):.1%}; let the device warm up or cool down "
        "before, fix its clocks, or allow a longer warm-up"
    )


def shortage_doubt(available_mb: float | None, records: Sequence[Record]) -> str:
    """That a board was short of memory, in words.

    Args:
        available_mb: Memory to spare before the network was loaded, if known.
        records: Of the load.
    """
    spare = [
        record.ram_total_mb - record.ram_used_mb
        for record in records
        if record.ram_total_mb is not None and record.ram_used_mb is not None
    ]
    least = min([*spare, *([] if available_mb is None else [available_mb])], default=LEAST_MEMORY_MB)
    if least < LEAST_MEMORY_MB:
        return f"there were only {least:.0f} MB of memory to spare; {_REMEDY}"
    swap = [record.swap_used_mb for record in records if record.swap_used_mb is not None]
    if swap and max(swap) - swap[0] > SWAPPED_MB:
        return f"the board swapped {max(swap) - swap[0]:.0f} MB out while it ran the network; {_REMEDY}"
    return ""


def rest_doubt(records: Sequence[Record]) -> str:
    """That something else ran on a board, in words.

    Args:
        records: Of its rests: while the network does not run, nothing should.
    """
    gpu = [record.gpu_load_percent for record in records if record.gpu_load_percent is not None]
    if gpu and np.mean(gpu) > BUSY_GPU_PERCENT:
        return f"something else uses the GPU: it was busy {np.mean(gpu):.0f} % of a rest; end it and repeat"
    cores = [
        sum(core.load_percent for core in record.cpu if core is not None) / 100
        for record in records
        if record.cpu
    ]
    if cores and np.mean(cores) > BUSY_CORES:
        return f"other programs took {np.mean(cores):.1f} CPU cores in a rest; end them and repeat"
    return ""


def throttle_doubt(conditions: Mapping[str, Any]) -> str:
    """That a GPU said that it slowed its clocks, and why, in words; nothing where it does not say.

    Args:
        conditions: What the bench program told.
    """
    at_once = conditions.get("throttled", ())
    load = conditions.get("load_throttled", {})
    told = [f"{name} after the timed calls" for name in at_once]
    told += [f"{name} in {share:.0%} of the load" for name, share in load.items() if share > THROTTLED_SHARE]
    if not told:
        return ""
    return f"the GPU throttled ({', '.join(told)}): cool it, or see its power limit with nvidia-smi -q"


def clock_doubt(
    records: Sequence[Record],
    mode: Mode,
    cooling: Sequence[str],
    *,
    gpu_rests: bool = False,
    fixed_by: str = JETSON_CLOCKS,
) -> str:
    """That a device throttled or its clocks drifted under load, in words.

    Args:
        records: Of the window.
        mode: Its power mode, for the GPU clock; where that is not known, the clock may still not drift.
        cooling: Cooling devices of the board that were active at the end of the load.
        gpu_rests: Whether something else of the board computes, so that the GPU's clock says nothing.
        fixed_by: What holds the clocks of this device.
    """
    limiting = [name for name in cooling if not any(fan in name.lower() for fan in _FANS)]
    if limiting:
        return f"the board throttles: {', '.join(limiting)} is active; cool it, or choose a lower power mode"
    clocks = [
        record.gpu_clock_mhz for record in records if record.gpu_clock_mhz is not None and not gpu_rests
    ]
    cap_mhz = mode.gpu_clock_mhz
    slow = [] if cap_mhz is None else [clock for clock in clocks if clock < CLOCK_SHARE * cap_mhz]
    if len(slow) > THROTTLED_SHARE * len(clocks):
        return (
            f"GPU clock fell to {min(slow)} MHz in {len(slow)} of {len(clocks)} samples where "
            f"{mode.name} has {cap_mhz:.0f} MHz: it throttles or its clocks are not fixed; "
            f"cool it or run {fixed_by}"
        )
    memory = [record.emc_clock_mhz for record in records if record.emc_clock_mhz is not None]
    for what, series in (("GPU", clocks), ("memory", memory)):
        if len(series) >= _FEWEST and min(series) > 0 and drift(series) > 1 - CLOCK_SHARE:
            return (
                f"the {what} clock drifted between {min(series)} and {max(series)} MHz under load: it "
                f"throttles or its clocks are not fixed; cool it or run {fixed_by}"
            )
    return ""
