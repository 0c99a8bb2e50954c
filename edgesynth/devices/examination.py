"""What a board is and has, and whether it can measure: to be asked before the first benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from edgesynth.devices.board import Board, check_link, reach_board
from edgesynth.devices.jetson import other_board
from edgesynth.devices.profile import Profile
from edgesynth.errors import InputError

__all__ = ["Examination", "Lack", "examine"]


@dataclass(frozen=True)
class Lack:
    """Something a board does not have.

    Attributes:
        what: In a word or two.
        reason: What was seen, and what to do.
        stops: Whether the board cannot measure without it.
    """

    what: str
    reason: str
    stops: bool


@dataclass(frozen=True)
class Examination:
    """What was found on a board.

    Attributes:
        facts: By name; ``None`` where there is none.
        lacks: What is missing, the worst first.
    """

    facts: Mapping[str, Any]
    lacks: tuple[Lack, ...]

    @property
    def can_measure(self) -> bool:
        """Whether a benchmark would give figures."""
        return not any(lack.stops for lack in self.lacks)

    def to_json(self) -> dict[str, Any]:
        """The JSON form that ``--json`` uses."""
        return {
            "can_measure": self.can_measure,
            "facts": dict(self.facts),
            "lacks": [asdict(lack) for lack in self.lacks],
        }


def examine(profile: Profile, link: str, *, wait_s: float = 0.0) -> Examination:
    """Ask a board what it is and has. Nobody else measures on it meanwhile.

    Args:
        profile: What board it should be.
        link: ``local`` or an ``ssh`` URL.
        wait_s: How long to wait for another run that has the board.

    Raises:
        InputError: The link leads to no board.
        DeviceError: The board cannot be reached, another run has it, or no Python runs there.
    """
    check_link(profile, link)
    if profile.family == "host" or link == "simulated":
        raise InputError(f"link {link!r} of {profile.name} leads to no board; give --link ssh://user@board")
    rails = () if profile.rails is None else profile.rails.needed
    with ExitStack() as opened:
        reached = reach_board(link)
        opened.callback(reached.close)
        board = opened.enter_context(Board.take(reached, wait_s=wait_s))
        facts, missing = board.agent.info(rails=rails)
    lacks = sorted(_lacks(facts, missing, profile, link), key=lambda lack: not lack.stops)
    return Examination(facts, tuple(lacks))


def _lacks(
    facts: Mapping[str, Any], missing: Mapping[str, str], profile: Profile, link: str
) -> Iterator[Lack]:
    if other := other_board(facts, missing, profile, link):
        yield Lack("board", other, stops=True)
    if facts["tensorrt"] is None and facts["trtexec"] is None:
        yield Lack(
            "TensorRT",
            f"{missing['tensorrt']}; and {missing['trtexec']}; install the TensorRT of the board's JetPack "
            "(sudo apt install tensorrt python3-libnvinfer)",
            stops=True,
        )
    elif facts["tensorrt"] is None:
        yield Lack("TensorRT of Python", f"{missing['tensorrt']}; trtexec is used instead", stops=False)
    if facts["power"] is None:
        yield Lack("power rails", missing["power"], stops=profile.rails is not None)
    elif "left" in facts["power"]:
        yield Lack("an end of the power sensor", facts["power"]["left"], stops=False)
    yield from _lacks_of_modes(facts, missing, profile)


def _lacks_of_modes(facts: Mapping[str, Any], missing: Mapping[str, str], profile: Profile) -> Iterator[Lack]:
    known = [mode.name for mode in profile.modes]
    present = (facts["power_mode"] or {}).get("name")
    if present is None:
        reason = missing.get("power_mode") or "the present mode has no name in /etc/nvpmodel.conf"
        yield Lack("power mode", f"{reason}; measurements will be inconclusive", stops=False)
    elif present not in known:
        yield Lack(
            "power mode",
            f"the board is in {present}, which {profile.name} does not have, so a GPU that is slower than it "
            f"should be may go unnoticed; measure in another with --mode ({', '.join(known)}), or add it to "
            "a profile of your own",
            stops=False,
        )
    if not facts["sudo"]:
        yield Lack(
            "sudo",
            "this user may not run sudo without a password, so --mode and --clocks fixed will be refused; "
            "let it run nvpmodel, jetson_clocks and tegrastats in /etc/sudoers.d",
            stops=False,
        )
