"""What is known of DLA before a board is asked: which modules have one, and which TensorRT uses it for what.

Sources, by NVIDIA (https://docs.nvidia.com/deeplearning/tensorrt/): *Working with DLA* of TensorRT 11.4.1,
from which the releases are, and *Strongly Typed Networks for DLA* of the same; the developer guides of 8 and
10, by which a DLA takes FP16 and INT8 only, no strongly typed network, no Q/DQ pairs, and no free sizes.
That INT8 on it still means the ranges of a calibrator: NVIDIA/Model-Optimizer, pull request 1661, June 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from edgesynth.agent.dla import misfit
from edgesynth.devices.profile import Profile
from edgesynth.devices.release import Release, parse_release
from edgesynth.errors import DeviceError, InputError

__all__ = ["Placement", "check_core", "check_precision", "check_tensorrt"]

_LAST: Final[Release] = (10, 7)
"""The last TensorRT 10 that uses a DLA."""
_AGAIN: Final = (11, 4, 1)
"""Since here one of an Orin is used again, by strongly typed networks, which it was not before."""


@dataclass(frozen=True)
class Placement:
    """Where an engine runs that was built for a DLA.

    Attributes:
        core: The core of the DLA.
        layers: How many layers the network has; ``None`` where the board cannot tell.
        fallback: The first of the layers that run on the GPU, with their kinds as far as they are told.
        fallback_count: How many are known to run there.
        full: Whether the DLA was full, so that there may be more.
    """

    core: int
    layers: int | None = None
    fallback: tuple[str, ...] = ()
    fallback_count: int | None = None
    full: bool = False

    @classmethod
    def told(cls, conditions: Mapping[str, Any]) -> Self | None:
        """What a board told of an engine; ``None`` of one that was built for the GPU alone."""
        core = conditions.get("dla_core")
        if core is None:
            return None
        return cls(
            int(core),
            conditions.get("dla_layers"),
            tuple(map(str, conditions.get("dla_fallback", ()))),
            conditions.get("dla_fallback_count"),
            bool(conditions.get("dla_full", False)),
        )

    @property
    def short(self) -> str:
        """The core, and how many layers run on the GPU."""
        count = self.fallback_count
        if count is None:
            return f"DLA core {self.core}"
        least = "at least " if self.full else ""
        layers = f"layer{'' if count == 1 else 's'}" if self.layers is None else f"of {self.layers} layers"
        return f"DLA core {self.core}, with {least}{count or 'none'} {layers} on the GPU"

    @property
    def says(self) -> str:
        """The same with the names of those layers."""
        rest = (self.fallback_count or 0) - len(self.fallback)
        names = ", ".join(self.fallback) + (f" and {rest} more" if rest > 0 else "")
        return f"{self.short}{f': {names}' if names else ''}"


def check_core(profile: Profile, core: int, link: str | None = None) -> None:
    """Refuse a core that a device has not, before it is asked.

    Args:
        profile: The device.
        core: Counted from 0.
        link: How it is reached; the profile's first link by default.

    Raises:
        InputError: It has none, or fewer, or nobody knows, or it is simulated.
    """
    dla = profile.dla
    if dla is None:
        raise InputError(
            f"whether {profile.name} has a DLA is not known; put [dla] with its cores into a profile of your "
            "own"
        )
    if not dla.cores:
        raise InputError(f"{profile.name} has no DLA core {core}: {dla.reason}; leave the DLA out")
    if not 0 <= core < dla.cores:
        known = ", ".join(map(str, range(dla.cores)))
        raise InputError(f"{profile.name} has no DLA core {core}; its cores are {known}")
    if (link or profile.links[0]) == "simulated":
        raise InputError(
            f"the simulated {profile.title} has no model of its DLA, and would say what the GPU does; "
            "measure on a board, with a link like ssh://nvidia@192.168.1.20"
        )


def check_precision(profile: Profile, precision: str) -> None:
    """Refuse a precision that engines for the DLA of a device cannot have.

    Raises:
        InputError: It is none of theirs; the message says why, and what to do.
    """
    if why := misfit(precision):
        raise InputError(f"the DLA of {profile.name} cannot run {precision}: {why}")


def check_tensorrt(version: str, link: str) -> None:
    """Refuse a TensorRT that uses no DLA, whatever the module has.

    Args:
        version: Of the board; one that is not known is left to the board to judge.
        link: How it is reached.

    Raises:
        DeviceError: It is one of 10.8 to 11.4.0.
    """
    release = parse_release(version)
    if release is None or release <= _LAST or _numbers(version) >= _AGAIN:
        return
    raise DeviceError(
        f"TensorRT {version} on {link} uses no DLA: 10.7 was the last before 11.4.1 that does; leave the DLA "
        "out, or install a JetPack with one of those (6.2 has 10.3; on an AGX Orin 7.2.2 takes 11.4.1)"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
