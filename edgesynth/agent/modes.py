"""Power mode and clocks: what they are, and whether they are what they were.

Ids of power modes differ between boards and releases, so a mode is always looked up by name in
``/etc/nvpmodel.conf``.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from edgesynth.agent.board import Finished, as_root, find_program, place, read_text, run

__all__ = [
    "PowerMode",
    "clock_ranges",
    "clock_report",
    "clocks_moved",
    "current_mode",
    "mode_table",
    "other_clocks",
    "other_mode",
    "parse_clocks",
    "parse_modes",
    "parse_query",
    "show_clocks",
]

PowerMode = NamedTuple("PowerMode", [("name", Optional[str]), ("id", Optional[int])])
PowerMode.__doc__ = "A power mode; the name may be unknown, and so may the id."

_MODE = re.compile(r"POWER_MODEL:?\s+ID=(\d+)\s+NAME=(\S+)")
_CLOCK = re.compile(r"^(GPU|EMC)\s+MinFreq=(\d+)\s+MaxFreq=(\d+)\s+CurrentFreq=(\d+)", re.MULTILINE)
_RANGE = re.compile(
    r"^(cpu\d+|GPU|EMC)\b.*?MinFreq=(\d+)\s+MaxFreq=(\d+)(?:.*FreqOverride=(\d+))?", re.MULTILINE
)


def parse_query(text: str) -> Optional[PowerMode]:
    """The mode that ``nvpmodel -q`` printed; warnings may stand before, between and after."""
    name: Optional[str] = None
    number: Optional[int] = None
    for line in text.splitlines():
        words = line.strip()
        if words.startswith("NV Power Mode:"):
            name = words.partition(":")[2].strip() or None
        elif words.isdigit():
            number = int(words)
    return None if name is None and number is None else PowerMode(name, number)


def parse_modes(text: str) -> Dict[str, int]:
    """Ids by name, from ``/etc/nvpmodel.conf`` or from ``nvpmodel -p --verbose``."""
    return {name: int(number) for number, name in _MODE.findall(text)}


def parse_clocks(text: str) -> Dict[str, float]:
    """Clocks in MHz from ``jetson_clocks --show``: ``gpu``, ``gpu_min``, ``gpu_max``, and of ``emc`` too."""
    found: Dict[str, float] = {}
    for unit, least, most, present in _CLOCK.findall(text):
        for key, value in (("", present), ("_min", least), ("_max", most)):
            found[unit.lower() + key] = int(value) / 1e6
    return found


def clock_ranges(text: str) -> Dict[str, List[str]]:
    """What ``jetson_clocks`` changes, from its ``--show``: lowest and highest clock, and override, per unit.

    Between lowest and highest a clock is free, so the present one is left out.
    """
    return {unit: [least, most, override] for unit, least, most, override in _RANGE.findall(text)}


def clocks_moved(found: Dict[str, List[str]], held: Dict[str, List[str]]) -> bool:
    """Whether none of the clocks that were held is held any more; their :func:`clock_ranges` tell.

    The highest clock does not count: heat lowers it.

    Args:
        found: Before they were held.
        held: When they were.
    """
    present = clock_ranges(show_clocks().output)
    changed = [unit for unit in held if held[unit][::2] != found.get(unit, [])[::2]]
    return bool(present and changed) and all(
        present.get(unit, [])[::2] != held[unit][::2] for unit in changed
    )


def mode_table() -> Dict[str, int]:
    """The modes this board knows; empty when it has no table."""
    return parse_modes(read_text(place("/etc/nvpmodel.conf")) or "")


def current_mode() -> Tuple[Optional[PowerMode], str]:
    """The present mode, or ``None``; and why it cannot be told, or has no name."""
    nvpmodel = find_program("nvpmodel")
    problem = "there is no nvpmodel on this board"
    if nvpmodel is not None:
        for command in ([nvpmodel, "-q"], as_root([nvpmodel, "-q"])):  # some releases answer root alone
            done = run(command) if command else None
            found = parse_query(done.output) if done else None
            if found is not None:
                return _complete(found)
            problem = (done.problem if done else "") or "nvpmodel -q printed no mode"
    status = re.search(r"pmode:(\d+)", read_text(place("/var/lib/nvpmodel/status")) or "")
    if status is not None:
        return _complete(PowerMode(None, int(status.group(1))))
    return None, problem


def _complete(mode: PowerMode) -> Tuple[PowerMode, str]:
    """The mode with what the table adds to it, and why it has no name all the same."""
    table = mode_table()
    if mode.name is None:
        names = [name for name, number in table.items() if number == mode.id]
        if not names:
            return mode, "power mode {} has no name in /etc/nvpmodel.conf".format(mode.id)
        return PowerMode(names[0], mode.id), ""
    if mode.id is None:
        return PowerMode(mode.name, table.get(mode.name)), ""
    return mode, ""


def other_mode(found: List[Any], done: Finished) -> str:
    """That the board is not in the power mode that it was found in, and what to do; empty when it is.

    Args:
        found: Name and id of that mode.
        done: What was to bring it back.
    """
    name, number = found
    present, problem = current_mode()
    if present is not None and present.id == number:
        return ""
    said = done.output + done.errors
    why = "it needs a reboot" if "reboot required" in said.lower() else done.problem or said.strip()[-200:]
    return "the board is in power mode {!r} and was in {!r}{}; run 'sudo nvpmodel -m {}' on it".format(
        "unknown, " + problem if present is None else present.name or present.id,
        name or number,
        ": " + why if why else "",
        number,
    )


def other_clocks(found: Dict[str, List[str]], done: Finished) -> str:
    """That the board's clocks are not as they were found, and what to do; empty when they are.

    Args:
        found: Their :func:`clock_ranges`; where there are none, the command's own word is taken.
        done: What was to put them back.
    """
    present = clock_ranges(show_clocks().output)
    wrong = [unit for unit in found if present.get(unit) != found[unit]] if present else []
    if not wrong and (present and found or not done.problem):
        return ""
    return "the clocks{} were not put back{}; restart the board, which frees them".format(
        " of " + ", ".join(wrong) if wrong else "", ": " + done.problem if done.problem else ""
    )


def clock_report() -> Tuple[Dict[str, float], str]:
    """Clocks by :func:`parse_clocks` from ``jetson_clocks --show``, or why they cannot be told."""
    program = find_program("jetson_clocks")
    if program is None:
        return {}, "there is no jetson_clocks on this board"
    done = show_clocks()
    found = parse_clocks(done.output)
    return found, "" if found else done.problem or "jetson_clocks --show printed no clocks"


def show_clocks() -> Finished:
    """What ``jetson_clocks --show`` says."""
    command = [find_program("jetson_clocks") or "jetson_clocks", "--show"]
    return run(as_root(command) or command)
