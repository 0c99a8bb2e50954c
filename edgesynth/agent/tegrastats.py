"""One line of ``tegrastats`` as a value, for every Jetson release from R28 to R39.

The line is a sequence of fields whose names, order and units changed with nearly every release.
It is therefore read field by field from the left, each field by the first pattern that fits, and
whatever no pattern fits is kept in :attr:`Record.unread` instead of being guessed at.

Runs on the board: standard library only, Python 3.6 syntax.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

__all__ = ["CONSTANT_ZONES", "CpuCore", "Record", "parse_line"]

CONSTANT_ZONES = ("PMIC",)
"""Thermal zones that print a constant (100 or 50 degrees) on every board: not a temperature."""

_GATED_BELOW_C = -200.0  # a sensor of a powered-down block prints -256C
_MEGABYTES = {"kB": 1.0 / 1024.0, "MB": 1.0, "GB": 1024.0}

CpuCore = NamedTuple("CpuCore", [("load_percent", int), ("clock_mhz", Optional[int])])
CpuCore.__doc__ = "Load and clock of one core that is online; the clock may be unknown."


class Record(NamedTuple):
    """What one line said; a field the line did not have is ``None`` or empty.

    Attributes:
        timestamp: Local date and time as printed (R35 and later); stamp lines on arrival instead.
        ram_used_mb: Used memory in MiB.
        ram_total_mb: Total memory in MiB.
        swap_used_mb: Used swap in MiB.
        swap_total_mb: Total swap in MiB.
        cpu: One entry per core in the order printed, ``None`` for a core that is off.
        gpu_load_percent: Busy share of the GPU, 0 to 100; not printed by every release.
        gpu_clock_mhz: GPU clock; the highest when one is printed per cluster.
        emc_load_percent: Share of the memory bandwidth at the current memory clock.
        emc_clock_mhz: Memory clock.
        engines_mhz: Clock per other engine (``APE``, ``NVENC``...), ``None`` when it is off.
        temperatures_c: Degrees per zone; zones that are powered down are left out.
        gated_zones: Zones that are powered down.
        rails: Present power per rail in mW; may be negative near zero (sensor offset).
        rails_mean: Mean power per rail in mW since that tegrastats process started.
        unread: Every piece of the line that no known field fits, in order.
    """

    timestamp: Optional[str] = None
    ram_used_mb: Optional[float] = None
    ram_total_mb: Optional[float] = None
    swap_used_mb: Optional[float] = None
    swap_total_mb: Optional[float] = None
    cpu: Tuple[Optional[CpuCore], ...] = ()
    gpu_load_percent: Optional[int] = None
    gpu_clock_mhz: Optional[int] = None
    emc_load_percent: Optional[int] = None
    emc_clock_mhz: Optional[int] = None
    engines_mhz: Dict[str, Optional[int]] = {}
    temperatures_c: Dict[str, float] = {}
    gated_zones: Tuple[str, ...] = ()
    rails: Dict[str, int] = {}
    rails_mean: Dict[str, int] = {}
    unread: Tuple[str, ...] = ()


# Tried in this order at every position, the commonest fields first; each alternative is one outer
# group, so that ``lastgroup`` names the field, and ends at a blank or at the end of the line. A number of
# more than nine digits is no reading of any board.
_FIELD = re.compile(
    r"""(?:
      (?P<zone>([\w.+-]+)@(-?\d{1,9}(?:\.\d+)?)C(?:/-?\d+(?:\.\d+)?C)*)
    | (?P<rail>([A-Za-z_][\w.+-]*)\ +(-?\d{1,9})(?:mW)?/(-?\d{1,9})(?:mW)?(?:/-?\d+(?:mW)?)*)
    | (?P<memory>(RAM|SWAP|IRAM)\ (\d{1,9})/(\d{1,9})([kMG]B)
        (?:\ ?\((?:lfb\ \d+(?:x\d+)?|cached\ \d+)[kMG]B\))?)
    | (?P<cpu>(?:CPU|cpu)\ \[([^\]]*)\](?:@(\d{1,9}))?)
    | (?P<load>(EMC|GR3D)(?:_FREQ)?\ (?:(\d{1,9})(?:\.\d+)?%)?(?:@(\d{1,9}|\[\d{1,9}(?:,\d{1,9})*\]))?)
    | (?P<mts>MTS\ fg\ \d+%\ bg\ \d+%)
    | (?P<date>\d\d-\d\d-\d{4}\ \d\d:\d\d:\d\d)
    | (?P<engine>([A-Z]\w*)\ +(?:off|(?:\d+%)?@?\[?(\d{1,9})(?:,\d+)*\]?))
    | (?P<other>\S+)
    )(?:\s+|$)""",
    re.VERBOSE | re.ASCII,
)
_CORE = re.compile(r"(\d{1,9})(?:%(?:@(\d{1,9}))?)?", re.ASCII)
# Where the parts of each alternative begin in ``match.group``.
_ZONE, _RAIL, _MEMORY, _CPU, _LOAD, _ENGINE = (
    _FIELD.groupindex[name] + 1 for name in ("zone", "rail", "memory", "cpu", "load", "engine")
)


def parse_line(text: str) -> Record:
    """Read one line.

    Args:
        text: One line as printed, with or without its line end. Any text is accepted: a line that
            is not a tegrastats record comes back with everything in ``unread``.

    Returns:
        The record. Of pairs and triples of numbers only the first is the present value: the second
        is a mean since the process started, the third (R39) is undocumented.
    """
    found: Dict[str, Any] = {}
    engines: Dict[str, Optional[int]] = {}
    temperatures: Dict[str, float] = {}
    rails: Dict[str, int] = {}
    means: Dict[str, int] = {}
    unread: List[str] = []
    for match in _FIELD.finditer(text):
        kind = match.lastgroup
        if kind == "zone":
            name, degrees = match.group(_ZONE, _ZONE + 1)
            temperatures[name] = float(degrees)
        elif kind == "rail":
            name, power, mean = match.group(_RAIL, _RAIL + 1, _RAIL + 2)
            if name in rails:
                unread.append(match.group().strip())
            elif name != "NC":  # a channel that is not connected; printed once per such channel
                rails[name] = int(power)
                means[name] = int(mean)
        elif kind == "engine":
            name, clock = match.group(_ENGINE, _ENGINE + 1)
            engines[name] = None if clock is None else int(clock)
        elif kind == "memory":
            _read_memory(match.group(_MEMORY, _MEMORY + 1, _MEMORY + 2, _MEMORY + 3), found)
        elif kind == "cpu":
            found["cpu"] = _read_cores(match.group(_CPU), match.group(_CPU + 1), unread)
        elif kind == "load":
            _read_load(match.group(_LOAD, _LOAD + 1, _LOAD + 2), found)
        elif kind == "date":
            found["timestamp"] = match.group("date")
        elif kind == "other":
            unread.append(match.group("other"))
    gated = tuple(zone for zone in temperatures if temperatures[zone] < _GATED_BELOW_C)
    for zone in gated:
        del temperatures[zone]
    return Record(
        engines_mhz=engines,
        temperatures_c=temperatures,
        gated_zones=gated,
        rails=rails,
        rails_mean=means,
        unread=tuple(unread),
        **found,
    )


def _read_memory(parts: Tuple[str, ...], found: Dict[str, Any]) -> None:
    name, used, size, unit = parts
    if name == "IRAM":  # on-chip memory: nothing that a measurement depends on
        return
    found[name.lower() + "_used_mb"] = int(used) * _MEGABYTES[unit]
    found[name.lower() + "_total_mb"] = int(size) * _MEGABYTES[unit]


def _read_cores(text: str, common: Optional[str], unread: List[str]) -> Tuple[Optional[CpuCore], ...]:
    """The cores; the first releases print one clock behind all of them."""
    cores: List[Optional[CpuCore]] = []
    for part in text.split(","):
        core = _CORE.fullmatch(part.strip())
        if core is not None:
            mhz = core.group(2) or common
            cores.append(CpuCore(int(core.group(1)), int(mhz) if mhz else None))
        else:
            cores.append(None)
            if part.strip() != "off":
                unread.append("CPU " + part)
    return tuple(cores)


def _read_load(parts: Tuple[Optional[str], ...], found: Dict[str, Any]) -> None:
    name, load, clock = parts
    prefix = "gpu" if name == "GR3D" else "emc"
    if load is not None:
        found[prefix + "_load_percent"] = int(load)
    clocks = [int(digits) for digits in re.findall(r"\d+", clock or "")]
    if clocks:
        found[prefix + "_clock_mhz"] = max(clocks)
