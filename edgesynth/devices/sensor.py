"""A simulated power sensor: what an INA3221 and ``tegrastats`` make of a power curve."""

from __future__ import annotations

import bisect
import random
from collections.abc import Mapping, Sequence

from edgesynth.devices.profile import Mode, Profile, needed
from edgesynth.errors import DeviceError

__all__ = ["PowerCurve", "SimulatedSensor"]


class PowerCurve:
    """True power per rail over time, constant between the instants where it changes.

    Args:
        start_s: When the first level begins; earlier times see the first level too.
        levels_mw: Power per rail from then on.
    """

    def __init__(self, start_s: float, levels_mw: Mapping[str, float]) -> None:
        self._starts = [start_s]
        self._levels = [dict(levels_mw)]

    def change(self, at_s: float, levels_mw: Mapping[str, float]) -> None:
        """Let every rail take a new level from ``at_s`` on; instants must not go back."""
        if at_s < self._starts[-1]:
            raise DeviceError(f"a power curve cannot change at {at_s} s, before {self._starts[-1]} s")
        self._starts.append(at_s)
        self._levels.append(dict(levels_mw))

    def mean_mw(self, begin_s: float, end_s: float) -> dict[str, float]:
        """Mean power per rail between two instants, ``begin_s < end_s``."""
        first = max(0, bisect.bisect_right(self._starts, begin_s) - 1)
        last = max(0, bisect.bisect_left(self._starts, end_s) - 1)
        if first == last:
            return self._levels[first]
        mean = dict.fromkeys(self._levels[first], 0.0)
        for index in range(first, last + 1):
            begin = begin_s if index == first else self._starts[index]
            end = end_s if index == last else self._starts[index + 1]
            share = (end - begin) / (end_s - begin_s)
            for rail, level in self._levels[index].items():
                mean[rail] += share * level
        return mean


class SimulatedSensor:
    """Writes the ``tegrastats`` lines of a power curve, in the form of R32.7 on a TX2.

    Every reading is the mean of the sensor's averaging window, disturbed by noise and rounded to the
    sensor's steps, as the real chip does; the mean of each rail runs since the sensor was made.

    Args:
        profile: Must have ``rails`` and ``sensor``.
        mode: Gives the clocks that are printed.
        curve: Power per rail, the total included.
        noise_mw: Standard deviation of the noise on a total rail; a part has a third of it.
        seed: Same seed, same noise.
        lost_rail: A rail to leave out of every line.
        mislabelled_rail: A rail that shows ten times the highest one.
    """

    def __init__(
        self,
        profile: Profile,
        mode: Mode,
        curve: PowerCurve,
        *,
        noise_mw: float,
        seed: str,
        lost_rail: str | None = None,
        mislabelled_rail: str | None = None,
    ) -> None:
        if profile.rails is None or profile.sensor is None:
            raise DeviceError(f"{profile.name} has no power sensor to simulate")
        self._profile = profile
        self._mode = mode
        self._curve = curve
        self._noise = random.Random(seed)
        self._cpu_clock_mhz = needed(mode.cpu_clock_mhz, "modes.cpu_clock_mhz")
        self._memory_clock_mhz = needed(mode.memory_clock_mhz, "modes.memory_clock_mhz")
        self._filter_s = profile.sensor.filter_s
        self._rails = [
            (name, profile.sensor.step_mw[name], noise_mw if name in profile.rails.total else noise_mw / 3)
            for name in profile.rails.names
            if name != lost_rail
        ]
        self._mislabelled = mislabelled_rail
        self._sums = dict.fromkeys(profile.rails.names, 0)
        self._count = 0

    def read_mw(self, at_s: float) -> dict[str, int]:
        """One reading of every rail, in whole milliwatts."""
        mean = self._curve.mean_mw(at_s - self._filter_s, at_s)
        gauss = self._noise.gauss
        readings = {
            name: int(round((mean[name] + gauss(0.0, noise)) / step) * step)
            for name, step, noise in self._rails
        }
        if self._mislabelled is not None:
            readings[self._mislabelled] = 10 * max(readings.values())
        return readings

    def line(self, at_s: float, *, busy: bool, gpu_clock_mhz: float, temperature_c: float) -> str:
        """One line of ``tegrastats`` at this instant."""
        readings = self.read_mw(at_s)
        self._count += 1
        rails = []
        for name, power in readings.items():
            self._sums[name] += power
            rails.append(f"{name} {power}/{self._sums[name] // self._count}")
        return (
            f"RAM 2344/{self._profile.memory.size_mb}MB (lfb 1154x4MB) SWAP 0/3930MB (cached 0MB) "
            f"CPU [{self._cpu(busy)}] EMC_FREQ {20 if busy else 1}%@{self._memory_clock_mhz:.0f} "
            f"GR3D_FREQ {99 if busy else 0}%@{gpu_clock_mhz:.0f} APE 150 MTS fg 0% bg 0% "
            f"{_temperatures(temperature_c)} {' '.join(rails)}"
        )

    def _cpu(self, busy: bool) -> str:
        cores: Sequence[bool] = self._mode.cpu_online
        loads = ["off" if not on else f"2%@{self._cpu_clock_mhz:.0f}" for on in cores]
        if busy:  # the thread that enqueues keeps the first core that is on busy
            first = cores.index(True)
            loads[first] = f"97%@{self._cpu_clock_mhz:.0f}"
        return ",".join(loads)


def _temperatures(celsius: float) -> str:
    return (
        f"PLL@{celsius + 2:.1f}C MCPU@{celsius + 2:.1f}C PMIC@50C Tboard@{celsius - 2:.1f}C "
        f"GPU@{celsius:.1f}C BCPU@{celsius + 2:.1f}C thermal@{celsius + 1:.1f}C Tdiode@{celsius - 0.25:.2f}C"
    )
