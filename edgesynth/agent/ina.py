"""Power of every rail from the INA chips' own files, for boards whose tegrastats shows none.

Two trees exist: the iio driver of R28 to R32 (``rail_name_N``, ``in_powerN_input`` in mW) and the hwmon
driver of R34 and later (``inN_label``, ``inN_input`` in mV times ``currN_input`` in mA). Thor's INA238 has
``power1_input`` in microwatts. Bus and hwmon numbers move between boots, so chips are found by name.
"""

import glob
import os
import time
from typing import List, NamedTuple, Optional, Tuple

from edgesynth.agent.board import gpu_clock_mhz, paths, read_text
from edgesynth.agent.errors import LinkGone
from edgesynth.agent.events import write_all

__all__ = ["Channel", "find_channels", "print_lines", "running_modes", "sample_line"]


class Channel(NamedTuple):
    """One rail.

    Attributes:
        rail: Its label.
        files: One file with power, or voltage and current.
        per_mw: The product of the files' numbers that makes one milliwatt.
    """

    rail: str
    files: Tuple[str, ...]
    per_mw: int

    def read_mw(self) -> Optional[int]:
        """Present power, or ``None`` when the chip does not answer."""
        product = 1
        for path in self.files:
            try:
                product *= int(read_text(path) or "")
            except ValueError:
                return None
        return int(round(product / self.per_mw))


def find_channels() -> List[Channel]:
    """Every rail of every INA chip once, in the order of the chips' addresses."""
    found: List[Channel] = []
    for path in paths("/sys/bus/i2c/devices/*/name"):
        chip = read_text(path) or ""
        folder = os.path.dirname(path)
        if chip.startswith("ina3221"):
            found += _iio_channels(folder) + _hwmon_channels(folder)
        elif chip.startswith("ina2"):
            found += _single_channel(folder)
    first = {channel.rail: channel for channel in reversed(found)}  # some kernels show a chip in two folders
    return [channel for channel in found if first[channel.rail] is channel]


def _iio_channels(folder: str) -> List[Channel]:
    found = []
    for path in sorted(glob.glob(os.path.join(folder, "iio*", "rail_name_[0-9]"))):
        label = read_text(path)
        power = os.path.join(os.path.dirname(path), "in_power{}_input".format(path[-1]))
        if _is_rail(label) and os.path.exists(power):
            found.append(Channel(_word(label), (power,), 1))
    return found


def _hwmon_channels(folder: str) -> List[Channel]:
    found = []
    for path in sorted(glob.glob(os.path.join(folder, "hwmon", "hwmon*", "in[0-9]*_label"))):
        label = read_text(path)
        number = os.path.basename(path)[2 : -len("_label")]
        voltage = path[: -len("_label")] + "_input"
        current = os.path.join(os.path.dirname(path), "curr{}_input".format(number))
        if _is_rail(label) and os.path.exists(current):
            found.append(Channel(_word(label), (voltage, current), 1000))
    return found


def _single_channel(folder: str) -> List[Channel]:
    for path in sorted(glob.glob(os.path.join(folder, "hwmon", "hwmon*", "power1_input"))):
        label = read_text(path[: -len("_input")] + "_label") or read_text(
            os.path.join(os.path.dirname(path), "in1_label")
        )
        return [Channel(_word(label or "VIN"), (path,), 1000)]
    return []


def _is_rail(label: Optional[str]) -> bool:
    """Whether a label names a rail: ``NC`` is not connected, and a sum of shunt voltages is no power."""
    return bool(label) and label != "NC" and "shunt" not in str(label).lower()


def _word(label: Optional[str]) -> str:
    """The label as tegrastats would print it: one word."""
    return "_".join(str(label).split())


def running_modes() -> List[str]:
    """How the chips sample, where they say it: ``continuous`` is filtered, ``triggered`` is not."""
    modes = {read_text(path) or "" for path in paths("/sys/bus/i2c/devices/*/iio*/running_mode")}
    return sorted(modes - {""})


def sample_line(channels: List[Channel]) -> str:
    """One reading of all rails in the form of a tegrastats line; a rail that does not answer is left out."""
    parts = []
    clock = gpu_clock_mhz()
    if clock is not None:
        parts.append("GR3D_FREQ @{}".format(clock))
    for channel in channels:
        power = channel.read_mw()
        if power is not None:
            parts.append("{} {}mW/{}mW".format(channel.rail, power, power))
    return " ".join(parts)


def print_lines(interval_s: float, descriptor: int) -> int:
    """Print a line per interval until nobody reads it."""
    channels = find_channels()
    due_s = time.monotonic()
    while True:
        try:
            write_all(descriptor, (sample_line(channels) + "\n").encode())
        except LinkGone:
            return 0
        now_s = time.monotonic()
        due_s = max(due_s + interval_s, now_s)  # after a delay the pace goes on; nothing is made up for
        time.sleep(due_s - now_s)
