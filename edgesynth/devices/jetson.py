"""A Jetson board behind any link: bring the agent there, and ask it who it is."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from edgesynth.devices.agent_package import agent_name, agent_package
from edgesynth.devices.link import Link
from edgesynth.devices.message import read_message
from edgesynth.devices.profile import Mode, Profile
from edgesynth.errors import DeviceError, LinkError
from edgesynth.scratch import Scratch

__all__ = [
    "Agent",
    "bench_settings",
    "board_folder",
    "check_board",
    "install_agent",
    "other_board",
    "present_mode",
]

_PYTHONS: Final = ("python3", "/usr/bin/python3", "python3.12", "python3.10", "python3.8", "python3.6")
_OLDEST: Final = [3, 6]
_SM: Final = {"tegra210": "5.3", "tegra186": "6.2", "tegra194": "7.2", "tegra234": "8.7", "tegra264": "11.0"}
_INFO_S: Final = 120.0  # a TX2 imports TensorRT in seconds, and every tool is given time to fail

# Runs under whatever python3 there is, hence its style.
_PROBE: Final = """
import hashlib, importlib.util, json, sys
try:
    digest = hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest()
except (OSError, IOError):
    digest = ""
found = importlib.util.find_spec("tensorrt") is not None
print(json.dumps({"python": list(sys.version_info[:2]), "tensorrt": found, "digest": digest}))
"""


@dataclass(frozen=True)
class Agent:
    """An agent that is on its board.

    Attributes:
        link: How the board is reached.
        command: What runs it; a verb follows.
    """

    link: Link
    command: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where it keeps engines, models and jobs, on the board."""
        return posixpath.dirname(self.link.path("engines"))

    def ask(
        self, verb: str, request: Mapping[str, Any] | None = None, *, timeout_s: float = _INFO_S
    ) -> list[dict[str, Any]]:
        """Run a short verb to its end.

        Returns:
            Its events; other lines are left out.

        Raises:
            LinkError: The board cannot be reached, or the agent gave no answer.
            DeviceError: It told an error.
        """
        done = self.link.run((*self.command, verb), stdin=json.dumps(request or {}), timeout_s=timeout_s)
        events = [event for line in done.stdout.splitlines() if (event := _event(line)) is not None]
        for event in events:
            if event["event"] == "error":
                raise DeviceError(f"the agent on {self.link.name} cannot {verb}: {event.get('reason')}")
        if not events:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise LinkError(f"the agent on {self.link.name} gave no answer to {verb!r}: {said[-1]}")
        return events

    def info(
        self, only: tuple[str, ...] = (), rails: tuple[str, ...] = ()
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Facts of the board by name, and why each that is ``None`` is missing.

        Args:
            only: Facts to gather; all of them by default, which takes seconds.
            rails: Power rails that count; any will do by default.

        Raises:
            LinkError: The board cannot be reached, or the agent gave no answer.
        """
        events = self.ask("info", {"rails": list(rails), **({"only": list(only)} if only else {})})
        for event in events:
            if event["event"] == "info":
                return event["facts"], event["missing"]
        raise LinkError(f"the agent on {self.link.name} told no facts; it said {events[-1]}")


def install_agent(link: Link) -> Agent:
    """Bring the agent to a board, unless this very one is there, and find a Python that runs it.

    A Python that can import TensorRT is preferred; without one the agent uses ``trtexec``.

    Raises:
        DeviceError: The board has no Python 3.6 or newer.
        LinkError: The board cannot be reached or written to.
    """
    package = agent_package()
    target = f"agent/{agent_name(package)}"
    place = link.path(target)
    pythons = _find_pythons(link, place)
    python = next((name for name, found in pythons.items() if found["tensorrt"]), next(iter(pythons)))
    if pythons[python]["digest"] != hashlib.sha256(package).hexdigest():
        with Scratch() as scratch:
            source = scratch.path / "agent.pyz"
            source.write_bytes(package)
            link.put(source, target)
    return Agent(link, (python, place))


def _find_pythons(link: Link, place: str) -> dict[str, dict[str, Any]]:
    """What each usable Python of the board says, the preferred first; only the first without TensorRT."""
    usable: dict[str, dict[str, Any]] = {}
    told = []
    for name in _PYTHONS:
        try:
            done = link.run((name, "-c", _PROBE, place))
        except LinkError as error:
            told.append(f"{name}: {error}")
            continue
        found = read_message(done.stdout.strip().rpartition("\n")[2])  # what it loads by itself may print too
        if found is None:
            told.append(f"{name}: no answer")
            continue
        if found["python"] < _OLDEST:
            told.append(f"{name}: version {'.'.join(map(str, found['python']))}")
            continue
        usable[name] = found
        if found["tensorrt"]:
            break
    if not usable:
        raise DeviceError(
            f"no Python 3.6 or newer answered over link {link.name} ({'; '.join(told)}); "
            "install python3 on the board"
        )
    return usable


def check_board(agent: Agent, profile: Profile) -> dict[str, Any]:
    """Refuse a machine that is not the board of a profile.

    Returns:
        What the board says of itself: ``model``, ``soc``, ``l4t``.

    Raises:
        DeviceError: It is no Jetson, or one with another GPU.
    """
    facts, missing = agent.info(("model", "soc", "l4t"))
    if other := other_board(facts, missing, profile, agent.link.name):
        raise DeviceError(other)
    return facts


def other_board(facts: Mapping[str, Any], missing: Mapping[str, str], profile: Profile, link: str) -> str:
    """Why what was found behind a link is not the board of a profile; empty when it is."""
    soc = facts["soc"]
    if soc is None:
        return (
            f"the machine behind link {link} is no {profile.title}: {missing['soc']}; "
            "use link 'simulated', or reach a board"
        )
    expected = profile.gpu.sm if profile.gpu is not None else ""
    if _SM.get(soc, expected) != expected:
        return (
            f"the board behind link {link} is a {facts['model'] or soc} (sm {_SM[soc]}), "
            f"and profile {profile.name} is of sm {expected}; use the profile of that board"
        )
    return ""


def present_mode(agent: Agent, profile: Profile) -> Mode:
    """The power mode that a board is in; the profile's first where it cannot tell, which measurements say.

    Of a mode that the profile does not have, nothing but its name is known.

    Raises:
        LinkError: The board cannot be reached.
    """
    facts, _ = agent.info(("power_mode",))
    name = (facts["power_mode"] or {}).get("name")
    known = {mode.name: mode for mode in profile.modes}
    return profile.mode() if name is None else known.get(name, Mode(name))


def bench_settings(
    profile: Profile, agent: Agent, *, set_mode: bool, clocks: Literal["found", "fixed"]
) -> dict[str, Any]:
    """What the agent is told with every benchmark: fields of ``BenchRequest``.

    Args:
        profile: Gives the rails of the total and the builder's scratch memory.
        agent: Its folder keeps engines and jobs.
        set_mode: Whether the user named a power mode, which is then set.
        clocks: Whether clocks are held.
    """
    return {
        "set_mode": set_mode,
        "clocks": clocks,
        "rails": () if profile.rails is None else profile.rails.needed,
        "workspace_mb": profile.compiler.workspace_mb,
        "folder": agent.folder,
    }


def board_folder() -> Path:
    """Work folder of the agent when the board is this very machine; engines stay there between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgesynth"


def _event(line: str) -> dict[str, Any] | None:
    event = read_message(line)
    return event if event is not None and "event" in event else None
