"""Energy of a processor from its RAPL counters, as Linux shows them below ``/sys/class/powercap``.

Each zone counts microjoules since an instant of its own, and begins anew at its range. A package holds its
cores and its graphics; memory is counted beside it where the processor can tell. A zone ``psys`` is the
whole platform of some laptops and left out, since it holds the packages as well.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from edgesynth.devices.profile import Rails, Sensor
from edgesynth.errors import SensorError

__all__ = ["Rapl"]

_POWERCAP: Final = "/sys/class/powercap"

_ZONE: Final = re.compile(r"intel-rapl:(\d+)(?::\d+)?")
_RATE_HZ: Final = 10.0
_SLOWEST_S: Final = 0.2  # between readings: each is a mean since the one before


@dataclass(frozen=True)
class _Zone:
    """One counter."""

    rail: str
    energy: Path
    range_uj: int

    def read_uj(self) -> int:
        return int(self.energy.read_text())


class Rapl:
    """The counters of this machine, opened and read once.

    Args:
        root: Where the kernel shows them. By default what ``EDGESYNTH_POWERCAP`` says, for containers that
            have the files of the host elsewhere, else where Linux has them.

    Raises:
        SensorError: There are none, or this user may not read them.
    """

    def __init__(self, root: Path | None = None) -> None:
        root = root or Path(os.environ.get("EDGESYNTH_POWERCAP") or _POWERCAP)
        self._zones = _find_zones(root)
        if not any(zone.rail.startswith("PACKAGE") for zone in self._zones):
            raise SensorError(
                f"this machine shows no energy counter of its processor (no intel-rapl zone below {root}), "
                "as is usual in virtual machines, in containers and on ARM; power cannot be read here"
            )
        self._last: tuple[float, dict[str, int]] | None = None
        self._read_uj()

    @cached_property
    def rails(self) -> Rails:
        """Packages with their memory are the total; cores and graphics are parts of a package."""
        names = tuple(zone.rail for zone in self._zones)
        total = tuple(name for name in names if name.startswith(("PACKAGE", "DRAM")))
        memory = any(name.startswith("DRAM") for name in total)
        return Rails(
            names=names,
            total=total,
            parts=tuple(name for name in names if name not in total),
            scope="processor with its memory" if memory else "processor alone",
        )

    @cached_property
    def sensor(self) -> Sensor:
        """Mean power between two readings, to a milliwatt."""
        return Sensor("RAPL", _SLOWEST_S, _RATE_HZ, dict.fromkeys(self.rails.names, 1.0))

    def line(self) -> str:
        """Mean power since the last reading; empty the first time."""
        at_s, now = time.monotonic(), self._read_uj()
        last, self._last = self._last, (at_s, now)
        if last is None or at_s <= last[0]:
            return ""
        fields = []
        for zone in self._zones:
            used_uj = now[zone.rail] - last[1][zone.rail]
            if used_uj < 0:  # the counter has begun anew
                used_uj += zone.range_uj
            power_mw = round(used_uj / (at_s - last[0]) / 1e3)
            fields.append(f"{zone.rail} {power_mw}mW/{power_mw}mW")
        return " ".join(fields)

    def limits(self) -> None:
        """Nothing: these counters do not say why clocks are slowed."""

    def _read_uj(self) -> dict[str, int]:
        try:
            return {zone.rail: zone.read_uj() for zone in self._zones}
        except PermissionError as error:
            raise SensorError(
                f"only root may read the energy counters of this processor ({error.filename}); run as root, "
                "or let everybody read them: sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj"
            ) from error
        except (OSError, ValueError) as error:
            raise SensorError(f"an energy counter of this processor cannot be read: {error}") from error


def _find_zones(root: Path) -> list[_Zone]:
    """The zones of every package, in the order of their names; zones shown a second way (MMIO) are not."""
    found: list[_Zone] = []
    package = ""
    for folder in sorted(root.glob("intel-rapl:*"), key=lambda place: [int(n) for n in _numbers(place)]):
        if _ZONE.fullmatch(folder.name) is None:
            continue
        try:
            name = (folder / "name").read_text().strip()
            range_uj = int((folder / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            continue
        if len(_numbers(folder)) == 1:
            package = name.removeprefix("package-") if name.startswith("package-") else ""
            rail = f"PACKAGE_{package}" if package else ""
        else:
            rail = f"{name}_{package}" if package else ""
        if rail:
            found.append(_Zone(re.sub(r"\W", "_", rail).upper(), folder / "energy_uj", range_uj))
    return found


def _numbers(place: Path) -> list[str]:
    return re.findall(r"\d+", place.name)
